// The loss that takes its logits' place, against float64 and the plain path; the CUDA kernels'
// functions, run by the host, against the CPU's loops.
#include "parallel/vocabulary_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "parallel/instruction_set.h"
#include "parallel/loss_part.h"
#include "parallel/loss_rows.h"
#include "parallel/parameter.h"
#include "parallel/random.h"

namespace dagpam::parallel {
namespace {

at::Tensor noise(std::vector<int64_t> shape, const std::string& name) {
  const at::Tensor t = at::zeros(shape, at::kFloat);
  initialise(t, {shape, -1, 0}, Init::normal(1), 5, name);
  return t;
}

struct Both {
  at::Tensor loss, gradient;
};

using Loss = at::Tensor (*)(const at::Tensor&, const at::Tensor&, const VocabularyLossOptions&,
                            Communicator&);

// `upstream` weights the tokens, so that rows' gradients differ.
Both run(Loss loss_of, const at::Tensor& logits, const at::Tensor& targets,
         const VocabularyLossOptions& options, const at::Tensor& upstream, Communicator& group) {
  const at::Tensor leaf = logits.clone().requires_grad_();
  const at::Tensor given = leaf.mul(1);  // nobody else's
  const at::Tensor loss = loss_of(given, targets, options, group);
  loss.backward(upstream.to(loss.scalar_type()));
  return {loss.detach().to(at::kDouble), leaf.grad().to(at::kDouble)};
}

double largest(const at::Tensor& t) { return t.numel() == 0 ? 0 : t.abs().max().item<double>(); }

struct Case {
  int64_t vocab = 0, tokens = 0;
  double smoothing = 0, size = 0;  // of the logits
};

const std::vector<Case> kCases{{1, 3, 0, 1},     {7, 5, 0, 1},      {65, 20, 0.1, 3},
                               {1000, 9, 0, 30}, {1003, 4, 0.3, 3}, {50257, 3, 0, 3}};

at::Tensor targets_of(const Case& c) {
  at::Tensor targets = at::arange(c.tokens, at::kLong).mul(31).add(3).remainder(c.vocab);
  if (c.tokens > 3) targets[1].fill_(-100);
  return targets;
}

// At most twice the error of the plain path in the same arithmetic. Where the plain path is exact
// to the last bit by luck, some roundings are allowed.
void within_twice(const at::Tensor& got, const at::Tensor& plain, const at::Tensor& exact,
                  double rounding, const std::string& what) {
  const double bound = 2 * largest(plain - exact) + 4 * rounding * largest(exact);
  EXPECT_LE(largest(got - exact), bound) << what;
}

TEST(FusedLossTest, IsAsGoodAsThePlainOne) {
  const auto alone = make_self_communicator();
  for (const Case& c : kCases) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const std::string what = std::to_string(c.vocab) + " symbols, " + c10::toString(type);
      const at::Tensor z = noise({c.tokens, c.vocab}, "z").mul(c.size).to(type);
      const at::Tensor targets = targets_of(c), upstream = noise({c.tokens}, "w").add(2);
      const VocabularyLossOptions options{c.vocab, 0, c.smoothing, -100};
      const Both exact =
          run(vocabulary_cross_entropy, z.to(at::kDouble), targets, options, upstream, *alone);
      const Both got = run(fused_vocabulary_cross_entropy, z, targets, options, upstream, *alone);
      Both plain =
          run(vocabulary_cross_entropy, z.to(at::kFloat), targets, options, upstream, *alone);
      // What a bfloat16 model gets of it.
      plain.gradient = plain.gradient.to(type).to(at::kDouble);
      within_twice(got.loss, plain.loss, exact.loss, 0x1p-24, what);
      within_twice(got.gradient, plain.gradient, exact.gradient, 0x1p-24, what + ", gradient");
      if (c.tokens > 3) {
        EXPECT_EQ(got.loss[1].item<double>(), 0) << what;
        EXPECT_EQ(largest(got.gradient[1]), 0) << what;
      }
    }
  }
}

