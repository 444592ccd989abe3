// Norms of a GPU's kernels against the CPU's. Without a GPU it says so and is skipped.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "parallel/random.h"
#include "tests/parallel/run_on_gpu.h"
#include "trainer/kernels/device_norm.h"
#include "trainer/kernels/fused_norm.h"

namespace dagpam::trainer::kernels {
namespace {

const at::Device kGpu(at::kCUDA, 0);

using Numbers = std::vector<at::Tensor>;

at::Tensor noise(std::vector<int64_t> shape, const std::string& name) {
  const at::Tensor t = at::zeros(shape, at::kFloat);
  parallel::initialise(t, {shape, -1, 0}, parallel::Init::normal(1), 5, name);
  return t;
}

struct Case {
  int64_t rows, width;
  bool rms, bias, sum;
};

// Outputs and gradients of the inputs x, y, weight, bias that the case has; float64, on the CPU.
Numbers run(const Case& c, const Numbers& inputs, at::ScalarType type, at::Device device,
            bool plain) {
  Numbers leaves;
  for (const at::Tensor& x : inputs) {
    leaves.push_back(x.defined() ? x.to(device, type, false, /*copy=*/true).requires_grad_()
                                 : at::Tensor());
  }
  const NormOptions options{1e-5, c.rms};
  Numbers out;
  if (plain) {
    const at::Tensor s = c.sum ? leaves[0] + leaves[1] : leaves[0];
    if (c.sum) out.push_back(s);
    out.push_back(plain_norm(s, leaves[2], leaves[3], options));
  } else if (c.sum) {
    const auto [s, normed] = add_norm(leaves[0], leaves[1], leaves[2], leaves[3], options);
    out = {s, normed};
  } else {
    out = {norm(leaves[0], leaves[2], leaves[3], options)};
  }
  at::Tensor loss = at::zeros({}, at::TensorOptions(at::kDouble).device(device));
  for (size_t i = 0; i < out.size(); ++i) {
    const at::Tensor slope = noise(out[i].sizes().vec(), "slope " + std::to_string(i))
                                 .to(at::kBFloat16)
                                 .to(device, at::kDouble);
    loss = loss + (out[i].to(at::kDouble) * slope).sum();
  }
  loss.backward();
  for (const at::Tensor& leaf : leaves) {
    if (leaf.defined()) out.push_back(leaf.grad());
  }
  for (at::Tensor& number : out) number = number.detach().to(at::kCPU, at::kDouble);
  return out;
}

double largest(const at::Tensor& t) { return t.abs().max().item<double>(); }

// From float64 at most twice as far as the CPU's kernels, and some half units of the type that luck
// may give those, of sums whose terms are of the size of the largest number.
void compare(const Case& c, at::ScalarType type) {
  SCOPED_TRACE(std::string(c10::toString(type)) + " " + std::to_string(c.rows) + " x " +
               std::to_string(c.width) + (c.rms ? " RMS" : " layer") + (c.bias ? " bias" : "") +
               (c.sum ? " sum" : ""));
  ASSERT_TRUE(has_device_norm(c.width));
  Numbers inputs{noise({c.rows, c.width}, "x").add(2),
                 c.sum ? noise({c.rows, c.width}, "y") : at::Tensor(), noise({c.width}, "w").add(1),
                 c.bias ? noise({c.width}, "b") : at::Tensor()};
  for (at::Tensor& x : inputs) x = x.defined() ? x.to(type) : x;
  const Numbers ours = run(c, inputs, type, kGpu, false), again = run(c, inputs, type, kGpu, false),
                cpu = run(c, inputs, type, at::kCPU, false),
                exact = run(c, inputs, at::kDouble, at::kCPU, true);
  ASSERT_EQ(ours.size(), exact.size());
  double luck = 0;
  for (const at::Tensor& number : exact) luck = std::max(luck, largest(number));
  luck *= type == at::kFloat ? 8 * 0x1p-24 : 8 * 0x1p-9;
  for (size_t i = 0; i < exact.size(); ++i) {
    EXPECT_TRUE(ours[i].equal(again[i])) << "number " << i << " differs from run to run";
    EXPECT_LE(largest(ours[i] - exact[i]), 2 * largest(cpu[i] - exact[i]) + luck) << "number " << i;
  }
  if (!c.sum) return;
  EXPECT_TRUE(ours[0].equal(cpu[0])) << "x + y is rounded once, as on the CPU";
}

// A warp a row, several warps, packs that end before the threads do, and rows that no pack divides;
// fewer rows than a block takes, and many times as many.
TEST(NormGpu, IsThatOfTheCpu) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool rms : {false, true}) {
      for (const bool bias : {false, true}) {
        if (rms && bias) continue;  // plain_norm has no bias there
        for (const bool sum : {false, true}) {
          for (const int64_t width : {1, 5, 8, 64, 200, 520, 768, 1000, 1024}) {
            if (rms && width == 1) continue;  // constant: what is left of dx is rounding
            compare({37, width, rms, bias, sum}, type);
          }
          for (const int64_t width : {1032, 1600, 2047, 2048, 4096, 5120, 8191, 8192}) {
            compare({9, width, rms, bias, sum}, type);
          }
          compare({3, 768, rms, bias, sum}, type);
          compare({3000, 768, rms, bias, sum}, type);
        }
      }
    }
  }
}

// Rows that do not start at multiples of 16 bytes.
TEST(NormGpu, TakesRowsThatStartAnywhere) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor buffer = noise({6 * 64 + 1}, "buffer").to(kGpu, type);
    const at::Tensor weight = noise({64}, "w").to(kGpu, type);
    const at::Tensor odd = buffer.narrow(0, 1, 6 * 64).view({6, 64});
    const double off = largest(norm(odd, weight, {}, {}).to(at::kDouble) -
                               norm(odd.clone(), weight, {}, {}).to(at::kDouble));
    EXPECT_LE(off, type == at::kFloat ? 1e-4 : 0x1p-3);
  }
}

// Far from 0 against its spread: a one-pass variance would be lost.
TEST(NormGpu, OfLargeMeansKeepsItsVariance) {
  const at::Tensor x = noise({4, 256}, "far").add(1000), weight = noise({256}, "w");
  const at::Tensor exact = plain_norm(x.to(at::kDouble), weight.to(at::kDouble), {}, {});
  const at::Tensor ours = norm(x.to(kGpu), weight.to(kGpu), {}, {}).cpu().to(at::kDouble);
  EXPECT_LE(largest(ours - exact), 1e-3);
}

// Wider rows than the kernels hold.
TEST(NormGpu, LeavesWideRowsToThePlainOne) {
  ASSERT_FALSE(has_device_norm(8200));
  const at::Tensor x = noise({3, 8200}, "x").to(kGpu), w = noise({8200}, "w").to(kGpu);
  EXPECT_TRUE(norm(x, w, {}, {}).equal(plain_norm(x, w, {}, {})));
}

}  // namespace
}  // namespace dagpam::trainer::kernels

int main(int argc, char** argv) { return dagpam::parallel::run_on_gpu(argc, argv); }
