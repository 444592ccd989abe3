#include "parallel/flat_norm.h"

#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

namespace dagpam::parallel {
namespace {

double relative_error(const at::Tensor& norm, double exact) {
  return std::abs(norm.item<double>() - exact) / exact;
}

TEST(FlatNormTest, ConstantsHaveAClosedForm) {
  for (const int64_t n : {1, 4095, 4096, 4097, 8192, 1'000'003, 20'000'000}) {
    const double exact = 1e-3F * std::sqrt(static_cast<double>(n));
    EXPECT_LT(relative_error(flat_norm(at::full({n}, 1e-3F)), exact), 1e-6) << n;
  }
  EXPECT_EQ(flat_norm(at::full({0}, 1.0F)).item<double>(), 0);
}

TEST(FlatNormTest, RandomNumbersAgreeWithDoubleWhereTheLibraryDoesNot) {
  const at::Tensor numbers = at::randn({6'553'601}, at::detail::createCPUGenerator(/*seed=*/1));
  const double exact = at::linalg_vector_norm(numbers.to(at::kDouble)).item<double>();
  EXPECT_LT(relative_error(flat_norm(numbers), exact), 1e-6);
  // What this is for; where it fails, LibTorch has become better and flat_norm may go.
  EXPECT_GT(relative_error(at::linalg_vector_norm(numbers), exact), 1e-5);
}

}  // namespace
}  // namespace dagpam::parallel