TEST(FusedLossTest, OfACutVocabularyIsThatOfTheWhole) {
  for (const int ranks : {2, 3}) {
    run_ranks_as_threads(ranks, [](Communicator& group) {
      const auto alone = make_self_communicator();
      for (const Case& c : kCases) {
        const int64_t rows = (c.vocab + group.size() - 1) / group.size();
        const int64_t first = std::min(c.vocab, group.rank() * rows);
        const int64_t real = std::min(rows, c.vocab - first);  // may be 0
        const at::Tensor z = noise({c.tokens, c.vocab}, "z").mul(c.size);
        const at::Tensor targets = targets_of(c), upstream = noise({c.tokens}, "w");
        const Both whole = run(fused_vocabulary_cross_entropy, z, targets,
                               {c.vocab, 0, c.smoothing, -100}, upstream, *alone);
        const Both own = run(fused_vocabulary_cross_entropy, z.narrow(1, first, real).contiguous(),
                             targets, {c.vocab, first, c.smoothing, -100}, upstream, group);
        EXPECT_LE(largest(own.loss - whole.loss), 1e-6 * (1 + largest(whole.loss))) << c.vocab;
        EXPECT_LE(largest(own.gradient - whole.gradient.narrow(1, first, real)), 1e-6) << c.vocab;
      }
    });
  }
}

TEST(FusedLossTest, TalksAsOftenAsThePlainOne) {
  run_ranks_as_threads(2, [](Communicator& group) {
    for (const double smoothing : {0.0, 0.1}) {
      const at::Tensor z = noise({6, 4}, "z"), targets = at::zeros({6}, at::kLong);
      const CommCounts before = group.counts();
      run(fused_vocabulary_cross_entropy, z, targets, {8, 4 * group.rank(), smoothing, -100},
          at::full({6}, 1.0), group);
      EXPECT_EQ(group.counts().all_reduce.calls - before.all_reduce.calls, 2);
      EXPECT_EQ(group.counts().all_reduce.bytes - before.all_reduce.bytes,
                4 * 6 * (smoothing > 0 ? 4 : 3));
    }
  });
}

TEST(FusedLossTest, WritesTheGradientInTheLogitsPlaceOnce) {
  const auto alone = make_self_communicator();
  const at::Tensor leaf = noise({4, 9}, "z").requires_grad_();
  const at::Tensor logits = leaf.mul(1);
  const at::Tensor before = logits.detach().clone();
  const at::Tensor loss =
      fused_vocabulary_cross_entropy(logits, at::arange(4, at::kLong), {9, 0, 0, -100}, *alone);
  EXPECT_TRUE(logits.equal(before));
  loss.sum().backward({}, /*retain_graph=*/true);
  EXPECT_TRUE(logits.detach().equal(leaf.grad()));
  EXPECT_THROW(loss.sum().backward(), c10::Error);
}

TEST(FusedLossTest, WhatIsNotFiniteShows) {
  const auto alone = make_self_communicator();
  for (const double odd :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const int64_t at : {0, 17, 39}) {
      at::Tensor z = noise({2, 40}, "z");
      z[1][at].fill_(odd);
      const Both got = run(fused_vocabulary_cross_entropy, z, at::full({2}, 3, at::kLong),
                           {40, 0, 0, -100}, at::full({2}, 1.0), *alone);
      EXPECT_TRUE(std::isfinite(got.loss[0].item<double>()));
      EXPECT_TRUE(std::isnan(got.loss[1].item<double>())) << odd << " at " << at;
      EXPECT_TRUE(got.gradient[0].isfinite().all().item<bool>());
      EXPECT_FALSE(got.gradient[1].isfinite().all().item<bool>());
    }
  }
}

TEST(FusedLossTest, RefusesWhatItCannotOverwrite) {
  const auto alone = make_self_communicator();
  const at::Tensor targets = at::zeros({3}, at::kLong);
  EXPECT_THROW(fused_vocabulary_cross_entropy(at::zeros({5, 3}).t(), targets, {5}, *alone),
               c10::Error);
  EXPECT_THROW(fused_vocabulary_cross_entropy(at::zeros({3, 5}), targets.to(at::kInt), {5}, *alone),
               c10::Error);
}

template <class Real>
std::vector<const LossRows<Real>*> runnable(const LossRows<Real>& portable,
                                            const LossRows<Real>& avx2) {
  std::vector<const LossRows<Real>*> out{&portable, &loss_rows<Real>()};
  if (instruction_set() != InstructionSet::kPortable) out.push_back(&avx2);
  return out;
}

