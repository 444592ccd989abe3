// parallel/communicator.h: collectives over a group of ranks. One process (or thread) per rank.
//
// All ranks of a group make the same calls in the same order with equal shapes and dtypes; counts
// may be 0. Tensors are contiguous; the work is ordered after what the caller did before and before
// what it does next. A library error or a call that takes longer than the timeout throws CommError;
// the job must then end on every rank (launch/main.cpp aborts the world), or the peers wait for
// their own timeouts. After it a communicator is of no further use.
//
// Sums are formed in the same order on every rank and in every call of the same size, so that a
// resumed run repeats them bit for bit: ranks as threads, and through memory of the node, add in
// rank order; Open MPI chooses its algorithm, and with it the order, from the number of ranks, the
// count and its own settings alone, and gives every rank the same bits.
//
// Tensors: CPU, and those of device(); float32, float64, int64, int32, uint8; bfloat16 (on a GPU
// float16 too) is carried, but on the CPU not reduced: sums are formed in float32. Sums of uint8
// must stay below 256: past it threads wrap around, but Open MPI's vector code stays at 255. Work
// on GPU tensors is ordered by streams: wait() makes the caller's current stream wait, not the
// host.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dagpam::parallel {

enum class ReduceOp { kSum, kMax, kMin };

// A collective under way. The tensors it was given must stay alive and untouched until wait()
// returns.
class Work {
 public:
  virtual ~Work() = default;
  virtual void wait() = 0;         // throws CommError; later calls return at once
  virtual void make_progress() {}  // for libraries that only move inside calls
  // Once, right after the call: its caller computes before it waits. A library that only moves
  // inside calls may give it to a thread of its own.
  virtual void keep_moving() {}
};
using WorkPtr = std::shared_ptr<Work>;

// What a rank has asked of a communicator since it was made. Bytes are those of the larger side of
// a call: the tensor of all_reduce, broadcast, send and recv, `out` of all_gather, `in` of
// reduce_scatter.
struct CommCounts {
  struct Op {
    int64_t calls = 0, bytes = 0;
  };
  Op all_reduce, all_gather, reduce_scatter, broadcast, send, recv, barrier, split;
};

class Communicator {
 public:
  Communicator() = default;
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual int rank() const = 0;  // in [0, size)
  virtual int size() const = 0;
  virtual std::string name() const = 0;  // e.g. "mpi world", for logs and errors
  // Where this rank computes: its tensors beside those of the CPU may live there.
  virtual at::Device device() const { return at::kCPU; }

  // Whether collectives move while the ranks compute, on time that no rank computes in: then it
  // pays to start them early. The same on every rank of a job.
  virtual bool overlaps() const { return false; }

  // t <- op over ranks of t, in place.
  void all_reduce(at::Tensor& t, ReduceOp op = ReduceOp::kSum) { all_reduce_async(t, op)->wait(); }
  virtual WorkPtr all_reduce_async(at::Tensor& t, ReduceOp op = ReduceOp::kSum) = 0;

  // out [size * n, ...] <- in [n, ...] of rank 0, 1, ... joined along dim 0.
  void all_gather(at::Tensor& out, const at::Tensor& in) { all_gather_async(out, in)->wait(); }
  virtual WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) = 0;

  // out [n, ...] <- sum over ranks of rows [rank * n, (rank + 1) * n) of in [size * n, ...].
  void reduce_scatter(at::Tensor& out, const at::Tensor& in) {
    reduce_scatter_async(out, in)->wait();
  }
  virtual WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) = 0;

  virtual void broadcast(at::Tensor& t, int root) = 0;
  virtual void send(const at::Tensor& t, int to) = 0;
  virtual void recv(at::Tensor& t, int from) = 0;
  virtual void barrier() = 0;

  // The calls that `fn` makes, all on this communicator, as one of the library where it can (NCCL),
  // else one by one. `fn` waits for none of them.
  virtual void together(const std::function<void()>& fn) { fn(); }

  // Bytes of the same or different length from every rank, in rank order (control messages, not the
  // step's path). Two all_gathers.
  virtual std::vector<std::string> all_gather_bytes(const std::string& mine);

  // Ranks of one colour (>= 0) form a new group, ordered by key, then by rank. Itself a collective.
  virtual std::unique_ptr<Communicator> split(int colour, int key) = 0;

  // Ends the whole job on every rank; does not return. Callable from any thread. Output that is not
  // yet written is lost.
  [[noreturn]] virtual void abort(int exit_code) = 0;

  const CommCounts& counts() const { return counts_; }

 protected:
  CommCounts counts_;
};

// One rank, which computes on `device`.
std::unique_ptr<Communicator> make_self_communicator(at::Device device = at::kCPU);

// Runs fn on `size` threads, each with its own communicator of one group. The first exception is
// thrown again here, after all threads have ended (the others' collectives throw CommError).
void run_ranks_as_threads(int size, const std::function<void(Communicator&)>& fn,
                          std::chrono::milliseconds timeout = std::chrono::seconds(60));

}  // namespace dagpam::parallel
