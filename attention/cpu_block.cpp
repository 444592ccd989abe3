#include "attention/cpu_block.h"

#include <algorithm>
#include <cstring>

#include "attention/cpu_rows.h"

namespace dagpam::attention::cpu {
namespace {

int64_t whole_lanes(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

}  // namespace

Scratch::Scratch(int64_t bytes)
    : memory_(
          static_cast<char*>(::operator new[](static_cast<size_t>(bytes), std::align_val_t(64)))),
      size_(bytes) {
  std::memset(memory_.get(), 0, static_cast<size_t>(bytes));
}

void* Scratch::take_bytes(int64_t bytes) {
  void* const piece = memory_.get() + used_;
  used_ += round_up(bytes);
  if (used_ > size_) throw std::bad_alloc();
  return piece;
}

template <typename T>
int64_t BlockScratch<T>::bytes(const Problem<T>& p, int64_t extra) {
  const int64_t rows = std::min(p.query_block, p.queries), maps = p.maps(),
                ld = whole_lanes(p.keys);
  return Scratch::bytes_for<T>(maps * rows * ld) + Scratch::bytes_for<T>(maps * rows * p.width) +
         Scratch::bytes_for<T>(rows * ld) + 2 * Scratch::bytes_for<int32_t>(rows) +
         Scratch::bytes_for<T>(extra);
}

template <typename T>
BlockScratch<T>::BlockScratch(const Problem<T>& problem, int64_t extra)
    : rows(std::min(problem.query_block, problem.queries)),
      ld(whole_lanes(problem.keys)),
      problem_(problem),
      scratch_(bytes(problem, extra)) {
  const int64_t maps = problem.maps();
  scores = scratch_.template take<T>(maps * rows * ld);
  queries_ = maps > 1 ? scratch_.template take<T>(maps * rows * problem.width) : nullptr;
  keep_ = problem.dropout != nullptr ? scratch_.template take<T>(rows * ld) : nullptr;
  begin = scratch_.template take<int32_t>(rows);
  end = scratch_.template take<int32_t>(rows);
}

template <typename T>
QueryBlock BlockScratch<T>::enter(int64_t batch, int64_t head, int64_t first) {
  QueryBlock block{};
  block.batch = batch;
  block.head = head;
  block.kv_head = head / (problem_.heads / problem_.kv_heads);
  block.first = first;
  block.rows = std::min(rows, problem_.queries - first);
  const int32_t* const given_begin = problem_.begin + batch * problem_.bounds_batch + first;
  const int32_t* const given_end = problem_.end + batch * problem_.bounds_batch + first;
  int32_t lowest = static_cast<int32_t>(problem_.keys), highest = 0;
  for (int64_t i = 0; i < block.rows; ++i) {
    if (given_begin[i] >= given_end[i]) continue;
    lowest = std::min(lowest, given_begin[i]);
    highest = std::max(highest, given_end[i]);
  }
  lowest = std::min(lowest, highest);
  block.first_key = lowest;
  block.last_key = highest;
  for (int64_t i = 0; i < block.rows; ++i) {
    const bool sees = given_begin[i] < given_end[i];
    begin[i] = sees ? given_begin[i] - lowest : 0;
    end[i] = sees ? given_end[i] - lowest : 0;
  }
  return block;
}

template <typename T>
Operand<T> BlockScratch<T>::queries(const QueryBlock& block) {
  if (queries_ == nullptr) return problem_.q.matrix(block.batch, block.first, block.head);
  T* to = queries_;
  for (const Rows<T>* map : {&problem_.q, &problem_.q_neg}) {
    for (int64_t i = 0; i < block.rows; ++i, to += problem_.width) {
      std::copy_n(map->at(block.batch, block.first + i, block.head), problem_.width, to);
    }
  }
  return {queries_, problem_.width};
}

template <typename T>
const T* BlockScratch<T>::keep(const QueryBlock& block) {
  if (keep_ == nullptr) return nullptr;
  const Dropout& dropout = *problem_.dropout;
  parallel::DropoutRow row;
  row.c2 = static_cast<uint32_t>(dropout.head_offset + block.head);
  row.c3 = static_cast<uint32_t>(dropout.samples[block.batch]);
  row.key = dropout.key;
  row.threshold = dropout.threshold;
  row.keep_scale = dropout.keep_scale;
  for (int64_t i = 0; i < block.rows; ++i) {
    if (begin[i] >= end[i]) continue;
    row.c1 = static_cast<uint32_t>(block.first + i);
    parallel::fill_dropout_row(row, block.first_key + begin[i], end[i] - begin[i],
                               keep_ + i * ld + begin[i]);
  }
  return keep_;
}

template class BlockScratch<float>;
template class BlockScratch<double>;

}  // namespace dagpam::attention::cpu
