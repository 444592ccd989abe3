#include "support.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/randn.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <random>
#include <vector>

namespace dagpam::attention::testing {

at::Tensor normal(at::IntArrayRef sizes, uint64_t seed) {
  return at::randn(sizes, at::detail::createCPUGenerator(seed), at::kDouble);
}

Case random_case(Kind kind, const Shape& given, uint64_t seed) {
  Shape shape = given;
  if (kind == Kind::kDiff && shape.kv_heads % 2 != 0) shape.heads *= 2, shape.kv_heads *= 2;
  Case c;
  c.options.kind = kind;
  c.options.heads = shape.heads;
  c.options.kv_heads = shape.kv_heads;
  c.options.head_width = shape.width;
  c.q = normal({shape.batch, shape.queries, query_heads(c.options), shape.width}, seed + 1);
  c.k = normal({shape.batch, shape.keys, shape.kv_heads, shape.width}, seed + 2);
  c.v = normal({shape.batch, shape.keys, shape.kv_heads, shape.width}, seed + 3);
  c.dy = normal({shape.batch, shape.queries, shape.heads, shape.width}, seed + 4);
  const double deviation = 1 / std::sqrt(static_cast<double>(shape.width));
  c.w_neg = normal({shape.heads, shape.width, shape.width}, seed + 5) * deviation;
  const at::Tensor head = at::arange(shape.heads, at::kDouble) / static_cast<double>(shape.heads);
  c.plus = 0.3 + 0.9 * head;
  c.minus = 1.2 - 0.7 * head;
  c.gain = 0.5 + head;
  c.bias = head - 0.4;
  c.gate = normal({shape.batch, shape.queries, shape.heads}, seed + 6);
  if (kind == Kind::kDiff) {
    c.options.layer = 2;
    uint64_t next = seed + 7;
    for (const char* const name : {"lq1", "lk1", "lq2", "lk2"}) {
      c.diff[name] = 0.3 * normal({shape.width}, next++);
    }
    c.diff["norm"] = 1 + 0.3 * normal({2 * shape.width}, next);
  }
  return c;
}

Visibility random_intervals(int64_t batch, int64_t queries, int64_t keys, bool causal,
                            uint64_t seed) {
  std::mt19937_64 random(seed);
  Visibility visibility;
  visibility.causal = causal;
  visibility.begin = at::empty({batch, queries}, at::kInt);
  visibility.end = at::empty({batch, queries}, at::kInt);
  auto* const begin = visibility.begin.mutable_data_ptr<int32_t>();
  auto* const end = visibility.end.mutable_data_ptr<int32_t>();
  const auto place = [&] {
    return static_cast<int32_t>(random() % static_cast<uint64_t>(keys + 1));
  };
  for (int64_t i = 0; i < batch * queries; ++i) {
    const int32_t a = place(), b = place();
    const bool empty = random() % 4 == 0;
    begin[i] = empty ? std::max(a, b) : std::min(a, b);
    end[i] = empty ? std::min(a, b) : std::max(a, b);
  }
  return visibility;
}

Rotary rotary_table(int64_t queries, int64_t width) {
  const at::Tensor exponent = at::arange(0, width, 2, at::kDouble) / static_cast<double>(width);
  const at::Tensor angle =
      at::outer(at::arange(queries, at::kDouble), at::pow(10000.0, exponent.neg()));
  return {angle.cos(), angle.sin()};
}

Case as_type(const Case& problem, at::ScalarType type) {
  Case out = problem;
  for (at::Tensor* x : {&out.q, &out.k, &out.v, &out.dy, &out.w_neg, &out.plus, &out.minus,
                        &out.gain, &out.bias, &out.gate}) {
    *x = x->to(type);
  }
  for (auto& [name, value] : out.diff) value = value.to(type);
  return out;
}

void give_parameters(const Case& problem, parallel::ParameterList& parameters) {
  const std::pair<const char*, at::Tensor> all[] = {
      {"w_neg", problem.w_neg}, {"gain", problem.gain}, {"bias", problem.bias}};
  for (const auto& [name, value] : all) {
    if (parameters.find(name)) parameters.find(name)->value = value;
  }
  for (const auto& [name, value] : problem.diff) parameters.find(name)->value = value;
}

Outcome solve(const Case& problem, Path path) {
  const auto leaf = [](const at::Tensor& x) { return x.detach().requires_grad_(); };
  const at::Tensor q = leaf(problem.q), k = leaf(problem.k), v = leaf(problem.v);
  const at::Tensor w = leaf(problem.w_neg), plus = leaf(problem.plus), minus = leaf(problem.minus);
  const at::Tensor gain = leaf(problem.gain), bias = leaf(problem.bias);
  Options options = problem.options;
  options.reference = path == Path::kReference;
  parallel::ParameterList parameters;
  const auto attention = make_attention(options, "", parameters, [&] {
    return Lambdas{plus, minus};
  });
  Case own = problem;
  own.w_neg = w, own.gain = gain, own.bias = bias;
  for (auto& [name, value] : own.diff) value = leaf(value);
  give_parameters(own, parameters);
  std::vector<std::string> names{"q", "k", "v"};
  std::vector<at::Tensor> inputs{q, k, v};
  if (options.kind == Kind::kNap) {
    names.insert(names.end(), {"gain", "bias"});
    inputs.insert(inputs.end(), {gain, bias});
  }
  if (options.kind == Kind::kSoftmaxWide || options.kind == Kind::kDagpam) {
    names.emplace_back("w_neg");
    inputs.push_back(w);
  }
  if (options.kind == Kind::kDagpam) {
    names.insert(names.end(), {"lambda_plus", "lambda_minus"});
    inputs.insert(inputs.end(), {plus, minus});
  }
  for (const auto& [name, value] : own.diff) {
    names.push_back(name);
    inputs.push_back(value);
  }
  Inputs in{q, k, v, problem.visibility};
  if (options.kind == Kind::kDiff2) {
    in.gate = leaf(problem.gate);
    names.emplace_back("gate");
    inputs.push_back(in.gate);
  }
  in.rotary = problem.rotary ? &*problem.rotary : nullptr;
  in.dropout = problem.dropout ? &*problem.dropout : nullptr;
  Outcome out;
  const at::Tensor y = attention->forward(in);
  const auto grads = torch::autograd::grad({y}, inputs, {problem.dy}, /*retain_graph=*/false,
                                           /*create_graph=*/false, /*allow_unused=*/true);
  out.y = y.detach();
  for (size_t i = 0; i < names.size(); ++i) {
    if (grads[i].defined()) out.grad[names[i]] = grads[i];
  }
  return out;
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  const double infinity = std::numeric_limits<double>::infinity();
  if (!a.defined() || !b.defined() || a.sizes() != b.sizes()) return infinity;
  if (b.numel() == 0) return 0;
  const at::Tensor wide_a = a.to(at::kDouble), wide_b = b.to(at::kDouble);
  const double scale = wide_b.abs().max().item<double>();
  const double error = (wide_a - wide_b).abs().max().item<double>() / (scale > 0 ? scale : 1);
  return error >= 0 ? error : infinity;  // NaN is not
}

bool bit_equal(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.equal(b);
}

}  // namespace dagpam::attention::testing
