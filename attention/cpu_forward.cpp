// Forward of one or two softmax maps, a block of queries of one head at a time.
#include <algorithm>

#include "attention/cpu_block.h"
#include "attention/cpu_rows.h"

namespace dagpam::attention::cpu {
namespace {

template <typename T>
int64_t blocks_per_head(const Problem<T>& problem) {
  return (problem.queries + problem.query_block - 1) / problem.query_block;
}

template <typename T>
class Forward {
 public:
  Forward(const Problem<T>& problem, const Result<T>& result)
      : problem_(problem), result_(result), scratch_(problem, 0) {}

  void run(int64_t batch, int64_t head, int64_t first) {
    const QueryBlock block = scratch_.enter(batch, head, first);
    const int64_t d = problem_.width, row_step = problem_.heads * d, ld = scratch_.ld;
    T* const y = result_.y + ((batch * problem_.queries + first) * problem_.heads + head) * d;
    T* const lse = result_.lse + (batch * problem_.heads + head) * problem_.queries + first;
    const int64_t map_step = problem_.batch * problem_.heads * problem_.queries;
    if (block.cols() == 0) {
      for (int64_t i = 0; i < block.rows; ++i) std::fill_n(y + i * row_step, d, T(0));
      for (int64_t map = 0; map < problem_.maps(); ++map) {
        std::fill_n(lse + map * map_step, block.rows, T(0));
      }
      return;
    }
    gemm({problem_.maps() * block.rows, block.cols(), d}, problem_.scale, scratch_.queries(block),
         problem_.k.transposed(batch, block.first_key, block.kv_head), T(0), {scratch_.scores, ld});
    WeightsBlock<T> w{};
    w.rows = block.rows;
    w.cols = block.cols();
    w.ld = ld;
    w.begin = scratch_.begin;
    w.end = scratch_.end;
    w.plus = scratch_.scores;
    w.keep = scratch_.keep(block);
    w.lse_plus = lse;
    w.plus_factor = problem_.plus_factor(head);
    if (problem_.maps() == 2) {
      w.minus = scratch_.scores + block.rows * ld;
      w.lse_minus = lse + map_step;
      w.minus_factor = problem_.minus_factor(head);
    }
    row_kernels<T>().weights(w);
    gemm({block.rows, d, block.cols()}, T(1), {scratch_.scores, ld},
         problem_.v.matrix(batch, block.first_key, block.kv_head), T(0), {y, row_step});
  }

 private:
  const Problem<T>& problem_;
  const Result<T>& result_;
  BlockScratch<T> scratch_;
};

}  // namespace

template <typename T>
int64_t forward_tasks(const Problem<T>& problem) {
  return problem.batch * problem.heads * blocks_per_head(problem);
}

template <typename T>
void forward(const Problem<T>& problem, const Result<T>& result, int64_t first_task,
             int64_t last_task) {
  const OneBlasThread one_thread;
  Forward<T> pass(problem, result);
  const int64_t blocks = blocks_per_head(problem);
  for (int64_t task = first_task; task < last_task; ++task) {
    const int64_t head = task / blocks;
    pass.run(head / problem.heads, head % problem.heads, task % blocks * problem.query_block);
  }
}

template int64_t forward_tasks(const Problem<float>&);
template int64_t forward_tasks(const Problem<double>&);
template void forward(const Problem<float>&, const Result<float>&, int64_t, int64_t);
template void forward(const Problem<double>&, const Result<double>&, int64_t, int64_t);

}  // namespace dagpam::attention::cpu
