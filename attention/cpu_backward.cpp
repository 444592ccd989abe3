// Backward of one or two softmax maps, a block of queries of one head at a time. Nothing of size N
// x M was kept: the scores are formed again, and dA and dV once for both maps.
//   dA = dY V^T, dV = A^T dY, d+- = rowsum(P+- * dA), dS+ = (1 + l+) P+ (dA - d+), dS- = -l- P- (dA
//   - d-), dQ = dS+ K / sqrt D, dQ- = dS- K / sqrt D, dK = (dS+^T Q + dS-^T Q-) / sqrt D, dl+ = sum
//   d+, dl- = -sum d-.
#include <algorithm>

#include "attention/cpu_block.h"
#include "attention/cpu_rows.h"

namespace dagpam::attention::cpu {
namespace {

template <typename T>
class Backward {
 public:
  Backward(const Problem<T>& problem, const T* lse, const Gradients<T>& gradients)
      : problem_(problem), lse_(lse), gradients_(gradients), scratch_(problem, extra(problem)) {
    const int64_t rows = scratch_.rows, maps = problem.maps();
    weights_ = scratch_.take(rows * scratch_.ld);
    dots_ = scratch_.take(maps * rows);
    d_queries_ = maps > 1 ? scratch_.take(maps * rows * problem.width) : nullptr;
  }

  void run(int64_t batch, int64_t head, int64_t first) {
    const QueryBlock block = scratch_.enter(batch, head, first);
    if (block.cols() == 0) {
      clear_queries(block);
      return;
    }
    const int64_t d = problem_.width, kv = block.kv_head, cols = block.cols(), ld = scratch_.ld;
    const int64_t stacked = problem_.maps() * block.rows;
    const Operand<T> queries = scratch_.queries(block),
                     dy = gradients_.dy.matrix(batch, first, head);
    gemm({stacked, cols, d}, problem_.scale, queries,
         problem_.k.transposed(batch, block.first_key, kv), T(0), {scratch_.scores, ld});
    gemm({block.rows, cols, d}, T(1), dy, problem_.v.transposed(batch, block.first_key, kv), T(0),
         {weights_, ld});
    differentiate(block);
    const int64_t kv_step = problem_.kv_heads * d;
    const int64_t kv_at = ((batch * problem_.keys + block.first_key) * problem_.kv_heads + kv) * d;
    gemm({cols, d, block.rows}, T(1), {weights_, ld, true}, dy, T(1),
         {gradients_.dv + kv_at, kv_step});
    gemm({cols, d, stacked}, problem_.scale, {scratch_.scores, ld, true}, queries, T(1),
         {gradients_.dk + kv_at, kv_step});
    const Operand<T> keys = problem_.k.matrix(batch, block.first_key, kv);
    if (d_queries_ == nullptr) {
      gemm({stacked, d, cols}, problem_.scale, {scratch_.scores, ld}, keys, T(0),
           {gradients_.dq + index(block), problem_.heads * d});
    } else {
      gemm({stacked, d, cols}, problem_.scale, {scratch_.scores, ld}, keys, T(0), {d_queries_, d});
      unstack_queries(block);
    }
  }

 private:
  static int64_t extra(const Problem<T>& p) {
    const int64_t rows = std::min(p.query_block, p.queries), maps = p.maps();
    // The last summand: each piece starts on a cache line of its own.
    return rows * (p.keys + kLanes) + maps * rows * (1 + p.width) + 3 * 16;
  }

  // Where the block starts in a contiguous [B, N, H, D] tensor.
  int64_t index(const QueryBlock& block) const {
    return ((block.batch * problem_.queries + block.first) * problem_.heads + block.head) *
           problem_.width;
  }

  // Scores become their gradients, dA becomes A.
  void differentiate(const QueryBlock& block) {
    const int64_t row =
        (block.batch * problem_.heads + block.head) * problem_.queries + block.first;
    GradientBlock<T> g{};
    g.rows = block.rows;
    g.cols = block.cols();
    g.ld = scratch_.ld;
    g.begin = scratch_.begin;
    g.end = scratch_.end;
    g.plus = scratch_.scores;
    g.weights = weights_;
    g.keep = scratch_.keep(block);
    g.lse_plus = lse_ + row;
    g.dot_plus = dots_;
    g.plus_factor = problem_.plus_factor(block.head);
    if (problem_.maps() == 2) {
      g.minus = scratch_.scores + block.rows * scratch_.ld;
      g.lse_minus = lse_ + problem_.batch * problem_.heads * problem_.queries + row;
      g.dot_minus = dots_ + block.rows;
      g.minus_factor = problem_.minus_factor(block.head);
    }
    row_kernels<T>().gradient(g);
    const int64_t to = block.batch * problem_.heads + block.head;
    for (int64_t i = 0; i < block.rows && problem_.maps() == 2; ++i) {
      gradients_.dot_plus[to] += static_cast<double>(g.dot_plus[i]);
      gradients_.dot_minus[to] += static_cast<double>(g.dot_minus[i]);
    }
  }

  void unstack_queries(const QueryBlock& block) {
    const T* from = d_queries_;
    for (T* const out : {gradients_.dq, gradients_.dq_neg}) {
      T* to = out + index(block);
      for (int64_t i = 0; i < block.rows; ++i, from += problem_.width) {
        std::copy_n(from, problem_.width, to + i * problem_.heads * problem_.width);
      }
    }
  }

  void clear_queries(const QueryBlock& block) {
    for (T* const out : {gradients_.dq, gradients_.dq_neg}) {
      for (int64_t i = 0; i < block.rows && out != nullptr; ++i) {
        std::fill_n(out + index(block) + i * problem_.heads * problem_.width, problem_.width, T(0));
      }
    }
  }

  const Problem<T>& problem_;
  const T* lse_;
  const Gradients<T>& gradients_;
  BlockScratch<T> scratch_;
  T* weights_;    // [rows, ld]
  T* dots_;       // [maps * rows] d+ and d-
  T* d_queries_;  // [maps * rows, D] where there are two maps
};

}  // namespace

template <typename T>
int64_t backward_tasks(const Problem<T>& problem) {
  return problem.batch * problem.kv_heads;
}

template <typename T>
void backward(const Problem<T>& problem, const T* lse, const Gradients<T>& gradients,
              int64_t first_task, int64_t last_task) {
  const OneBlasThread one_thread;
  Backward<T> pass(problem, lse, gradients);
  const int64_t group = problem.heads / problem.kv_heads;
  for (int64_t task = first_task; task < last_task; ++task) {
    const int64_t batch = task / problem.kv_heads, kv_head = task % problem.kv_heads;
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t first = 0; first < problem.queries; first += problem.query_block) {
        pass.run(batch, head, first);
      }
    }
  }
}

template int64_t backward_tasks(const Problem<float>&);
template int64_t backward_tasks(const Problem<double>&);
template void backward(const Problem<float>&, const float*, const Gradients<float>&, int64_t,
                       int64_t);
template void backward(const Problem<double>&, const double*, const Gradients<double>&, int64_t,
                       int64_t);

}  // namespace dagpam::attention::cpu
