#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "attention/hopper/model_tile.h"

namespace dagpam::attention::hopper {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// One map of a tile of queries, as its warpgroup carries it through the keys.
struct Branch {
  Matrix o;  // [64, D]
  std::array<float, kQueryTile> greatest{};
  // The sum of a row, in the four parts that the four threads of the row hold.
  std::array<std::array<float, 4>, kQueryTile> sum{};

  explicit Branch(int width) : o(kQueryTile, width) { greatest.fill(kNothing); }
};

void mask(Matrix& s, const ModelProblem& problem, int64_t b, int64_t row, int64_t key) {
  for (int r = 0; r < s.rows; ++r) {
    const Interval seen = sees(problem, b, row + r);
    for (int c = 0; c < s.columns; ++c) {
      if (key + c < seen.first || key + c >= seen.last) s.at(r, c) = kNothing;
    }
  }
}

// S to P in place; the rows' maxima, sums and O follow.
void soften(Matrix& s, float scale2, Branch& branch) {
  for (int r = 0; r < s.rows; ++r) {
    const auto at = static_cast<size_t>(r);
    const float before = branch.greatest[at];
    float greatest = before;
    for (int c = 0; c < s.columns; ++c) greatest = std::fmax(greatest, s.at(r, c));
    branch.greatest[at] = greatest;
    const float shift = greatest == kNothing ? 0 : greatest * scale2;
    const float shrink = std::exp2(before * scale2 - shift);
    for (float& part : branch.sum[at]) part *= shrink;
    for (int c = 0; c < branch.o.columns; ++c) branch.o.at(r, c) *= shrink;
    for (int c = 0; c < s.columns; ++c) {
      const float p = std::exp2(s.at(r, c) * scale2 - shift);
      s.at(r, c) = p;
      branch.sum[at][static_cast<size_t>(c % 8 / 2)] += p;
    }
  }
}

// O to its mean, and each row's log2 of its sum.
std::array<float, kQueryTile> finish(float scale2, Branch& branch) {
  std::array<float, kQueryTile> lse2{};
  for (int r = 0; r < branch.o.rows; ++r) {
    const auto at = static_cast<size_t>(r);
    const auto& part = branch.sum[at];
    const float sum = (part[0] + part[1]) + (part[2] + part[3]);
    const float factor = sum > 0 ? 1 / sum : 0;
    lse2[at] = sum > 0 ? branch.greatest[at] * scale2 + std::log2(sum) : 0;
    for (int c = 0; c < branch.o.columns; ++c) branch.o.at(r, c) *= factor;
  }
  return lse2;
}

std::pair<Branch, std::array<float, kQueryTile>> run_branch(const ModelProblem& p, const Matrix& q,
                                                            int64_t b, int64_t h, int64_t tile) {
  const float scale2 = p.scale() * kLog2E;
  const int64_t kv = h / (p.heads / p.kv_heads);
  const TileRange range = range_of(p, b, tile);
  Branch branch(q.columns);
  for (int32_t t = range.first_tile(); t < range.last_tile(); ++t) {
    const int32_t key = t * kKeyTile;
    const Matrix k = load_rows(p.k, p.keys, p.kv_heads, p.width, b, kv, key, kKeyTile);
    const Matrix v = load_rows(p.v, p.keys, p.kv_heads, p.width, b, kv, key, kKeyTile);
    Matrix s(kQueryTile, kKeyTile);
    add_product(s, q, transposed(k));
    if (!range.covers(key, kKeyTile)) mask(s, p, b, tile * kQueryTile, key);
    soften(s, scale2, branch);
    round_all(s, p.rounding);
    add_product(branch.o, s, v);
  }
  const auto lse2 = finish(scale2, branch);
  return {std::move(branch), lse2};
}

Matrix negative_queries(const ModelProblem& p, const Matrix& q, int64_t b, int64_t h, int64_t row) {
  if (p.q_neg != nullptr) {
    return load_rows(p.q_neg, p.queries, p.heads, p.width, b, h, row, kQueryTile);
  }
  Matrix positive = q;
  for (float& x : positive.values) x = std::fmax(x, 0.0F);
  const Matrix w = load_rows(p.w_neg, p.width, 1, p.width, h, 0, 0, q.columns);
  Matrix out(kQueryTile, q.columns);
  add_product(out, positive, w);
  round_all(out, p.rounding);
  return out;
}

}  // namespace

ModelAnswer model_forward(const ModelProblem& p) {
  ModelAnswer answer;
  const auto size = static_cast<size_t>(p.batch * p.queries * p.heads * p.width);
  const int64_t padded = p.query_tiles() * kQueryTile;
  for (auto* x : {&answer.y, &answer.q_neg}) x->resize(size);
  answer.o.resize(2 * size);
  answer.lse2.resize(static_cast<size_t>(2 * p.batch * p.heads * padded));
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.heads; ++h) {
      for (int64_t tile = 0; tile < p.query_tiles(); ++tile) {
        const int64_t row = tile * kQueryTile;
        const Matrix q = load_rows(p.q, p.queries, p.heads, p.width, b, h, row, kQueryTile);
        const Matrix q_neg = negative_queries(p, q, b, h, row);
        const auto [plus, lse_plus] = run_branch(p, q, b, h, tile);
        const auto [minus, lse_minus] = run_branch(p, q_neg, b, h, tile);
        const Factors c = factors(p, h);
        Matrix y(kQueryTile, q.columns);
        for (size_t i = 0; i < y.values.size(); ++i) {
          y.values[i] = c.plus * plus.o.values[i] + c.minus * minus.o.values[i];
        }
        const Place place{b, row, h, p.queries, p.heads};
        store_rows(y, place, p.rounding, answer.y);
        store_rows(plus.o, place, p.rounding, answer.o);
        store_rows(minus.o, {p.batch + b, row, h, p.queries, p.heads}, p.rounding, answer.o);
        store_rows(q_neg, place, p.rounding, answer.q_neg);
        for (int r = 0; r < kQueryTile; ++r) {
          const int64_t at = (b * p.heads + h) * padded + row + r;
          answer.lse2[static_cast<size_t>(at)] = lse_plus[static_cast<size_t>(r)];
          answer.lse2[static_cast<size_t>(p.batch * p.heads * padded + at)] =
              lse_minus[static_cast<size_t>(r)];
        }
      }
    }
  }
  return answer;
}

}  // namespace dagpam::attention::hopper
