// attention/hopper/model_tile.h: the small matrices of the model. Knows no torch.
#pragma once

#include <cstddef>
#include <vector>

#include "attention/hopper/model.h"

namespace dagpam::attention::hopper {

struct Matrix {
  int rows = 0, columns = 0;
  std::vector<float> values;

  Matrix(int r, int c)
      : rows(r), columns(c), values(static_cast<size_t>(r) * static_cast<size_t>(c)) {}
  float* row(int r) { return values.data() + static_cast<ptrdiff_t>(r) * columns; }
  const float* row(int r) const { return values.data() + static_cast<ptrdiff_t>(r) * columns; }
  float& at(int r, int c) { return row(r)[c]; }
  float at(int r, int c) const { return row(r)[c]; }
};

Matrix transposed(const Matrix& x);

// c += a b, each element's terms in order and in float32, as a tensor core's are here taken to be.
void add_product(Matrix& c, const Matrix& a, const Matrix& b);

void round_all(Matrix& x, Rounding rounding);

// Rows first, first + 1, ... of one head of a tensor [B, `total`, heads, D]; 0 past its end.
Matrix load_rows(const float* x, int64_t total, int64_t heads, int64_t width, int64_t b, int64_t h,
                 int64_t first, int rows);

// Whose rows: of batch b, head h, the rows from `row` on of [B, rows, heads, D].
struct Place {
  int64_t b = 0, row = 0, h = 0, rows = 0, heads = 0;
};
void store_rows(const Matrix& x, const Place& place, Rounding rounding, std::vector<float>& to);

Interval sees(const ModelProblem& problem, int64_t b, int64_t n);
TileRange range_of(const ModelProblem& problem, int64_t b, int64_t tile);
Factors factors(const ModelProblem& problem, int64_t h);

}  // namespace dagpam::attention::hopper
