// The mask that CUDA kernels draw, by the host, against the CPU's own loops: the same bits.
#include "parallel/dropout_mask.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "parallel/random.h"
#include "parallel/random_rows.h"

namespace dagpam::parallel {
namespace {

constexpr uint64_t kKey = 0x0123456789abcdefull;
const std::vector<int64_t> kSamples{7, (int64_t{1} << 32) + 3, 0};

// As the kernel does, one quad after the other.
template <class Real>
void draw(const DropoutMask& mask, const Real* x, Real* y) {
  for (int64_t row = 0; row < mask.rows; ++row) {
    for (int64_t quad = 0; quad < dropout_quads(mask); ++quad) {
      dropout_quad(mask, kSamples.data(), row, quad, x, y);
    }
  }
}

TEST(DropoutMask, PhiloxIsThatOfTheHost) {
  for (uint32_t i = 0; i < 1000; ++i) {
    const PhiloxWords words = philox_words({{i, 3 * i, ~i, 0x80000000u + i}}, kKey * i);
    const auto expected = philox4x32({i, 3 * i, ~i, 0x80000000u + i}, kKey * i);
    for (size_t word = 0; word < 4; ++word) EXPECT_EQ(words.word[word], expected[word]);
  }
}

template <class Real>
void same_as_dropout(at::ScalarType type) {
  for (const int64_t width : {1, 3, 4, 5, 64, 130}) {
    for (const double p : {0.1, 0.5, 0.999}) {
      const int64_t tokens = 6, first = 40;
      const auto samples = at::empty({3}, at::kLong);
      std::copy(kSamples.begin(), kSamples.end(), samples.mutable_data_ptr<int64_t>());
      // Negative numbers too: what is dropped is +0.
      const at::Tensor x = at::arange(3 * tokens * width, at::kDouble)
                               .sub(17.3)
                               .mul(0.37)
                               .to(type)
                               .view({3, tokens, width});
      const at::Tensor expected = dropout(x, samples, p, kKey, first);
      at::Tensor y = at::empty_like(x);
      DropoutMask mask{.key = kKey,
                       .threshold = dropout_threshold(p),
                       .keep_scale = 1 / (1 - p),
                       .rows = 3 * tokens,
                       .width = width,
                       .tokens = tokens,
                       .first_token = first};
      draw<Real>(mask, x.const_data_ptr<Real>(), y.mutable_data_ptr<Real>());
      EXPECT_TRUE(y.equal(expected)) << width << " " << p;
      EXPECT_TRUE(y.signbit().equal(expected.signbit())) << width << " " << p;
      mask.key = kKey + 1;
      mask.lying_key = &kKey;  // counts in the place of the other
      y.zero_();
      draw<Real>(mask, x.const_data_ptr<Real>(), y.mutable_data_ptr<Real>());
      EXPECT_TRUE(y.equal(expected)) << width << " " << p;
    }
  }
}

TEST(DropoutMask, MasksAsTheCpuDoes) {
  same_as_dropout<float>(at::kFloat);
  same_as_dropout<double>(at::kDouble);
}

// Factors of attention weights: rows by sample, head and query.
TEST(DropoutMask, FactorsAsTheCpuFillsThem) {
  constexpr int64_t kHeads = 2, kQueries = 5, kKeys = 11, kFirstHead = 6;
  const double p = 0.3;
  const DropoutMask mask{.key = kKey,
                         .threshold = dropout_threshold(p),
                         .keep_scale = 1 / (1 - p),
                         .rows = 3 * kHeads * kQueries,
                         .width = kKeys,
                         .tokens = kQueries,
                         .heads = kHeads,
                         .first_head = kFirstHead};
  std::vector<float> drawn(static_cast<size_t>(mask.rows * mask.width));
  draw<float>(mask, nullptr, drawn.data());
  const float* at = drawn.data();
  for (const int64_t sample : kSamples) {
    for (int64_t head = 0; head < kHeads; ++head) {
      for (int64_t query = 0; query < kQueries; ++query, at += kKeys) {
        std::array<float, kKeys> row{};
        const DropoutRow expected{.c1 = static_cast<uint32_t>(query),
                                  .c2 = static_cast<uint32_t>(kFirstHead + head),
                                  .c3 = static_cast<uint32_t>(sample),
                                  .key = kKey,
                                  .threshold = mask.threshold,
                                  .keep_scale = mask.keep_scale};
        fill_dropout_row(expected, 0, kKeys, row.data());
        for (size_t key = 0; key < row.size(); ++key) EXPECT_EQ(at[key], row[key]);
      }
    }
  }
}

}  // namespace
}  // namespace dagpam::parallel
