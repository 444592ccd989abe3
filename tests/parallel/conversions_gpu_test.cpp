// Conversions and norms of many tensors on a GPU. Without one it says so and is skipped.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "parallel/conversions.h"
#include "parallel/flat_norm.h"
#include "tests/parallel/run_on_gpu.h"

namespace dagpam::parallel {
namespace {

const at::Device kGpu(at::kCUDA, 0);

at::Tensor wave(int64_t count, double step, at::ScalarType type) {
  return at::arange(count, at::kDouble).mul_(step).sin_().mul_(3).to(type);
}

// More tensors than a launch takes, of many sizes, some of which start anywhere.
TEST(ConversionsGpu, GiveTheBitsOfTheCpu) {
  for (const bool widened : {true, false}) {
    const at::ScalarType in = widened ? at::kBFloat16 : at::kFloat;
    const at::ScalarType out = widened ? at::kFloat : at::kBFloat16;
    std::vector<at::Tensor> expected;
    std::vector<Conversion> conversions;
    for (int64_t i = 0; i < 230; ++i) {
      const int64_t count = i % 50 == 7 ? 100000 + i : 1 + 37 * i, odd = i % 3;
      const at::Tensor from = wave(count + odd, 0.37, in).narrow(0, odd, count);
      const at::Tensor to = wave(count + odd, 0.11, out).narrow(0, odd, count);
      const bool add = i % 2 == 0;
      const at::Tensor there =
          from.new_empty({count + odd}, from.options().device(kGpu)).narrow(0, odd, count);
      there.copy_(from);
      const at::Tensor place =
          to.new_empty({count + odd}, to.options().device(kGpu)).narrow(0, odd, count);
      place.copy_(to);
      ASSERT_TRUE(converts_together(there, place));
      conversions.push_back({there, place, add});
      expected.push_back(add ? to.to(at::kFloat).add(from.to(at::kFloat)).to(out) : from.to(out));
    }
    convert(conversions);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(conversions[i].to.cpu().equal(expected[i])) << i;
    }
  }
}

TEST(ConversionsGpu, NormsOfManyAreThoseOfEach) {
  std::vector<at::Tensor> all;
  for (const int64_t count : {1, 1000, 65536, 65537, 3000001}) {
    all.push_back(wave(count, 0.01, at::kFloat).add(1).to(kGpu));
  }
  const std::vector<at::Tensor> norms = flat_norms(all), again = flat_norms(all);
  ASSERT_EQ(norms.size(), all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(norms[i].dim(), 0);
    EXPECT_TRUE(norms[i].equal(again[i]));
    const double exact = at::linalg_vector_norm(all[i].to(at::kDouble)).item<double>();
    EXPECT_LE(std::abs(norms[i].item<double>() - exact), 1e-6 * exact);
  }
}

}  // namespace
}  // namespace dagpam::parallel

int main(int argc, char** argv) { return dagpam::parallel::run_on_gpu(argc, argv); }
