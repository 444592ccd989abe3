// Kernels of a step on a GPU against LibTorch's operators in float64, odd sizes and places
// included, and each twice: a run repeats bit for bit. Without a GPU it says so and is skipped.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/device_column_sum.h"
#include "parallel/vocabulary_loss.h"
#include "tests/parallel/run_on_gpu.h"
#include "trainer/kernels/device_activation.h"

namespace dagpam::trainer::kernels {
namespace {

const at::Device kGpu(at::kCUDA, 0);

// Numbers without a pattern, between -size and size, that differ with the seed.
at::Tensor numbers(std::vector<int64_t> shape, double seed, double size, at::ScalarType type) {
  int64_t count = 1;
  for (const int64_t n : shape) count *= n;
  const at::Tensor i = at::arange(count, at::TensorOptions(at::kDouble).device(kGpu));
  return at::sin(i * (12.9898 + seed)).mul(43758.5453).sin().mul(size).to(type).view(shape);
}

// The same numbers `offset` elements past where an allocation starts.
at::Tensor moved(const at::Tensor& x, int64_t offset) {
  const at::Tensor place = at::empty_like(x.reshape({-1})).resize_({x.numel() + offset});
  at::Tensor out = place.narrow(0, offset, x.numel()).view(x.sizes());
  out.copy_(x);
  return out;
}

at::Tensor exact(const at::Tensor& x) {
  return x.defined() ? x.detach().to(at::kDouble) : at::Tensor();
}

void expect_near(const at::Tensor& got, const at::Tensor& expected, double allowed,
                 const std::string& what) {
  const double scale = expected.abs().max().item<double>();
  EXPECT_LE((exact(got) - expected).abs().max().item<double>(), allowed * (scale + 0.1)) << what;
}

double rounding(at::ScalarType type) { return type == at::kFloat ? 1e-6 : 0x1p-8; }

TEST(StepKernelsGpu, ColumnSumsAreTheLibrarys) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const auto& [rows, width] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {7, 5}, {1000, 33}, {16384, 768}, {4099, 2304}, {513, 3080}}) {
      for (const int64_t offset : {0, 1}) {
        const std::string what = std::to_string(rows) + " x " + std::to_string(width);
        const at::Tensor x = moved(numbers({rows, width}, 1, 1, type), offset);
        const at::Tensor sums = exact(x).sum(0);
        const at::Tensor out = at::empty_like(x[0]), again = at::empty_like(out);
        parallel::device_column_sum(x, /*add=*/false, out);
        parallel::device_column_sum(x, /*add=*/false, again);
        expect_near(out, sums, 4 * rounding(type), what);
        EXPECT_TRUE(out.equal(again)) << what;
        const at::Tensor before = exact(out);
        parallel::device_column_sum(x, /*add=*/true, out);
        expect_near(out, before + sums, 4 * rounding(type), what + ", added");
        // Rows that are not neighbours, and columns that are not.
        parallel::device_column_sum(x.narrow(1, 0, (width + 1) / 2), false,
                                    out.narrow(0, 0, (width + 1) / 2));
        expect_near(out.narrow(0, 0, (width + 1) / 2), sums.narrow(0, 0, (width + 1) / 2),
                    4 * rounding(type), what + ", half");
        const at::Tensor of_rows = at::empty_like(x.select(1, 0).contiguous());
        parallel::device_column_sum(x.t(), false, of_rows);
        expect_near(of_rows, exact(x).sum(1), 4 * rounding(type), what + ", transposed");
      }
    }
  }
}

struct Gradients {
  at::Tensor a, dh, dgate, bias, gate_bias;
};

Gradients fused(const ActivationInput& in, const at::Tensor& da) {
  Gradients out{at::empty_like(in.h),
                moved(da, da.storage_offset()),
                in.gate.defined() ? at::empty_like(in.gate) : at::Tensor(),
                {},
                {}};
  device_activation_gradient(in, out.a, out.dh, out.dgate, out.bias, out.gate_bias);
  return out;
}

Gradients plain(const ActivationInput& in, const at::Tensor& da) {
  const auto leaf = [](const at::Tensor& x) {
    return x.defined() ? exact(x).requires_grad_() : at::Tensor();
  };
  const ActivationInput wide{in.kind, leaf(in.h), leaf(in.bias), leaf(in.gate), leaf(in.gate_bias)};
  const at::Tensor a = plain_activation(wide);
  a.backward(exact(da));
  const auto slope = [](const at::Tensor& x) { return x.defined() ? x.grad() : at::Tensor(); };
  return {a.detach(), slope(wide.h), slope(wide.gate), slope(wide.bias), slope(wide.gate_bias)};
}

