#include "attention/hopper/model_tile.h"

#include <cmath>
#include <cstring>

namespace dagpam::attention::hopper {
namespace {

float rounded_bf16(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, 4);
  if (std::isnan(x)) return x;
  bits += 0x7FFF + ((bits >> 16) & 1);
  bits &= 0xFFFF0000U;
  std::memcpy(&x, &bits, 4);
  return x;
}

// Ten bits after the point from 2^-14 on, steps of 2^-24 below, infinite from 65520 on.
float rounded_fp16(float x) {
  if (!std::isfinite(x) || x == 0) return x;
  int exponent = 0;
  std::frexp(x, &exponent);  // |x| = f 2^exponent, f in [0.5, 1)
  const int step = exponent - 11 < -24 ? -24 : exponent - 11;
  const float y = std::ldexp(std::nearbyint(std::ldexp(x, -step)), step);
  return std::fabs(y) > 65504.0F ? std::copysign(INFINITY, y) : y;
}

}  // namespace

float rounded(float x, Rounding rounding) {
  if (rounding == Rounding::kBf16) return rounded_bf16(x);
  return rounding == Rounding::kFp16 ? rounded_fp16(x) : x;
}

float ModelProblem::scale() const {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(width)));
}

Matrix transposed(const Matrix& x) {
  Matrix out(x.columns, x.rows);
  for (int r = 0; r < x.rows; ++r) {
    for (int c = 0; c < x.columns; ++c) out.at(c, r) = x.at(r, c);
  }
  return out;
}

void add_product(Matrix& c, const Matrix& a, const Matrix& b) {
  for (int r = 0; r < a.rows; ++r) {
    float* const to = c.row(r);
    for (int k = 0; k < a.columns; ++k) {
      const float factor = a.at(r, k);
      const float* const from = b.row(k);
      for (int j = 0; j < b.columns; ++j) to[j] += factor * from[j];
    }
  }
}

void round_all(Matrix& x, Rounding rounding) {
  for (float& value : x.values) value = rounded(value, rounding);
}

Matrix load_rows(const float* x, int64_t total, int64_t heads, int64_t width, int64_t b, int64_t h,
                 int64_t first, int rows) {
  Matrix out(rows, static_cast<int>(width));
  for (int r = 0; r < rows && first + r < total; ++r) {
    const float* const from = x + ((b * total + first + r) * heads + h) * width;
    for (int c = 0; c < out.columns; ++c) out.at(r, c) = from[c];
  }
  return out;
}

void store_rows(const Matrix& x, const Place& place, Rounding rounding, std::vector<float>& to) {
  for (int r = 0; r < x.rows && place.row + r < place.rows; ++r) {
    const int64_t row = (place.b * place.rows + place.row + r) * place.heads + place.h;
    for (int c = 0; c < x.columns; ++c) {
      to[static_cast<size_t>(row * x.columns + c)] = rounded(x.at(r, c), rounding);
    }
  }
}

Interval sees(const ModelProblem& problem, int64_t b, int64_t n) {
  if (n >= problem.queries) return {};
  const int64_t i = b * problem.queries + n;
  return {problem.first[i], problem.last[i]};
}

TileRange range_of(const ModelProblem& problem, int64_t b, int64_t tile) {
  TileRange range{INT32_MAX, 0, 0, INT32_MAX};
  for (int64_t n = tile * kQueryTile; n < (tile + 1) * kQueryTile && n < problem.queries; ++n) {
    widen(range, sees(problem, b, n));
  }
  return range;
}

Factors factors(const ModelProblem& problem, int64_t h) {
  return factors_of(problem.plus[h], problem.minus[h]);
}

}  // namespace dagpam::attention::hopper
