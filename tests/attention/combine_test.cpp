// The combination of daGPAM's maps: the kernels' functions, run by the CPU, against the formula.
#include "attention/combine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>
#include <limits>
#include <vector>

#include "attention/combine_row.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

struct Result {
  at::Tensor y;
  std::vector<at::Tensor> grads;  // of both, plus, minus
};

using Path = at::Tensor (*)(const at::Tensor&, const at::Tensor&, const at::Tensor&);

Result run(Path path, const at::Tensor& both, const at::Tensor& plus, const at::Tensor& minus,
           const at::Tensor& dy) {
  const auto leaf = [](const at::Tensor& t) { return t.detach().requires_grad_(); };
  const std::vector<at::Tensor> inputs{leaf(both), leaf(plus), leaf(minus)};
  const at::Tensor y = path(inputs[0], inputs[1], inputs[2]);
  return {y.detach(), torch::autograd::grad({y}, inputs, {dy})};
}

// [B, N, 2 H, D] as each of the library's kernels lays its answer out.
at::Tensor with_layout(const at::Tensor& both, bool heads_first) {
  return heads_first ? both.transpose(1, 2).contiguous().transpose(1, 2) : both.contiguous();
}

TEST(CombineTest, FollowsTheFormula) {
  for (const bool heads_first : {false, true}) {
    for (const int64_t lambdas : {int64_t{1}, int64_t{3}}) {
      const auto low = [](const at::Tensor& t) { return t.to(at::kFloat); };
      const auto exact = [](const at::Tensor& t) { return t.to(at::kDouble); };
      const at::Tensor both = with_layout(low(normal({2, 5, 6, 7}, 1)), heads_first);
      const at::Tensor plus = low(normal({lambdas}, 2)), minus = low(normal({lambdas}, 3));
      const at::Tensor dy = low(normal({2, 5, 3, 7}, 4));
      const Result plain = run(plain_combine, exact(both), exact(plus), exact(minus), exact(dy));
      const Result ours = run(combine, both, plus, minus, dy);
      EXPECT_TRUE(ours.y.is_contiguous());
      EXPECT_LE(difference(exact(ours.y), plain.y), 2e-7);
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(ours.grads[i].sizes(), plain.grads[i].sizes()) << i;
        // Measured: 1.2e-7, and 7e-7 for a lambda, whose sum cancels.
        EXPECT_LE(difference(exact(ours.grads[i]), plain.grads[i]), i == 0 ? 2e-7 : 1.4e-6) << i;
      }
    }
  }
}

TEST(CombineTest, OneRowByHand) {
  // H = 1, D = 2, l+ = 0.5, l- = 0.25.
  const at::Tensor both = at::full({1, 1, 2, 2}, 3.0f), dy = at::full({1, 1, 1, 2}, 2.0f);
  both.select(2, 1).fill_(4.0f);
  const Result r = run(combine, both, at::full({1}, 0.5f), at::full({1}, 0.25f), dy);
  EXPECT_TRUE(r.y.equal(at::full({1, 1, 1, 2}, 1.5f * 3 - 0.25f * 4)));
  EXPECT_TRUE(r.grads[0].select(2, 0).equal(at::full({1, 1, 2}, 3.0f)));
  EXPECT_TRUE(r.grads[0].select(2, 1).equal(at::full({1, 1, 2}, -0.5f)));
  EXPECT_EQ(r.grads[1].item<float>(), 2 * 2 * 3);
  EXPECT_EQ(r.grads[2].item<float>(), -2 * 2 * 4);
}

