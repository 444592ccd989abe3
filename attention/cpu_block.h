// attention/cpu_block.h: what forward and backward share: scratch memory, and the part of the
// scores that one block of queries sees.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

#include "attention/cpu_problem.h"

namespace dagpam::attention::cpu {

// Scratch memory of one thread, carved in order. Starts as zeros: lanes beyond a row's end are
// read.
class Scratch {
 public:
  explicit Scratch(int64_t bytes);
  // Room for `count` elements on a cache line of its own.
  template <typename T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(count * static_cast<int64_t>(sizeof(T))));
  }
  template <typename T>
  static int64_t bytes_for(int64_t count) {
    return round_up(count * static_cast<int64_t>(sizeof(T)));
  }

 private:
  struct Free {
    void operator()(char* p) const { ::operator delete[](p, std::align_val_t(64)); }
  };
  static int64_t round_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  void* take_bytes(int64_t bytes);

  std::unique_ptr<char[], Free> memory_;
  int64_t used_ = 0, size_ = 0;
};

// A block of queries of one head and the keys [first_key, last_key) that any of them sees.
struct QueryBlock {
  int64_t batch, head, kv_head;
  int64_t first, rows;
  int64_t first_key, last_key;
  int64_t cols() const { return last_key - first_key; }
};

// The scratch of one block, of `maps` maps: scores and what belongs to them.
template <typename T>
class BlockScratch {
 public:
  // `extra` elements are left for take().
  BlockScratch(const Problem<T>& problem, int64_t extra);
  T* take(int64_t count) { return scratch_.template take<T>(count); }

  // Finds the keys of a block; `begin` and `end` then hold its rows' visible columns, counted from
  // first_key.
  QueryBlock enter(int64_t batch, int64_t head, int64_t first);

  // The block's queries [maps * rows, D], those of P+ first.
  Operand<T> queries(const QueryBlock& block);

  // Draws dropout factors of the visible columns; nullptr without dropout.
  const T* keep(const QueryBlock& block);

  int64_t rows, ld;      // most rows of a block; row length of the scores, a multiple of kLanes
  T* scores;             // [maps * rows, ld]
  int32_t *begin, *end;  // [rows]

 private:
  static int64_t bytes(const Problem<T>& problem, int64_t extra);

  const Problem<T>& problem_;
  Scratch scratch_;
  T *queries_,
      *keep_;  // [maps * rows, D] where there are two maps, [rows, ld] where there is dropout
};

}  // namespace dagpam::attention::cpu
