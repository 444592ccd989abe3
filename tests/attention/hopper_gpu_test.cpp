// The fused kernels on a GPU of compute capability 9.0: the model's problems against the plain path
// in float64, errors beside those of the plain path in the same type; two runs bit-equal where
// deterministic algorithms are asked for. Elsewhere it says so and is skipped.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "attention/fused.h"
#include "attention/notes.h"
#include "hopper_cases.h"
#include "parallel/devices.h"

namespace dagpam::attention::testing {
namespace {

const at::Device kGpu(at::kCUDA, 0);

Case on_gpu(const Case& problem) {
  Case out = problem;
  for (at::Tensor* x : {&out.q, &out.k, &out.v, &out.dy, &out.w_neg, &out.plus, &out.minus,
                        &out.visibility.begin, &out.visibility.end}) {
    if (x->defined()) *x = x->to(kGpu);
  }
  if (out.rotary) out.rotary = Rotary{out.rotary->cos.to(kGpu), out.rotary->sin.to(kGpu)};
  out.options.gpu = GpuPath::kFused;
  return out;
}

Outcome on_cpu(Outcome outcome) {
  outcome.y = outcome.y.cpu();
  for (auto& [name, grad] : outcome.grad) grad = grad.cpu();
  return outcome;
}

class HopperGpuTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    const parallel::Devices& devices = parallel::visible_devices();
    std::string reason = "no GPU: " + devices.why_none;
    if (devices.gpus > 0) {
      parallel::use_device(kGpu);
      const at::Tensor q = normal({1, 8, 2, 64}, 1).to(kGpu, at::kBFloat16);
      reason = fused::refusal(q, q);
    }
    if (reason.empty()) return;
    std::printf("SKIPPED WHOLE: %s\n", reason.c_str());
    GTEST_SKIP() << reason;
  }
  void TearDown() override { at::globalContext().setDeterministicAlgorithms(false, false); }
};

// As hopper_model_test.cpp, of one draw: what is random there is within a factor more here.
TEST_P(HopperGpuTest, IsAsCloseToFloat64AsItsModel) {
  for (const int64_t width : {64, 128}) {
    for (const NamedCase& named : hopper_cases(width, 5000)) {
      SCOPED_TRACE(named.name + ", width " + std::to_string(width));
      const Case narrow = as_type(named.problem, GetParam());
      const Outcome exact = solve(as_type(narrow, at::kDouble), Path::kReference);
      Outcome model = run_model(narrow).outcome;
      // As autograd hands them over: in the type of what they are gradients of.
      for (auto& [name, grad] : model.grad) grad = grad.to(GetParam());
      take_notes();
      const Outcome ours = on_cpu(solve(on_gpu(narrow), Path::kFast));
      for (const std::string& line : take_notes())
        EXPECT_EQ(line.find("path FUSED"), std::string::npos) << line;
      EXPECT_LE(difference(ours.y, exact.y), 1.5 * difference(model.y, exact.y) + 1e-5);
      for (const auto& [name, truth] : exact.grad) {
        const double floor = name.find("lambda") == 0 ? 1e-3 : 1e-5;
        EXPECT_LE(difference(ours.grad.at(name), truth),
                  1.5 * difference(model.grad.at(name), truth) + floor)
            << name;
      }
    }
  }
}

// With rotary positions Q- comes from outside.
TEST_P(HopperGpuTest, RotaryPositions) {
  Case wide = random_case(Kind::kDagpam, {2, 200, 200, 4, 2, 64}, 77);
  wide.rotary = rotary_table(200, 64);
  const Case narrow = as_type(wide, GetParam());
  const Outcome exact = solve(as_type(narrow, at::kDouble), Path::kReference);
  const Outcome plain = solve(narrow, Path::kReference);
  const Outcome ours = on_cpu(solve(on_gpu(narrow), Path::kFast));
  EXPECT_LE(difference(ours.y, exact.y), 2 * difference(plain.y, exact.y));
  for (const auto& [name, truth] : exact.grad) {
    EXPECT_LE(difference(ours.grad.at(name), truth),
              2 * difference(plain.grad.at(name), truth) + 1e-3)
        << name;
  }
}

TEST_P(HopperGpuTest, DeterministicRunsAreBitEqual) {
  at::globalContext().setDeterministicAlgorithms(true, true);
  for (const int64_t width : {64, 128}) {
    const Case problem =
        on_gpu(as_type(random_case(Kind::kDagpam, {2, 1000, 1000, 4, 2, width}, 9), GetParam()));
    const Outcome once = solve(problem, Path::kFast), again = solve(problem, Path::kFast);
    EXPECT_TRUE(bit_equal(once.y, again.y));
    for (const auto& [name, grad] : once.grad) {
      EXPECT_TRUE(bit_equal(grad, again.grad.at(name))) << name << ", width " << width;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, HopperGpuTest, ::testing::Values(at::kBFloat16, at::kHalf),
                         [](const auto& test) { return toString(test.param); });

}  // namespace
}  // namespace dagpam::attention::testing
