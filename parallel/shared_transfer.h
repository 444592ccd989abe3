// parallel/shared_transfer.h: what a rank does, tick by tick, in a collective through memory that
// all ranks of the group have mapped. For shared_group.cpp.
//
// Each rank writes into a slab of its own and reads everybody's. A rank begins a tick when all
// ranks have done the one before, so what is written in one tick is read in the next. Long tensors
// go through the slabs in pieces, the writing of one beside the reading of the one before:
//
//   all_reduce      a rank's share of a piece is the P-th part: it writes the others' shares into
//   its
//                   slab, then forms the sums of its own from all slabs, then reads the others'
//                   sums. Each byte is copied about twice, whatever P is. A short tensor goes
//                   through in two ticks: all write the whole, all form all sums. The bits are the
//                   same.
//                   A long tensor that all ranks have in memory that all have mapped
//                   (SharedTensors) is not copied at all: each rank sums its share and writes it
//                   into all tensors.
//   all_gather      write the part; read the others' parts
//   reduce_scatter  write the others' parts; form the sums of the own part from all slabs
//   broadcast       the root writes; the others read
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/communicator.h"

namespace dagpam::parallel {

// Where the slabs are.
struct SharedSlabs {
  static constexpr int64_t kSmallBytes = 16384;  // a call that writes no more takes the short way
  static constexpr int64_t kSmallAreas = 4;

  char* base = nullptr;
  int rank = 0, size = 1;
  int64_t piece_bytes = 0;  // a multiple of 64: what a rank writes in a tick at most

  static int64_t bytes_a_rank(int size, int64_t piece_bytes);

  char* small(int of, int64_t area) const;  // [kSmallBytes]
  char* piece(int of, int64_t area) const;  // [piece_bytes], area 0 or 1
  char* sums(int of, int64_t area) const;   // [a share of a piece], area 0 or 1

 private:
  char* slab(int of) const { return base + of * bytes_a_rank(size, piece_bytes); }
};

// A call as Communicator has it.
struct SharedCall {
  enum class Kind { kAllReduce, kAllGather, kReduceScatter, kBroadcast };
  Kind kind = Kind::kAllReduce;
  at::Tensor out{}, in{};  // all_reduce and broadcast: out alone
  ReduceOp op = ReduceOp::kSum;
  int root = 0;
};

// Tensors in memory that all ranks have mapped.
class SharedTensors {
 public:
  virtual ~SharedTensors() = default;
  // In one tick: where this rank's tensor is, if it is such a one.
  virtual void announce(const at::Tensor& mine) = 0;
  // In the next: where all ranks' tensors are, by rank; empty, on all ranks, unless all are such.
  virtual std::vector<char*> places() const = 0;
};

class SharedTransfer {
 public:
  virtual ~SharedTransfer() = default;

  int64_t ticks() const { return ticks_; }  // may change with run()
  // The first tick may begin before the peers have done the last one of the call before: it writes
  // where nobody reads any more. Only where the call has two ticks.
  bool is_short() const { return short_; }
  // Does tick 0, 1, ... of this call, which is tick `absolute` of the group.
  virtual void run(int64_t tick, int64_t absolute) = 0;

 protected:
  SharedTransfer(const SharedSlabs& slabs, int64_t written_bytes)
      : slabs_(slabs), short_(written_bytes <= SharedSlabs::kSmallBytes) {}

  // Where rank `of` writes piece `index`.
  char* area(int of, int64_t index) const {
    return short_ ? slabs_.small(of, small_area_) : slabs_.piece(of, index % 2);
  }
  void set_short_area(int64_t tick, int64_t absolute) {
    small_area_ = (absolute - tick) % SharedSlabs::kSmallAreas;
  }

  const SharedSlabs slabs_;
  const bool short_;
  int64_t ticks_ = 0;

 private:
  int64_t small_area_ = 0;
};

// Arguments checked (comm_checks.h); 0 ticks where there is nothing to carry.
std::unique_ptr<SharedTransfer> make_transfer(const SharedCall& call, const SharedSlabs& slabs,
                                              SharedTensors& tensors);

}  // namespace dagpam::parallel
