#include "attention/cpu_head_map.h"

#include <algorithm>

#include "attention/cpu_block.h"
#include "attention/cpu_rows.h"

namespace dagpam::attention::cpu {
namespace {

constexpr int64_t kRows = 64;  // worked on at once, so that they stay in cache between the steps

struct Chunk {
  int64_t batch, first, rows;
};

int64_t chunks_per_batch(int64_t queries) { return (queries + kRows - 1) / kRows; }

Chunk make_chunk(int64_t queries, int64_t index) {
  const int64_t per_batch = chunks_per_batch(queries), first = index % per_batch * kRows;
  return {index / per_batch, first, std::min(kRows, queries - first)};
}

// Batches that follow each other without a gap are one long batch.
template <typename T>
HeadMap<T> joined(HeadMap<T> map, const Rows<T>* other = nullptr) {
  const auto gapless = [&](const Rows<T>& rows) { return rows.batch == map.queries * rows.row; };
  if (map.batch > 1 && gapless(map.q) && (other == nullptr || gapless(*other))) {
    map.queries *= map.batch;
    map.batch = 1;
  }
  return map;
}

// Calls `piece(row, head, count)` for pieces of `count` elements that cover heads [first, last) of
// a chunk row by row: whole rows where the heads lie side by side, which is how memory likes to be
// read.
template <typename T, typename Piece>
void for_pieces(const Chunk& chunk, int64_t first, int64_t last, bool side_by_side, int64_t width,
                Piece piece) {
  const int64_t heads_at_once = side_by_side ? last - first : 1;
  for (int64_t i = 0; i < chunk.rows; ++i) {
    for (int64_t h = first; h < last; h += heads_at_once) piece(i, h, heads_at_once * width);
  }
}

template <typename T>
bool side_by_side(const Rows<T>& rows, int64_t width) {
  return rows.head == width;
}

}  // namespace

template <typename T>
int64_t head_map_tasks(const HeadMap<T>& map) {
  const HeadMap<T> flat = joined(map);
  return flat.batch * chunks_per_batch(flat.queries);
}

template <typename T>
void head_map_forward(const HeadMap<T>& map, T* out, int64_t first_task, int64_t last_task) {
  const OneBlasThread one_thread;
  const RowKernels<T>& rows = row_kernels<T>();
  const HeadMap<T> flat = joined(map);
  const int64_t d = flat.width, row_step = flat.heads * d;
  const bool whole = side_by_side(flat.q, d);
  Scratch scratch(Scratch::bytes_for<T>(kRows * row_step));
  T* const relu = scratch.take<T>(kRows * row_step);  // [rows, H, D]
  for (int64_t task = first_task; task < last_task; ++task) {
    const Chunk chunk = make_chunk(flat.queries, task);
    T* const to = out + (chunk.batch * flat.queries + chunk.first) * row_step;
    for_pieces<T>(chunk, 0, flat.heads, whole, d, [&](int64_t i, int64_t h, int64_t count) {
      const T* const q = flat.q.at(chunk.batch, chunk.first + i, h);
      rows.relu(q, relu + i * row_step + h * d, count);
      if (flat.residual) std::copy_n(q, count, to + i * row_step + h * d);
    });
    for (int64_t h = 0; h < flat.heads; ++h) {
      gemm({chunk.rows, d, d}, T(1), {relu + h * d, row_step}, {flat.w + h * d * d, d},
           flat.residual ? T(1) : T(0), {to + h * d, row_step});
    }
  }
}

// dW = ReLU(Q)^T dOut, dQ = (dOut W^T) * [Q > 0], plus dOut itself beside a residual.
template <typename T>
void head_map_backward(const HeadMap<T>& map, const HeadMapGradients<T>& gradients,
                       int64_t first_head, int64_t last_head) {
  const OneBlasThread one_thread;
  const RowKernels<T>& rows = row_kernels<T>();
  const Rows<T>& d_out = gradients.d_out;
  const HeadMap<T> flat = joined(map, &d_out);
  const int64_t d = flat.width, row_step = flat.heads * d, relu_step = (last_head - first_head) * d;
  const bool whole = side_by_side(flat.q, d) && side_by_side(d_out, d);
  const int64_t chunks = flat.batch * chunks_per_batch(flat.queries);
  Scratch scratch(Scratch::bytes_for<T>(kRows * relu_step));
  T* const relu = scratch.take<T>(kRows * relu_step);  // [rows, heads, D]
  for (int64_t c = 0; c < chunks; ++c) {
    const Chunk chunk = make_chunk(flat.queries, c);
    T* const dq = gradients.dq + (chunk.batch * flat.queries + chunk.first) * row_step;
    const auto q_at = [&](int64_t i, int64_t h) {
      return flat.q.at(chunk.batch, chunk.first + i, h);
    };
    for_pieces<T>(chunk, first_head, last_head, whole, d, [&](int64_t i, int64_t h, int64_t count) {
      rows.relu(q_at(i, h), relu + i * relu_step + (h - first_head) * d, count);
    });
    for (int64_t h = first_head; h < last_head; ++h) {
      const Operand<T> dy = d_out.matrix(chunk.batch, chunk.first, h);
      gemm({d, d, chunk.rows}, T(1), {relu + (h - first_head) * d, relu_step, true}, dy, T(1),
           {gradients.dw + h * d * d, d});
      gemm({chunk.rows, d, d}, T(1), dy, {flat.w + h * d * d, d, true}, T(0),
           {dq + h * d, row_step});
    }
    for_pieces<T>(chunk, first_head, last_head, whole, d, [&](int64_t i, int64_t h, int64_t count) {
      const T* const base = flat.residual ? d_out.at(chunk.batch, chunk.first + i, h) : nullptr;
      rows.gate(q_at(i, h), base, dq + i * row_step + h * d, count);
    });
  }
}

template int64_t head_map_tasks(const HeadMap<float>&);
template int64_t head_map_tasks(const HeadMap<double>&);
template void head_map_forward(const HeadMap<float>&, float*, int64_t, int64_t);
template void head_map_forward(const HeadMap<double>&, double*, int64_t, int64_t);
template void head_map_backward(const HeadMap<float>&, const HeadMapGradients<float>&, int64_t,
                                int64_t);
template void head_map_backward(const HeadMap<double>&, const HeadMapGradients<double>&, int64_t,
                                int64_t);

}  // namespace dagpam::attention::cpu