// As the kernel does: every thread its part, then all combined.
template <class Real>
void kernel_agrees(const std::vector<const LossRows<Real>*>& builds) {
  constexpr int64_t kThreads = 32, kSymbols = 203, kTarget = 77;
  std::vector<Real> z(kSymbols);
  for (size_t i = 0; i < z.size(); ++i) {
    rows::narrow(5 * std::sin(static_cast<float>(i * i)), z[i]);
  }
  float most = -INFINITY, exponentials = 0, shifted = 0;
  for (int64_t t = 0; t < kThreads; ++t) {
    most = loss_larger(most, loss_largest_part(z.data(), kSymbols, t, kThreads));
  }
  for (int64_t t = 0; t < kThreads; ++t) {
    float e = 0, s = 0;
    loss_sums_part(z.data(), kSymbols, most, t, kThreads, &e, &s);
    exponentials += e;
    shifted += s;
  }
  const int64_t target = 1000 + kTarget;
  float sums[3] = {exponentials, 0, shifted};
  const float upstream = 0.7f;
  LossProblem problem;
  problem.rows = 1;
  problem.symbols = kSymbols;
  problem.targets = &target;
  problem.first = 1000;
  problem.largest = &most;
  problem.sums = sums;
  problem.smoothing = 0.1f;
  problem.vocab = 5000;
  problem.upstream = &upstream;
  std::vector<Real> by_kernel = z;
  for (int64_t t = 0; t < kThreads; ++t) {
    loss_gradient_part(problem, by_kernel.data(), 0, t, kThreads);
  }
  const LossFactors f = loss_factors(problem, 0);
  for (const LossRows<Real>* build : builds) {
    EXPECT_EQ(build->largest(z.data(), kSymbols), most) << build->name;
    const LossSums got = build->sums(z.data(), kSymbols, most);
    EXPECT_NEAR(got.exponentials, exponentials, 1e-6f * exponentials) << build->name;
    EXPECT_NEAR(got.shifted, shifted, 1e-6f * std::abs(shifted)) << build->name;
    std::vector<Real> by_rows = z;
    build->gradient(by_rows.data(), kSymbols, most, f.factor, f.shift);
    for (int64_t i = 0; i < kSymbols; ++i) {
      const auto at = static_cast<size_t>(i);
      const float expected = rows::widen(by_rows[at]) - (i == kTarget ? f.hit : 0);
      const float rounding = sizeof(Real) == 2 ? 0x1p-8f : 0x1p-22f;
      EXPECT_NEAR(rows::widen(by_kernel[at]), expected, rounding * std::abs(expected) + 1e-9f)
          << build->name << " " << i;
    }
  }
}

TEST(LossRowsTest, EveryBuildAgreesWithTheGpusFunctions) {
  kernel_agrees<float>(runnable(portable::kFloatLoss, avx2::kFloatLoss));
  kernel_agrees<rows::Bf16>(runnable(portable::kBf16Loss, avx2::kBf16Loss));
}

TEST(LossRowsTest, Bfloat16RoundsAsLibTorchDoes) {
  for (uint32_t i = 0; i < 1u << 20; ++i) {
    const float x = rows::float_of(i * 4099u);
    rows::Bf16 got;
    rows::narrow(x, got);
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(rows::widen(got)));
    } else {
      ASSERT_EQ(got.bits, c10::BFloat16(x).x) << x;
    }
  }
}

// Against the C library in float64: what is small is right to some units in its own last place.
TEST(VectorMathTest, NormalIsAccurateInItsTail) {
  for (double at = -12; at < 12; at += 1.0 / 512) {
    const auto x = static_cast<float>(at);
    const double exact = 0.5 * std::erfc(-at / std::sqrt(2.0));
    const rows::Normal got = rows::normal(x);
    EXPECT_NEAR(got.below, exact, 2e-7) << at;  // 1.4e-7 measured
    if (at < 0) {
      EXPECT_NEAR(got.below / exact, 1, 6e-6) << at;
    }
    EXPECT_NEAR(got.density, std::exp(-0.5 * at * at) / std::sqrt(2 * M_PI), 1e-7) << at;
  }
  EXPECT_TRUE(std::isnan(rows::normal(NAN).below));
  EXPECT_EQ(rows::normal(INFINITY).below, 1.0f);
  EXPECT_EQ(rows::normal(-INFINITY).below, 0.0f);
}

}  // namespace
}  // namespace dagpam::parallel
