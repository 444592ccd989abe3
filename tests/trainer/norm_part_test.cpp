// What a GPU's threads do of a norm, run by the host one after the other, against the CPU's rows.
#include "trainer/kernels/norm_part.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "trainer/kernels/step_rows.h"

namespace dagpam::trainer::kernels {
namespace {

using parallel::rows::narrow;
using parallel::rows::widen;

constexpr int64_t kRows = 5;

template <class Real>
std::vector<Real> wave(int64_t count, int seed, float level) {
  std::vector<Real> all(static_cast<size_t>(count));
  for (size_t i = 0; i < all.size(); ++i) {
    const auto at = static_cast<float>(i + 1000 * static_cast<size_t>(seed));
    narrow(level + std::sin(at * at), all[i]);
  }
  return all;
}

template <class Real>
void expect_near(const std::vector<Real>& got, const std::vector<Real>& expected, float rounding,
                 const char* what) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const float value = widen(expected[i]);
    EXPECT_NEAR(widen(got[i]), value, rounding * (std::abs(value) + 1)) << what << " " << i;
  }
}

// The threads of a row in turn, each phase for all of them before the next one.
template <int kPack, int kElements, class Real>
void run_forward(const NormProblem<Real>& p, int64_t threads) {
  std::vector<float[kElements]> held(static_cast<size_t>(threads));
  const auto over = [&](auto work) {
    float sum = 0;
    for (int64_t t = 0; t < threads; ++t) sum += work(t, held[static_cast<size_t>(t)]);
    return sum;
  };
  for (int64_t row = 0; row < p.rows; ++row) {
    const float sum = over([&](int64_t t, float(&own)[kElements]) {
      return norm_load<kPack>(p, row, t, threads, own);
    });
    const float mean = p.rms ? 0.0f : sum / static_cast<float>(p.width);
    const float squares = over([&](int64_t t, float(&own)[kElements]) {
      return norm_squares<kPack>(p.width, t, threads, mean, own);
    });
    const float scale = norm_scale(p.width, squares, p.eps);
    over([&](int64_t t, float(&own)[kElements]) {
      norm_store<kPack>(p, row, t, threads, mean, scale, own);
      return 0.0f;
    });
    p.stats[2 * row] = mean;
    p.stats[2 * row + 1] = scale;
  }
}

// `parts` blocks, each of every parts-th row; then the columns.
template <int kPack, int kElements, bool kBias, class Real>
void run_backward(const NormGradientProblem<Real>& p, int64_t threads) {
  const int64_t columns = (kBias ? 2 : 1) * p.width;
  for (int64_t part = 0; part < p.parts; ++part) {
    std::vector<NormGradientThread<Real, kPack, kElements, kBias>> own(
        static_cast<size_t>(threads));
    for (int64_t row = part; row < p.rows; row += p.parts) {
      NormSlopes sums{0, 0};
      for (int64_t t = 0; t < threads; ++t) {
        const NormSlopes mine = norm_gradient_load(p, row, t, threads, own[static_cast<size_t>(t)]);
        sums.along += mine.along;
        sums.level += mine.level;
      }
      for (int64_t t = 0; t < threads; ++t) {
        norm_gradient_store(p, row, t, threads, sums, own[static_cast<size_t>(t)]);
      }
    }
    for (int64_t t = 0; t < threads; ++t) {
      for (int i = 0; i < kElements; ++i) {
        const int64_t channel = norm_channel<kPack>(t, threads, i / kPack) + i % kPack;
        if (channel >= p.width) continue;
        float* const out = p.sums + part * columns + channel;
        out[0] = own[static_cast<size_t>(t)].dweight[i];
        if constexpr (kBias) out[p.width] = own[static_cast<size_t>(t)].dbias[i];
      }
    }
  }
  for (int64_t column = 0; column < columns; ++column) {
    float sum = 0;
    for (int64_t first = 0; first < 2; ++first) {
      sum += norm_column_part(p.sums, p.parts, columns, column, first, 2);
    }
    narrow(sum, column < p.width ? p.dweight[column] : p.dbias[column - p.width]);
  }
}

