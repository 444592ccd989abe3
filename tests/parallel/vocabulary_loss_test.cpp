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

// As the kernel does: every thread its part, then all joined.
template <class Real>
LossRunning joined_sums(const Real* z, int64_t symbols, int64_t threads) {
  LossRunning all;
  for (int64_t t = 0; t < threads; ++t) {
    all = loss_joined(all, loss_sums_part(z, symbols, t, threads));
  }
  return all;
}

// Logits that start `offset` elements past 16 bytes, in numbers that do not change with it.
template <class Real>
std::vector<rows::Pack<Real, rows::kWidestPack<Real>>> shifted_logits(int64_t symbols,
                                                                      int64_t offset, Real** z) {
  constexpr int64_t kPack = rows::kWidestPack<Real>;
  std::vector<rows::Pack<Real, kPack>> memory(static_cast<size_t>(symbols / kPack + 3));
  *z = memory[0].x + offset;
  for (int64_t i = 0; i < symbols; ++i) {
    rows::narrow(5 * std::sin(static_cast<float>(i * i)), (*z)[i]);
  }
  return memory;
}

template <class Real>
void kernel_agrees(const std::vector<const LossRows<Real>*>& builds, int64_t symbols,
                   int64_t offset) {
  constexpr int64_t kThreads = 32;
  const int64_t own = symbols * 77 / 203;  // the target
  Real* z = nullptr;
  const auto memory = shifted_logits(symbols, offset, &z);
  Real* by_kernel = nullptr;
  const auto copy = shifted_logits(symbols, offset, &by_kernel);
  const int64_t target = 1000 + own;
  float most = 0, sums[3] = {};
  const float upstream = 0.7f;
  LossProblem problem;
  problem.rows = 1;
  problem.symbols = symbols;
  problem.targets = &target;
  problem.first = 1000;
  problem.largest = &most;
  problem.sums = sums;
  problem.smoothing = 0.1f;
  problem.vocab = 5000;
  problem.upstream = &upstream;
  loss_write_sums(problem, z, 0, joined_sums(z, symbols, kThreads));
  for (int64_t t = 0; t < kThreads; ++t) loss_gradient_part(problem, by_kernel, 0, t, kThreads);
  const LossFactors f = loss_factors(problem, 0);
  EXPECT_EQ(sums[1], rows::widen(z[own]) - most);
  const float rounding = sizeof(Real) == 2 ? 0x1p-8f : 0x1p-22f;
  for (const LossRows<Real>* build : builds) {
    SCOPED_TRACE(std::string(build->name) + " " + std::to_string(symbols) + " symbols from " +
                 std::to_string(offset));
    EXPECT_EQ(build->largest(z, symbols), most);
    const LossSums got = build->sums(z, symbols, most);
    EXPECT_NEAR(got.exponentials, sums[0], 1e-6f * sums[0]);
    EXPECT_NEAR(got.shifted, sums[2], 1e-6f * std::abs(sums[2]));
    std::vector<Real> by_rows(z, z + symbols);
    build->gradient(by_rows.data(), symbols, most, f.factor, f.shift);
    for (int64_t i = 0; i < symbols; ++i) {
      const float expected = rows::widen(by_rows[static_cast<size_t>(i)]) - (i == own ? f.hit : 0);
      // The target's is rounded here before the hit is taken off, and by the kernel after.
      const float size = std::abs(expected) + (i == own ? f.hit : 0);
      EXPECT_NEAR(rows::widen(by_kernel[i]), expected, rounding * size + 1e-9f) << i;
    }
  }
}

// Rows shorter than a pack, of single packs, and of several at once, from any place of a pack.
TEST(LossRowsTest, EveryBuildAgreesWithTheGpusFunctions) {
  for (const int64_t symbols : {1, 7, 8, 16, 203, 1024, 3011}) {
    for (int64_t offset = 0; offset < 8; ++offset) {
      if (offset < 4) {
        kernel_agrees<float>(runnable(portable::kFloatLoss, avx2::kFloatLoss), symbols, offset);
      }
      kernel_agrees<rows::Bf16>(runnable(portable::kBf16Loss, avx2::kBf16Loss), symbols, offset);
    }
  }
}

// The GPU's way with a cut vocabulary: each rank's own sums first, then to the largest of all.
TEST(LossRowsTest, SumsOfPartsAreMadeToTheLargestOfAll) {
  constexpr int64_t kSymbols = 500;
  float* z = nullptr;
  const auto memory = shifted_logits(kSymbols, 0, &z);
  for (const int64_t cut : {3, 250, 500}) {
    const LossRunning whole = joined_sums(z, kSymbols, 32);
    float total[3] = {};
    for (const int64_t begin : {int64_t{0}, cut}) {
      const int64_t end = begin == 0 ? cut : kSymbols, target = 400;  // the second may be empty
      float most = 0, sums[3] = {};
      LossProblem problem;
      problem.rows = 1;
      problem.symbols = end - begin;
      problem.targets = &target;
      problem.first = begin;
      problem.largest = &most;
      problem.sums = sums;
      loss_write_sums(problem, z + begin, 0, joined_sums(z + begin, end - begin, 32));
      loss_rebase_row(problem, &whole.largest, 0);
      EXPECT_EQ(most, whole.largest);
      for (int i = 0; i < 3; ++i) total[i] += sums[i];
    }
    EXPECT_NEAR(total[0], whole.exponentials, 2e-6f * whole.exponentials) << cut;
    EXPECT_NEAR(total[1], z[400] - whole.largest, 2e-6f) << cut;
    EXPECT_NEAR(total[2], whole.shifted, 2e-6f * std::abs(whole.shifted)) << cut;
  }
}

TEST(LossRowsTest, TheGpusSumsShowWhatIsNotFinite) {
  float* z = nullptr;
  const auto memory = shifted_logits(203, 1, &z);
  const LossRunning finite = joined_sums(z, 203, 32);
  // A masked symbol has no weight, wherever it stands.
  for (int64_t i = 0; i < 203; ++i) {
    const float before = z[i];
    z[i] = -INFINITY;
    const LossRunning masked = joined_sums(z, 203, 32);
    EXPECT_NEAR(masked.exponentials * std::exp(masked.largest - finite.largest),
                finite.exponentials - std::exp(before - finite.largest),
                1e-5f * finite.exponentials)
        << i;
    for (const float odd : {NAN, INFINITY}) {
      z[i] = odd;
      EXPECT_TRUE(std::isnan(joined_sums(z, 203, 32).exponentials)) << odd << " at " << i;
    }
    z[i] = before;
  }
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
