#include "parallel/shared_all_reduce.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "parallel/rank_order.h"
#include "parallel/shared_pieces.h"

namespace dagpam::parallel {
namespace {

// From here on it is worth a tick to ask where the tensors are.
constexpr int64_t kInPlaceBytes = int64_t{64} << 10;

// Rank r's share of `length` elements.
Range share_of(int64_t length, int64_t element, int size, int r) {
  const int64_t each = share_bytes(size, length * element) / element;
  const int64_t begin = std::min(length, r * each);
  return {begin, std::min(length, begin + each) - begin};
}

class AllReduce : public SharedTransfer {
 public:
  AllReduce(const SharedCall& call, const SharedSlabs& slabs)
      : SharedTransfer(slabs, static_cast<int64_t>(call.out.nbytes())),
        type_(call.out.scalar_type()),
        op_(call.op),
        t_(memory(call.out)),
        n_(call.out.numel()),
        element_(static_cast<int64_t>(call.out.element_size())),
        piece_(std::min(n_, slabs.piece_bytes / element_)),
        from_(static_cast<size_t>(slabs.size)) {
    ticks_ = n_ == 0 ? 0 : short_ ? 2 : divide_up(n_, piece_) + 2;
  }

  void run(int64_t tick, int64_t absolute) override {
    if (short_) {
      set_short_area(tick, absolute);
      tick == 0 ? copy_bytes(area(slabs_.rank, 0), t_, n_ * element_) : sum_all();
      return;
    }
    const int64_t pieces = ticks_ - 2;
    if (tick >= 2) read_sums(tick - 2);
    if (tick >= 1 && tick <= pieces) sum_own(tick - 1);
    if (tick < pieces) write(tick);
  }

 private:
  // Relative to the piece's begin.
  Range share(int64_t piece, int r) const {
    return share_of(std::min(piece_, n_ - piece * piece_), element_, slabs_.size, r);
  }

  char* own(int64_t piece) const { return t_ + piece * piece_ * element_; }

  void sum_all() {
    for (int r = 0; r < slabs_.size; ++r) from_[static_cast<size_t>(r)] = area(r, 0);
    reduce_in_rank_order(type_, op_, t_, {}, from_, n_);
  }

  void write(int64_t piece) const {
    char* const to = area(slabs_.rank, piece);
    for (int r = 0; r < slabs_.size; ++r) {
      if (r == slabs_.rank) continue;
      const auto [begin, count] = share(piece, r);
      copy_bytes(to + begin * element_, own(piece) + begin * element_, count * element_);
    }
  }

  void sum_own(int64_t piece) {
    const auto [begin, count] = share(piece, slabs_.rank);
    char* const mine = own(piece) + begin * element_;
    for (int r = 0; r < slabs_.size; ++r) {
      from_[static_cast<size_t>(r)] = r == slabs_.rank ? mine : area(r, piece) + begin * element_;
    }
    reduce_in_rank_order(type_, op_, mine, {slabs_.sums(slabs_.rank, piece % 2)}, from_, count);
  }

  void read_sums(int64_t piece) const {
    for (int r = 0; r < slabs_.size; ++r) {
      if (r == slabs_.rank) continue;
      const auto [begin, count] = share(piece, r);
      copy_bytes(own(piece) + begin * element_, slabs_.sums(r, piece % 2), count * element_);
    }
  }

  const at::ScalarType type_;
  const ReduceOp op_;
  char* const t_;
  const int64_t n_, element_;
  const int64_t piece_;  // elements
  std::vector<const char*> from_;
};

// A long tensor: in place, in the tensors themselves, where all ranks' are in shared memory; else
// through the slabs.
class AllReduceInPlace : public SharedTransfer {
 public:
  AllReduceInPlace(const SharedCall& call, const SharedSlabs& slabs, SharedTensors& tensors)
      : SharedTransfer(slabs, static_cast<int64_t>(call.out.nbytes())),
        call_(call),
        tensors_(tensors) {
    ticks_ = 3;  // the last one: the others have written
  }

  void run(int64_t tick, int64_t absolute) override {
    if (tick == 0) return tensors_.announce(call_.out);
    if (tick == 1) {
      const std::vector<char*> places = tensors_.places();
      if (!places.empty()) return sum_share(places);
      through_slabs_ = std::make_unique<AllReduce>(call_, slabs_);
      ticks_ = 1 + through_slabs_->ticks();
    }
    if (through_slabs_) through_slabs_->run(tick - 1, absolute);
  }

 private:
  void sum_share(const std::vector<char*>& places) const {
    const auto element = static_cast<int64_t>(call_.out.element_size());
    const auto [begin, count] = share_of(call_.out.numel(), element, slabs_.size, slabs_.rank);
    std::vector<char*> to;
    for (char* const place : places) to.push_back(place + begin * element);
    const std::vector<const char*> from(to.begin(), to.end());
    std::swap(to[static_cast<size_t>(slabs_.rank)], to.back());
    char* const mine = to.back();
    to.pop_back();
    reduce_in_rank_order(call_.out.scalar_type(), call_.op, mine, to, from, count);
  }

  const SharedCall call_;
  SharedTensors& tensors_;
  std::unique_ptr<AllReduce> through_slabs_;
};

}  // namespace

std::unique_ptr<SharedTransfer> make_all_reduce(const SharedCall& call, const SharedSlabs& slabs,
                                                SharedTensors& tensors) {
  if (static_cast<int64_t>(call.out.nbytes()) >= kInPlaceBytes) {
    return std::make_unique<AllReduceInPlace>(call, slabs, tensors);
  }
  return std::make_unique<AllReduce>(call, slabs);
}

}  // namespace dagpam::parallel