template <int kPack, int kElements, class Real>
void agree(int64_t width, int64_t threads, bool rms, bool bias, bool added) {
  SCOPED_TRACE("width " + std::to_string(width) + (rms ? " RMS" : "") + (bias ? " bias" : "") +
               (added ? " sum" : ""));
  const bool wide = sizeof(Real) == sizeof(float);
  const float rounding = wide ? 2e-5f : 0x1p-7f;
  const int64_t count = kRows * width;
  const auto x = wave<Real>(count, 1, 2), y = wave<Real>(count, 2, 0), w = wave<Real>(width, 3, 1),
             b = wave<Real>(width, 4, 0), dy = wave<Real>(count, 5, 0),
             add = wave<Real>(count, 6, 0);
  const StepRows<Real>& rows = step_rows<Real>();
  const auto at = [width](auto& all, int64_t row) { return all.data() + row * width; };
  std::vector<Real> sum = x, normed = x, own_sum = x, own_normed = x, dx = x, own_dx = x;
  std::vector<float> stats(2 * kRows), dw(static_cast<size_t>(width)), db = dw;
  for (int64_t row = 0; row < kRows; ++row) {
    if (added) rows.add(at(x, row), at(y, row), at(sum, row), width);
    const NormStats s = rows.norm(
        {at(sum, row), w.data(), bias ? b.data() : nullptr, at(normed, row), width, 1e-5f, rms});
    rows.norm_gradient({at(dy, row), at(sum, row), w.data(), added ? at(add, row) : nullptr,
                        at(dx, row), dw.data(), db.data(), width, s, rms});
  }
  NormProblem<Real> p;
  p.rows = kRows, p.width = width, p.rms = rms, p.eps = 1e-5f;
  p.x = x.data(), p.y = added ? y.data() : nullptr;
  p.weight = w.data(), p.bias = bias ? b.data() : nullptr;
  p.s = own_sum.data(), p.normed = own_normed.data(), p.stats = stats.data();
  run_forward<kPack, kElements>(p, threads);
  for (size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(widen(own_sum[i]), widen(sum[i]));
  expect_near(own_normed, normed, rounding, "normed");
  NormGradientProblem<Real> g;
  g.rows = kRows, g.width = width, g.rms = rms, g.parts = 3;
  g.dy = dy.data(), g.s = own_sum.data(), g.add = added ? add.data() : nullptr;
  g.weight = w.data(), g.stats = stats.data(), g.dx = own_dx.data();
  std::vector<Real> own_dw(static_cast<size_t>(width)), own_db = own_dw;
  std::vector<float> sums(static_cast<size_t>(g.parts * 2 * width));
  g.dweight = own_dw.data(), g.dbias = bias ? own_db.data() : nullptr, g.sums = sums.data();
  bias ? run_backward<kPack, kElements, true>(g, threads)
       : run_backward<kPack, kElements, false>(g, threads);
  expect_near(own_dx, dx, rounding, "dx");
  const auto rounded = [](const std::vector<float>& all) {
    std::vector<Real> out(all.size());
    for (size_t i = 0; i < all.size(); ++i) narrow(all[i], out[i]);
    return out;
  };
  expect_near(own_dw, rounded(dw), rounding, "dweight");
  if (bias) expect_near(own_db, rounded(db), rounding, "dbias");
}

TEST(NormPartTest, ThreadsOfARowDoWhatTheCpuDoes) {
  for (const bool rms : {false, true}) {
    for (const bool bias : {false, true}) {
      for (const bool added : {false, true}) {
        agree<4, 24, float>(768, 32, rms, bias, added);
        agree<4, 8, float>(36, 32, rms, bias, added);  // most threads have none
        agree<1, 32, float>(45, 32, rms, bias, added);
        agree<8, 24, Bf16>(768, 32, rms, bias, added);
        agree<8, 16, Bf16>(1096, 128, rms, bias, added);
        agree<1, 32, Bf16>(1, 32, rms, bias, added);
      }
    }
  }
}

}  // namespace
}  // namespace dagpam::trainer::kernels