// Lambdas are not rounded, and the answer is once.
TEST(CombineTest, BFloat16IsRoundedOnce) {
  const at::Tensor both = normal({2, 4, 4, 8}, 5).to(at::kBFloat16);
  const at::Tensor plus = normal({2}, 6).to(at::kFloat), minus = normal({2}, 7).to(at::kFloat);
  const at::Tensor dy = normal({2, 4, 2, 8}, 8).to(at::kBFloat16);
  const Result ours = run(combine, both, plus, minus, dy);
  const Result wide = run(combine, both.to(at::kFloat), plus, minus, dy.to(at::kFloat));
  EXPECT_TRUE(ours.y.equal(wide.y.to(at::kBFloat16)));
  EXPECT_TRUE(ours.grads[0].equal(wide.grads[0].to(at::kBFloat16)));
  EXPECT_TRUE(ours.grads[1].equal(wide.grads[1]));
  EXPECT_TRUE(ours.grads[2].equal(wide.grads[2]));
  const Result plain = run(plain_combine, both, plus, minus, dy);
  EXPECT_LE(difference(ours.y.to(at::kFloat), plain.y.to(at::kFloat)), 0.004);
}

TEST(CombineTest, RoundsBitsAsLibTorchDoes) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> cases{0.0f,   -0.0f, 1.00390625f, 1.01171875f, 3.4e38f, -3.4e38f,
                                 1e-40f, inf,   -inf,        0.1f,        255.5f,  1e-45f};
  for (const float x : cases) {
    Bits16 ours;
    rounded(x, &ours);
    EXPECT_EQ(ours.bits, c10::BFloat16(x).x) << x;
    EXPECT_EQ(widened(ours), static_cast<float>(c10::BFloat16(x))) << x;
  }
  Bits16 ours;
  rounded(std::numeric_limits<float>::quiet_NaN(), &ours);
  EXPECT_NE(widened(ours), widened(ours));
}

// As the kernels call them: several elements at once, into the same places.
template <class Real, int kPack>
void expect_packs_alike(at::ScalarType type) {
  const at::Tensor both = with_layout(normal({2, 3, 4, 16}, 9).to(type), true);
  const at::Tensor plus = normal({2}, 1).to(at::kFloat), minus = normal({2}, 2).to(at::kFloat);
  const at::Tensor dy = normal({2, 3, 2, 16}, 3).to(type);
  CombineShape s{2, 3, 2, 16, both.stride(0), both.stride(1), both.stride(2), false};
  std::array<at::Tensor, 2> y, d_both;
  std::array<CombineSums, 2> sums;
  const auto bits = [](const at::Tensor& t) { return static_cast<Real*>(t.mutable_data_ptr()); };
  for (size_t which = 0; which < 2; ++which) {
    y[which] = at::empty({2, 3, 2, 16}, dy.options());
    d_both[which] = at::empty({2, 3, 4, 16}, dy.options());
    const auto *p = plus.const_data_ptr<float>(), *m = minus.const_data_ptr<float>();
    for (int64_t token = 0; token < 6; ++token) {
      for (int64_t head = 0; head < 2; ++head) {
        for (int64_t i = 0; i < 16; i += which == 0 ? 1 : kPack) {
          if (which == 0) {
            combine_pack<1>(s, p, m, token, head, i, bits(both), bits(y[0]));
            combine_pack_backward<1>(s, p, m, token, head, i, bits(both), bits(dy), bits(d_both[0]),
                                     &sums[0]);
          } else {
            combine_pack<kPack>(s, p, m, token, head, i, bits(both), bits(y[1]));
            combine_pack_backward<kPack>(s, p, m, token, head, i, bits(both), bits(dy),
                                         bits(d_both[1]), &sums[1]);
          }
        }
      }
    }
  }
  EXPECT_TRUE(y[0].equal(y[1]));
  EXPECT_TRUE(d_both[0].equal(d_both[1]));
  EXPECT_EQ(sums[0].plus, sums[1].plus);
  EXPECT_EQ(sums[0].minus, sums[1].minus);
}

TEST(CombineTest, PacksAreTheirElements) {
  expect_packs_alike<float, 4>(at::kFloat);
  expect_packs_alike<Bits16, 8>(at::kBFloat16);
}

TEST(CombineTest, OddHeadsAreRefused) {
  EXPECT_THROW(combine(at::full({1, 1, 3, 2}, 1.0f), at::full({1}, 1.0f), at::full({1}, 1.0f)),
               c10::Error);
}

}  // namespace
}  // namespace dagpam::attention::testing
