#include <algorithm>
#include <array>
#include <cmath>

#include "attention/hopper/model_tile.h"

namespace dagpam::attention::hopper {
namespace {

constexpr int kKept = 4;  // lse2+, lse2-, d+, d- of a row

// Where a row word of the tile's row r lies in ModelGradients::rows.
size_t row_at(const ModelProblem& p, int64_t b, int64_t h, int64_t tile, int word, int64_t r) {
  const int64_t head = (b * p.heads + h) * p.query_tiles() + tile;
  return static_cast<size_t>((head * kKept + word) * kQueryTile + r);
}

// A row's dot product as a warp sums it: 8 neighbours a lane, then in pairs.
float dot(const float* a, const float* b, int64_t width) {
  std::array<float, 16> lane{};
  for (int64_t c = 0; c < width; ++c) lane[static_cast<size_t>(c / 8)] += a[c] * b[c];
  for (auto apart = static_cast<size_t>(width / 16); apart > 0; apart /= 2) {
    for (size_t i = 0; i < apart; ++i) lane[i] += lane[i + apart];
  }
  return lane[0];
}

// d+ = dY . O+ and d- = dY . O- of each row, and their sums over rows, the lambdas' gradients.
void preprocess(const ModelProblem& p, const ModelAnswer& answer, const float* dy,
                ModelGradients& out) {
  const int64_t padded = p.query_tiles() * kQueryTile;
  const int64_t half = p.batch * p.heads * padded;
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.heads; ++h) {
      for (int64_t n = 0; n < p.queries; ++n) {
        const int64_t at = ((b * p.queries + n) * p.heads + h) * p.width;
        const auto half_of_o = static_cast<int64_t>(answer.o.size() / 2);
        const float plus = dot(dy + at, answer.o.data() + at, p.width);
        const float minus = dot(dy + at, answer.o.data() + half_of_o + at, p.width);
        const int64_t tile = n / kQueryTile, r = n % kQueryTile;
        const auto lse = static_cast<size_t>((b * p.heads + h) * padded + n);
        out.rows[row_at(p, b, h, tile, 0, r)] = answer.lse2[lse];
        out.rows[row_at(p, b, h, tile, 1, r)] = answer.lse2[static_cast<size_t>(half) + lse];
        out.rows[row_at(p, b, h, tile, 2, r)] = plus;
        out.rows[row_at(p, b, h, tile, 3, r)] = minus;
        out.dplus[static_cast<size_t>(h)] += plus;
        out.dminus[static_cast<size_t>(h)] -= minus;
      }
    }
  }
}

// A block of backward: a tile of keys, on which dK and dV gather.
struct Block {
  int64_t b, kv;
  int32_t key;
  Matrix k, v, k_transposed, v_transposed;  // [128, D] and [D, 128]
  Matrix dk, dv;                            // [128, D]
};

// What stands behind the 16-bit row gradients of dQ+ and dQ-: [B, N, H, D] in float32.
struct QueryGradients {
  std::vector<float> plus, minus;
};

// One map of a tile of queries against the block: P, and dS = c P (dA - d).
struct Scores {
  Matrix p, ds;  // [64, 128]
};

Scores scores_of(const ModelProblem& p, const Block& block, const Matrix& q, const Matrix& da,
                 const ModelGradients& out, int64_t h, int64_t tile, bool plus) {
  const TileRange range = range_of(p, block.b, tile);
  const float scale2 = p.scale() * kLog2E;
  const float factor = plus ? factors(p, h).plus : factors(p, h).minus;
  Scores s{Matrix(kQueryTile, kKeyTile), Matrix(kQueryTile, kKeyTile)};
  add_product(s.p, q, block.k_transposed);
  for (int r = 0; r < kQueryTile; ++r) {
    const Interval seen = sees(p, block.b, tile * kQueryTile + r);
    const float lse2 = out.rows[row_at(p, block.b, h, tile, plus ? 0 : 1, r)];
    const float d = out.rows[row_at(p, block.b, h, tile, plus ? 2 : 3, r)];
    for (int c = 0; c < kKeyTile; ++c) {
      float& weight = s.p.at(r, c);
      weight = std::exp2(weight * scale2 - lse2);
      const int32_t key = block.key + c;
      if (!range.covers(block.key, kKeyTile) && (key < seen.first || key >= seen.last)) weight = 0;
      s.ds.at(r, c) = factor * weight * (da.at(r, c) - d);
    }
  }
  return s;
}

// c += a^T b over `count` rows of both.
void add_rows_product(Matrix& c, const Matrix& a, const Matrix& b, int first, int count) {
  Matrix part_a(count, a.columns), part_b(count, b.columns);
  std::copy_n(a.row(first), part_a.values.size(), part_a.values.begin());
  std::copy_n(b.row(first), part_b.values.size(), part_b.values.begin());
  add_product(c, transposed(part_a), part_b);
}

void add_rows(const Matrix& x, const Place& place, std::vector<float>& to) {
  for (int r = 0; r < x.rows && place.row + r < place.rows; ++r) {
    const int64_t row = (place.b * place.rows + place.row + r) * place.heads + place.h;
    for (int c = 0; c < x.columns; ++c) to[static_cast<size_t>(row * x.columns + c)] += x.at(r, c);
  }
}

