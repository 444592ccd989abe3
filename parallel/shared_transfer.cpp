#include "parallel/shared_transfer.h"

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "parallel/rank_order.h"
#include "parallel/shared_all_reduce.h"
#include "parallel/shared_pieces.h"

namespace dagpam::parallel {
namespace {

// Those of two ticks a piece: what is written in one is read in the next.
class TwoTicks : public SharedTransfer {
 public:
  void run(int64_t tick, int64_t absolute) override {
    set_short_area(tick, absolute);
    if (tick >= 1) read(tick - 1, range(tick - 1));
    if (tick + 1 < ticks_) write(tick, range(tick));
  }

 protected:
  // n elements in pieces of at most piece_bytes / bytes_an_element.
  TwoTicks(const SharedSlabs& slabs, int64_t n, int64_t element, int64_t bytes_an_element)
      : SharedTransfer(slabs, n * bytes_an_element),
        n_(n),
        element_(element),
        piece_(short_ ? std::max<int64_t>(n, 1) : slabs.piece_bytes / bytes_an_element) {
    TORCH_CHECK(piece_ > 0, "pieces of ", slabs.piece_bytes, " bytes for ", slabs.size, " ranks");
    ticks_ = n == 0 ? 0 : divide_up(n, piece_) + 1;
  }

  virtual void write(int64_t piece, Range range) = 0;
  virtual void read(int64_t piece, Range range) = 0;

  const int64_t n_, element_;

 private:
  Range range(int64_t piece) const {
    return {piece * piece_, std::min(piece_, n_ - piece * piece_)};
  }

  const int64_t piece_;
};

class AllGather : public TwoTicks {
 public:
  AllGather(const SharedCall& call, const SharedSlabs& slabs)
      : TwoTicks(slabs, call.in.numel(), static_cast<int64_t>(call.in.element_size()),
                 static_cast<int64_t>(call.in.element_size())),
        in_(memory(call.in)),
        out_(memory(call.out)) {}

 private:
  char* place(int of, Range range) const { return out_ + (of * n_ + range.begin) * element_; }

  void write(int64_t piece, Range range) override {
    const char* const mine = in_ + range.begin * element_;
    copy_bytes(area(slabs_.rank, piece), mine, range.count * element_);
    copy_bytes(place(slabs_.rank, range), mine, range.count * element_);
  }

  void read(int64_t piece, Range range) override {
    for (int r = 0; r < slabs_.size; ++r) {
      if (r != slabs_.rank) copy_bytes(place(r, range), area(r, piece), range.count * element_);
    }
  }

  const char* const in_;
  char* const out_;
};

class ReduceScatter : public TwoTicks {
 public:
  ReduceScatter(const SharedCall& call, const SharedSlabs& slabs)
      : TwoTicks(slabs, call.out.numel(), static_cast<int64_t>(call.out.element_size()),
                 slabs.size * static_cast<int64_t>(call.out.element_size())),
        type_(call.out.scalar_type()),
        in_(memory(call.in)),
        out_(memory(call.out)),
        from_(static_cast<size_t>(slabs.size)) {}

 private:
  const char* part(int of, Range range) const { return in_ + (of * n_ + range.begin) * element_; }

  // In a slab the ranks' ranges follow each other.
  void write(int64_t piece, Range range) override {
    const int64_t bytes = range.count * element_;
    for (int r = 0; r < slabs_.size; ++r) {
      if (r != slabs_.rank) copy_bytes(area(slabs_.rank, piece) + r * bytes, part(r, range), bytes);
    }
  }

  void read(int64_t piece, Range range) override {
    const int64_t skipped = slabs_.rank * range.count * element_;
    for (int r = 0; r < slabs_.size; ++r) {
      from_[static_cast<size_t>(r)] = r == slabs_.rank ? part(r, range) : area(r, piece) + skipped;
    }
    reduce_in_rank_order(type_, ReduceOp::kSum, out_ + range.begin * element_, {}, from_,
                         range.count);
  }

  const at::ScalarType type_;
  const char* const in_;
  char* const out_;
  std::vector<const char*> from_;
};

class Broadcast : public TwoTicks {
 public:
  Broadcast(const SharedCall& call, const SharedSlabs& slabs)
      : TwoTicks(slabs, call.out.numel(), static_cast<int64_t>(call.out.element_size()),
                 static_cast<int64_t>(call.out.element_size())),
        t_(memory(call.out)),
        root_(call.root) {}

 private:
  void write(int64_t piece, Range range) override {
    if (slabs_.rank != root_) return;
    copy_bytes(area(root_, piece), t_ + range.begin * element_, range.count * element_);
  }

  void read(int64_t piece, Range range) override {
    if (slabs_.rank == root_) return;
    copy_bytes(t_ + range.begin * element_, area(root_, piece), range.count * element_);
  }

  char* const t_;
  const int root_;
};

}  // namespace

int64_t SharedSlabs::bytes_a_rank(int size, int64_t piece_bytes) {
  return kSmallAreas * kSmallBytes + 2 * piece_bytes + 2 * share_bytes(size, piece_bytes);
}

char* SharedSlabs::small(int of, int64_t area) const { return slab(of) + area * kSmallBytes; }

char* SharedSlabs::piece(int of, int64_t area) const {
  return slab(of) + kSmallAreas * kSmallBytes + area * piece_bytes;
}

char* SharedSlabs::sums(int of, int64_t area) const {
  return piece(of, 2) + area * share_bytes(size, piece_bytes);
}

std::unique_ptr<SharedTransfer> make_transfer(const SharedCall& call, const SharedSlabs& slabs,
                                              SharedTensors& tensors) {
  switch (call.kind) {
    case SharedCall::Kind::kAllReduce:
      return make_all_reduce(call, slabs, tensors);
    case SharedCall::Kind::kAllGather:
      return std::make_unique<AllGather>(call, slabs);
    case SharedCall::Kind::kReduceScatter:
      return std::make_unique<ReduceScatter>(call, slabs);
    case SharedCall::Kind::kBroadcast:
      return std::make_unique<Broadcast>(call, slabs);
  }
  TORCH_CHECK(false, "no such collective: ", static_cast<int>(call.kind));
}

}  // namespace dagpam::parallel