void activation_agrees(Activation kind, bool bias, int64_t rows, int64_t width, int64_t offset,
                       at::ScalarType type) {
  const std::string what = "kind " + std::to_string(static_cast<int>(kind)) + " " +
                           std::to_string(rows) + " x " + std::to_string(width) + " from " +
                           std::to_string(offset) + ", " + c10::toString(type);
  const bool gated = kind == Activation::kSwiglu;
  const auto some = [&](std::vector<int64_t> shape, double seed) {
    return moved(numbers(std::move(shape), seed, 4, type), offset);
  };
  const ActivationInput in{kind, some({rows, width}, 1), bias ? some({width}, 2) : at::Tensor(),
                           gated ? some({rows, width}, 3) : at::Tensor(),
                           gated && bias ? some({width}, 4) : at::Tensor()};
  const at::Tensor da = some({rows, width}, 5);
  const Gradients expected = plain(in, da), got = fused(in, da), again = fused(in, da);
  const at::Tensor forward = at::empty_like(in.h);
  device_activation(in, forward);
  EXPECT_TRUE(forward.equal(got.a)) << what;
  const auto near = [&](const at::Tensor& x, const at::Tensor& once_more, const at::Tensor& wide,
                        double allowed, const char* name) {
    ASSERT_EQ(x.defined(), wide.defined()) << what << name;
    if (!x.defined()) return;
    expect_near(x, wide, allowed, what + name);
    EXPECT_TRUE(x.equal(once_more)) << what << name;
  };
  near(got.a, again.a, expected.a, rounding(type), ", a");
  near(got.dh, again.dh, expected.dh, rounding(type), ", dh");
  near(got.dgate, again.dgate, expected.dgate, rounding(type), ", dgate");
  near(got.bias, again.bias, expected.bias, 4 * rounding(type), ", bias");
  near(got.gate_bias, again.gate_bias, expected.gate_bias, 4 * rounding(type), ", gate bias");
}

TEST(StepKernelsGpu, ActivationsAndTheirGradientsAreTheLibrarys) {
  for (const Activation kind :
       {Activation::kRelu, Activation::kGelu, Activation::kGeluTanh, Activation::kSwiglu}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      for (const bool bias : {false, true}) {
        activation_agrees(kind, bias, 3, 7, 0, type);
        activation_agrees(kind, bias, 130, 264, 0, type);
        activation_agrees(kind, bias, 130, 264, 1, type);
        activation_agrees(kind, bias, 1025, 3072, 0, type);
      }
    }
  }
}

struct Loss {
  at::Tensor losses, gradient;
};

Loss loss_of(const at::Tensor& logits, const at::Tensor& targets, double smoothing, bool fused) {
  const auto alone = parallel::make_self_communicator(kGpu);
  const at::Tensor leaf = logits.detach().clone().requires_grad_();
  const at::Tensor given = leaf.mul(1);  // nobody else's
  const parallel::VocabularyLossOptions options{logits.size(1), 0, smoothing, -100};
  const at::Tensor losses =
      fused ? parallel::fused_vocabulary_cross_entropy(given, targets, options, *alone)
            : parallel::vocabulary_cross_entropy(given, targets, options, *alone);
  losses.backward(numbers({logits.size(0)}, 9, 1, losses.scalar_type()));
  return {losses.detach(), leaf.grad()};
}

TEST(StepKernelsGpu, TheLossAndItsGradientAreThePlainOnes) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t symbols : {1, 7, 65, 1000, 1003, 50257, 50304}) {
      for (const double smoothing : {0.0, 0.1}) {
        const std::string what = std::to_string(symbols) + " symbols, " + c10::toString(type);
        const int64_t tokens = 37;
        const at::Tensor z = numbers({tokens, symbols}, 1, 9, type);
        const at::Tensor targets = at::arange(tokens, at::TensorOptions(at::kLong).device(kGpu))
                                       .mul(31)
                                       .remainder(symbols);
        targets[1].fill_(-100);
        const Loss expected = loss_of(exact(z), targets, smoothing, false);
        const Loss got = loss_of(z, targets, smoothing, true);
        const Loss again = loss_of(z, targets, smoothing, true);
        expect_near(got.losses, expected.losses, 2e-6, what);
        expect_near(got.gradient, expected.gradient, 2 * rounding(type), what + ", gradient");
        EXPECT_TRUE(got.losses.equal(again.losses)) << what;
        EXPECT_TRUE(got.gradient.equal(again.gradient)) << what;
      }
    }
  }
}

TEST(StepKernelsGpu, ALossOfWhatIsNotFiniteIsNotANumber) {
  const at::Tensor targets = at::arange(3, at::TensorOptions(at::kLong).device(kGpu));
  for (const int64_t at : {0, 999, 1002}) {
    const at::Tensor z = numbers({3, 1003}, 1, 9, at::kBFloat16);
    z[1][at].fill_(INFINITY);
    z[2][at].fill_(-INFINITY);
    const Loss got = loss_of(z, targets, 0, true);
    EXPECT_FALSE(got.losses[1].isfinite().item<bool>()) << at;
    EXPECT_FALSE(got.gradient[1].isfinite().all().item<bool>()) << at;
    for (const int64_t row : {0, 2}) {
      EXPECT_TRUE(got.losses[row].isfinite().item<bool>()) << at;
      EXPECT_TRUE(got.gradient[row].isfinite().all().item<bool>()) << at;
    }
  }
}

}  // namespace
}  // namespace dagpam::trainer::kernels

int main(int argc, char** argv) { return dagpam::parallel::run_on_gpu(argc, argv); }
