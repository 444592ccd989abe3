#include "hopper_cases.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>

#include "attention/maps.h"

namespace dagpam::attention::testing {
namespace {

Visibility one_key_each(int64_t batch, int64_t queries, int64_t keys) {
  Visibility visibility;
  visibility.causal = false;
  visibility.begin = at::empty({batch, queries}, at::kInt);
  auto* const begin = visibility.begin.mutable_data_ptr<int32_t>();
  for (int64_t i = 0; i < batch * queries; ++i) begin[i] = static_cast<int32_t>(i * 7 % keys);
  visibility.end = visibility.begin + 1;
  return visibility;
}

Case seen(Case problem, Visibility visibility) {
  problem.visibility = std::move(visibility);
  return problem;
}

Case with_lambdas(Case problem, double plus, double minus) {
  problem.plus = at::full_like(problem.plus, plus);
  problem.minus = at::full_like(problem.minus, minus);
  return problem;
}

std::vector<float> floats(const at::Tensor& x) {
  const at::Tensor same = x.to(at::kFloat).contiguous();
  const auto* const data = same.const_data_ptr<float>();
  return {data, data + same.numel()};
}

at::Tensor tensor(std::vector<float>& x, at::IntArrayRef sizes) {
  return at::from_blob(x.data(), sizes, at::kFloat).clone();
}

}  // namespace

std::vector<NamedCase> hopper_cases(int64_t width, uint64_t seed) {
  const Visibility all{.causal = false, .begin = {}, .end = {}};
  const auto random = [&](const Shape& shape) {
    return random_case(Kind::kDagpam, shape, seed += 10);
  };
  std::vector<NamedCase> cases;
  cases.push_back({"causal", random({1, 200, 200, 2, 2, width})});
  cases.push_back({"whole tiles", random({1, 128, 128, 1, 1, width})});
  cases.push_back({"shared keys", random({2, 70, 70, 4, 2, width})});
  cases.push_back({"more keys", random({1, 65, 300, 2, 1, width})});
  cases.push_back({"fewer keys", random({1, 150, 40, 1, 1, width})});
  cases.push_back({"cross", seen(random({1, 130, 257, 1, 1, width}), all)});
  cases.push_back({"intervals", seen(random({2, 190, 190, 2, 1, width}),
                                     random_intervals(2, 190, 190, true, seed))});
  cases.push_back({"padding", seen(random({2, 100, 140, 1, 1, width}),
                                   random_intervals(2, 100, 140, false, seed + 1))});
  cases.push_back({"one key", seen(random({1, 64, 130, 1, 1, width}), one_key_each(1, 64, 130))});
  Case large = random({1, 140, 140, 2, 2, width});
  for (at::Tensor* x : {&large.q, &large.k}) *x = *x * 4;
  cases.push_back({"large scores", large});
  Case equal = random({1, 100, 140, 1, 1, width});
  equal.k = equal.k.narrow(1, 0, 1).expand_as(equal.k).contiguous();
  cases.push_back({"equal keys", seen(equal, all)});
  cases.push_back({"l+ near -1", with_lambdas(random({1, 100, 100, 2, 2, width}), -0.99, 1)});
  cases.push_back({"l- = 0", with_lambdas(random({1, 100, 100, 2, 2, width}), 1, 0)});
  cases.push_back({"faint", with_lambdas(random({1, 100, 100, 2, 2, width}), -1, 0)});
  cases.push_back({"long rows", random({1, 20, 3000, 1, 1, width})});
  return cases;
}

hopper::Rounding rounding_of(at::ScalarType type) {
  if (type == at::kBFloat16) return hopper::Rounding::kBf16;
  return type == at::kHalf ? hopper::Rounding::kFp16 : hopper::Rounding::kNone;
}

ModelRun run_model(const Case& c) {
  const int64_t batch = c.q.size(0), queries = c.q.size(1), heads = c.q.size(2);
  const int64_t keys = c.k.size(1);
  const auto q = floats(c.q), k = floats(c.k), v = floats(c.v), w = floats(c.w_neg);
  const auto dy = floats(c.dy);
  const auto plus = floats(c.plus.expand({heads})), minus = floats(c.minus.expand({heads}));
  const at::Tensor bounds =
      key_bounds(c.visibility, batch, queries, keys).expand({2, batch, queries}).contiguous();
  hopper::ModelProblem problem;
  problem.batch = batch;
  problem.queries = queries;
  problem.keys = keys;
  problem.heads = heads;
  problem.kv_heads = c.k.size(2);
  problem.width = c.q.size(3);
  problem.q = q.data();
  problem.w_neg = w.data();
  problem.k = k.data();
  problem.v = v.data();
  problem.plus = plus.data();
  problem.minus = minus.data();
  problem.first = bounds.const_data_ptr<int32_t>();
  problem.last = problem.first + batch * queries;
  problem.rounding = rounding_of(c.q.scalar_type());
  ModelRun run;
  run.answer = hopper::model_forward(problem);
  run.gradients = hopper::model_backward(problem, run.answer, dy.data());
  run.outcome.y = tensor(run.answer.y, c.q.sizes());
  auto& grad = run.outcome.grad;
  grad["q"] = tensor(run.gradients.dq, c.q.sizes());
  grad["k"] = tensor(run.gradients.dk, c.k.sizes());
  grad["v"] = tensor(run.gradients.dv, c.v.sizes());
  grad["w_neg"] = tensor(run.gradients.dw_neg, c.w_neg.sizes());
  grad["lambda_plus"] = tensor(run.gradients.dplus, {heads}).sum_to_size(c.plus.sizes());
  grad["lambda_minus"] = tensor(run.gradients.dminus, {heads}).sum_to_size(c.minus.sizes());
  return run;
}

}  // namespace dagpam::attention::testing