void visit(const ModelProblem& p, const ModelAnswer& answer, const float* dy, int64_t h,
           int64_t tile, Block& block, QueryGradients& dq, const ModelGradients& out) {
  const int64_t row = tile * kQueryTile;
  const auto rows = [&](const float* x) {
    return load_rows(x, p.queries, p.heads, p.width, block.b, h, row, kQueryTile);
  };
  const Matrix q = rows(p.q), q_neg = rows(answer.q_neg.data()), dy_rows = rows(dy);
  Matrix da(kQueryTile, kKeyTile);
  add_product(da, dy_rows, block.v_transposed);
  Scores plus = scores_of(p, block, q, da, out, h, tile, true);
  Scores minus = scores_of(p, block, q_neg, da, out, h, tile, false);
  const Factors c = factors(p, h);
  Matrix a(kQueryTile, kKeyTile);
  for (size_t i = 0; i < a.values.size(); ++i) {
    a.values[i] = c.plus * plus.p.values[i] + c.minus * minus.p.values[i];
  }
  for (Matrix* x : {&a, &plus.ds, &minus.ds}) round_all(*x, p.rounding);
  add_product(block.dv, transposed(a), dy_rows);
  const int part = p.width == 128 ? kQueryTile / 2 : kQueryTile;
  for (int row_of_part = 0; row_of_part < kQueryTile; row_of_part += part) {
    add_rows_product(block.dk, plus.ds, q, row_of_part, part);
    add_rows_product(block.dk, minus.ds, q_neg, row_of_part, part);
  }
  Matrix dq_plus(kQueryTile, q.columns), dq_minus(kQueryTile, q.columns);
  add_product(dq_plus, plus.ds, block.k);
  add_product(dq_minus, minus.ds, block.k);
  const Place place{block.b, row, h, p.queries, p.heads};
  add_rows(dq_plus, place, dq.plus);
  add_rows(dq_minus, place, dq.minus);
}

// dQ and dW_neg from dQ+ and dQ- of one head's row tile.
void postprocess(const ModelProblem& p, const QueryGradients& dq, ModelGradients& out) {
  const auto width = static_cast<int>(p.width);
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.heads; ++h) {
      Matrix dw(width, width);
      for (int64_t tile = 0; tile < p.query_tiles(); ++tile) {
        const Place place{b, tile * kQueryTile, h, p.queries, p.heads};
        const auto rows = [&](const float* x) {
          return load_rows(x, p.queries, p.heads, p.width, b, h, place.row, kQueryTile);
        };
        Matrix plus = rows(dq.plus.data()), minus = rows(dq.minus.data());
        for (float& x : plus.values) x *= p.scale();
        for (float& x : minus.values) x *= p.scale();
        round_all(minus, p.rounding);
        store_rows(minus, place, p.rounding, out.dq_neg);
        if (p.w_neg != nullptr) {
          Matrix q = rows(p.q);
          const Matrix w = load_rows(p.w_neg, p.width, 1, p.width, h, 0, 0, width);
          Matrix through(kQueryTile, width);
          add_product(through, minus, transposed(w));
          for (size_t i = 0; i < q.values.size(); ++i) {
            if (q.values[i] > 0) plus.values[i] += through.values[i];
            q.values[i] = std::fmax(q.values[i], 0.0F);
          }
          add_product(dw, transposed(q), minus);
          if ((tile + 1) % kFinishRun == 0 || tile + 1 == p.query_tiles()) {
            add_rows(dw, {h, 0, 0, p.width, 1}, out.dw_neg);
            dw = Matrix(width, width);
          }
        }
        store_rows(plus, place, p.rounding, out.dq);
      }
    }
  }
}

}  // namespace

ModelGradients model_backward(const ModelProblem& p, const ModelAnswer& answer, const float* dy,
                              bool last_keys_first) {
  ModelGradients out;
  const auto of_queries = static_cast<size_t>(p.batch * p.queries * p.heads * p.width);
  const auto of_keys = static_cast<size_t>(p.batch * p.keys * p.kv_heads * p.width);
  QueryGradients dq{std::vector<float>(of_queries), std::vector<float>(of_queries)};
  for (auto* x : {&out.dq, &out.dq_neg}) x->resize(of_queries);
  for (auto* x : {&out.dk, &out.dv}) x->resize(of_keys);
  for (auto* x : {&out.dplus, &out.dminus}) x->resize(static_cast<size_t>(p.heads));
  if (p.w_neg != nullptr) out.dw_neg.resize(static_cast<size_t>(p.heads * p.width * p.width));
  out.rows.resize(row_at(p, p.batch, 0, 0, 0, 0));
  preprocess(p, answer, dy, out);
  const auto width = static_cast<int>(p.width);
  const int64_t group = p.heads / p.kv_heads;
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t kv = 0; kv < p.kv_heads; ++kv) {
      const int64_t count = tiles(p.keys, kKeyTile);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t t = last_keys_first ? count - 1 - i : i;
        const auto key = static_cast<int32_t>(t * kKeyTile);
        const Matrix k = load_rows(p.k, p.keys, p.kv_heads, p.width, b, kv, key, kKeyTile);
        const Matrix v = load_rows(p.v, p.keys, p.kv_heads, p.width, b, kv, key, kKeyTile);
        Block block{
            b, kv, key, k, v, transposed(k), transposed(v), {kKeyTile, width}, {kKeyTile, width}};
        for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
          for (int64_t tile = 0; tile < p.query_tiles(); ++tile) {
            if (!range_of(p, b, tile).touches(key, kKeyTile)) continue;
            visit(p, answer, dy, h, tile, block, dq, out);
          }
        }
        for (float& x : block.dk.values) x *= p.scale();
        const Place place{b, key, kv, p.keys, p.kv_heads};
        store_rows(block.dk, place, p.rounding, out.dk);
        store_rows(block.dv, place, p.rounding, out.dv);
      }
    }
  }
  postprocess(p, dq, out);
  return out;
}

}  // namespace dagpam::attention::hopper
