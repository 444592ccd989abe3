#include "attention/cpu_decode.h"

#include <algorithm>

#include "attention/cpu_block.h"
#include "attention/cpu_rows.h"

namespace dagpam::attention::cpu {
namespace {

template <typename T>
class Decode {
 public:
  Decode(const Problem<T>& problem, const Result<T>& result, int64_t slices)
      : problem_(problem),
        result_(result),
        slices_(slices),
        group_(problem.heads / problem.kv_heads),
        ld_((problem.keys + kLanes - 1) / kLanes * kLanes),
        most_heads_((problem.kv_heads + slices - 1) / slices * group_),
        scratch_(Scratch::bytes_for<T>(problem.maps() * most_heads_ * ld_) +
                 Scratch::bytes_for<T>(problem.maps() * most_heads_ * problem.width)) {
    scores_ = scratch_.template take<T>(problem.maps() * most_heads_ * ld_);
    queries_ = scratch_.template take<T>(problem.maps() * most_heads_ * problem.width);
  }

  void run(int64_t batch, int64_t slice) {
    const int64_t first = slice * problem_.kv_heads / slices_;
    const int64_t last = (slice + 1) * problem_.kv_heads / slices_;
    const int64_t begin = problem_.begin[batch * problem_.bounds_batch];
    const int64_t end = problem_.end[batch * problem_.bounds_batch];
    const int64_t cols = std::max<int64_t>(end - begin, 0), d = problem_.width;
    const int64_t heads = (last - first) * group_;
    gather(batch, first * group_, heads);
    const RowKernels<T>& kernels = row_kernels<T>();
    KeyRows<T> rows{};
    rows.count = cols;
    rows.heads = last - first;
    rows.width = d;
    rows.ld = ld_;
    rows.per_head = problem_.maps() * group_;
    rows.data = problem_.k.at(batch, begin, first);
    rows.step = problem_.k.row;
    rows.head_step = problem_.k.head;
    kernels.dots(rows, queries_, problem_.scale, scores_);
    for (int64_t h = 0; h < heads; ++h) weigh(batch, first * group_ + h, h, cols);
    rows.per_head = group_;
    rows.data = problem_.v.at(batch, begin, first);
    rows.step = problem_.v.row;
    rows.head_step = problem_.v.head;
    rows.ld = problem_.maps() * ld_;  // from one head's weights to the next's
    T* const y = result_.y + (batch * problem_.heads + first * group_) * d;
    std::fill_n(y, heads * d, T(0));
    kernels.mix(rows, scores_, y);
  }

 private:
  // queries_ [heads, maps, D]: those of a head beside each other.
  void gather(int64_t batch, int64_t first, int64_t heads) {
    T* to = queries_;
    for (int64_t h = first; h < first + heads; ++h) {
      for (const Rows<T>* map : {&problem_.q, &problem_.q_neg}) {
        if (map->data == nullptr) continue;
        std::copy_n(map->at(batch, 0, h), problem_.width, to);
        to += problem_.width;
      }
    }
  }

  // The scores of one head, `index` in this slice, become its weights, in the place of the first
  // map's scores.
  void weigh(int64_t batch, int64_t head, int64_t index, int64_t cols) {
    const int32_t begin = 0, end = static_cast<int32_t>(cols);
    WeightsBlock<T> w{};
    w.rows = 1;
    w.cols = cols;
    w.ld = ld_;
    w.begin = &begin;
    w.end = &end;
    w.plus = scores_ + index * problem_.maps() * ld_;
    w.lse_plus = result_.lse + batch * problem_.heads + head;
    w.plus_factor = problem_.plus_factor(head);
    if (problem_.maps() == 2) {
      w.minus = w.plus + ld_;
      w.lse_minus = w.lse_plus + problem_.batch * problem_.heads;
      w.minus_factor = problem_.minus_factor(head);
    }
    row_kernels<T>().weights(w);
  }

  const Problem<T>& problem_;
  const Result<T>& result_;
  int64_t slices_, group_, ld_, most_heads_;
  Scratch scratch_;
  T *scores_, *queries_;  // [heads, maps, ld], [heads, maps, D]
};

}  // namespace

template <typename T>
void decode(const Problem<T>& problem, const Result<T>& result, int64_t slices, int64_t first_task,
            int64_t last_task) {
  Decode<T> pass(problem, result, slices);
  for (int64_t task = first_task; task < last_task; ++task) {
    pass.run(task / slices, task % slices);
  }
}

template void decode(const Problem<float>&, const Result<float>&, int64_t, int64_t, int64_t);
template void decode(const Problem<double>&, const Result<double>&, int64_t, int64_t, int64_t);

}  // namespace dagpam::attention::cpu
