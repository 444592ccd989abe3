#include "parallel/mpi_communicator.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>
#include <mpi.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/comm_checks.h"
#include "parallel/mpi_cores.h"
#include "parallel/mpi_errors.h"
#include "parallel/mpi_window.h"
#include "parallel/mpi_work.h"
#include "parallel/shared_group.h"
#include "parallel/shared_tensors.h"

namespace dagpam::parallel {
namespace {

MPI_Datatype mpi_type(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    case at::kInt:
      return MPI_INT32_T;
    case at::kByte:
      return MPI_UINT8_T;
    case at::kBFloat16:  // carried, never reduced (check_reduced)
      return MPI_UINT16_T;
    default:
      TORCH_CHECK(false, "no MPI type for ", t.scalar_type());
  }
}

MPI_Op mpi_op(ReduceOp op) {
  return op == ReduceOp::kSum ? MPI_SUM : op == ReduceOp::kMax ? MPI_MAX : MPI_MIN;
}

// Where the work's next request goes.
MPI_Request* next_request(MpiWork& work) { return static_cast<MPI_Request*>(work.add()); }

// A tensor's memory from element `begin` on.
char* memory(const at::Tensor& t, int64_t begin) {
  return static_cast<char*>(t.data_ptr()) + begin * static_cast<int64_t>(t.element_size());
}

class MpiCommunicator : public Communicator, public SharesTensors {
 public:
  // Owns `comm`.
  MpiCommunicator(MPI_Comm comm, std::string name, const MpiOptions& options, bool overlaps)
      : comm_(comm), name_(std::move(name)), options_(options), overlaps_(overlaps) {
    const CommCall call = call_of("a new group");
    DAGPAM_MPI(call, MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
    DAGPAM_MPI(call, MPI_Comm_rank(comm_, &rank_));
    DAGPAM_MPI(call, MPI_Comm_size(comm_, &size_));
    window_ = make_mpi_window(&comm_, call_of("a new group"), options_);
  }

  ~MpiCommunicator() override {
    int closed = 0;
    MPI_Finalized(&closed);
    if (closed == 0 && !mpi_has_failed()) {
      MPI_Comm_free(&comm_);
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string name() const override { return name_; }
  bool overlaps() const override { return overlaps_; }
  bool shares_memory() const override { return window_ != nullptr; }

  WorkPtr all_reduce_async(at::Tensor& t, ReduceOp op) override {
    check_reduced("all_reduce", t);
    count_call(counts_.all_reduce, t);
    std::string what = std::string("all_reduce ") + name_of(op) + " " + describe(t);
    if (window_) {
      return window_->start(next(std::move(what)), {Kind::kAllReduce, t, {}, op});
    }
    auto work = start(std::move(what), {t});
    for_pieces(t.numel(), [&](int64_t begin, int count) {
      DAGPAM_MPI(work->call(), MPI_Iallreduce(MPI_IN_PLACE, memory(t, begin), count, mpi_type(t),
                                              mpi_op(op), comm_, next_request(*work)));
    });
    return work;
  }

  WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) override {
    check_whole_and_part("all_gather", out, in, size_);
    count_call(counts_.all_gather, out);
    if (window_) {
      return window_->start(next("all_gather " + describe(in)), {Kind::kAllGather, out, in});
    }
    auto work = start("all_gather " + describe(in), {in, out});
    const int64_t n = in.numel();
    if (out.numel() <= options_.max_count) {
      DAGPAM_MPI(work->call(),
                 MPI_Iallgather(memory(in, 0), static_cast<int>(n), mpi_type(in), memory(out, 0),
                                static_cast<int>(n), mpi_type(out), comm_, next_request(*work)));
    } else {
      const c10::AutoGradMode no_grad(false);
      out.view({-1}).narrow(0, rank_ * n, n).copy_(in.view({-1}));
      for (int root = 0; root < size_; ++root) {
        broadcast_range(*work, out, root * n, n, root);
      }
    }
    return work;
  }

  WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) override {
    check_whole_and_part("reduce_scatter", in, out, size_);
    check_reduced("reduce_scatter", in);
    count_call(counts_.reduce_scatter, in);
    if (window_) {
      return window_->start(next("reduce_scatter " + describe(in)),
                            {Kind::kReduceScatter, out, in});
    }
    auto work = start("reduce_scatter " + describe(in), {in, out});
    const int64_t n = out.numel();
    if (in.numel() <= options_.max_count) {
      DAGPAM_MPI(work->call(),
                 MPI_Ireduce_scatter_block(memory(in, 0), memory(out, 0), static_cast<int>(n),
                                           mpi_type(in), MPI_SUM, comm_, next_request(*work)));
    } else {
      for (int root = 0; root < size_; ++root) {
        for_pieces(n, [&](int64_t begin, int count) {
          DAGPAM_MPI(work->call(),
                     MPI_Ireduce(memory(in, root * n + begin), memory(out, begin), count,
                                 mpi_type(in), MPI_SUM, root, comm_, next_request(*work)));
        });
      }
    }
    return work;
  }

  at::Tensor shared_zeros(int64_t elements, at::ScalarType type) override {
    if (!window_ || elements == 0) return {};
    const int64_t bytes = elements * static_cast<int64_t>(c10::elementSize(type));
    auto memory = make_mpi_memory(&comm_, next("memory for tensors"), options_,
                                  SharedGroup::region_bytes(size_, bytes));
    if (!memory) return {};
    std::shared_ptr<char> part = window_->add_region(std::move(memory), bytes);
    char* const begin = part.get();
    return at::from_blob(
        begin, {elements}, [part = std::move(part)](void*) {}, type);
  }

  void broadcast(at::Tensor& t, int root) override {
    check_tensor("broadcast", t);
    check_rank("broadcast", root, size_);
    count_call(counts_.broadcast, t);
    std::string what = "broadcast from rank " + std::to_string(root) + " " + describe(t);
    if (window_) {
      window_->start(next(std::move(what)), {Kind::kBroadcast, t, {}, ReduceOp::kSum, root})
          ->wait();
      return;
    }
    auto work = start(std::move(what), {t});
    broadcast_range(*work, t, 0, t.numel(), root);
    work->wait();
  }

  void send(const at::Tensor& t, int to) override {
    check_peer("send", t, to);
    count_call(counts_.send, t);
    auto work = start("send to rank " + std::to_string(to) + " " + describe(t), {t});
    for_pieces(t.numel(), [&](int64_t begin, int count) {
      DAGPAM_MPI(work->call(), MPI_Isend(memory(t, begin), count, mpi_type(t), to, 0, comm_,
                                         next_request(*work)));
    });
    work->wait();
  }

  void recv(at::Tensor& t, int from) override {
    check_peer("recv", t, from);
    count_call(counts_.recv, t);
    auto work = start("recv from rank " + std::to_string(from) + " " + describe(t), {t});
    for_pieces(t.numel(), [&](int64_t begin, int count) {
      DAGPAM_MPI(work->call(), MPI_Irecv(memory(t, begin), count, mpi_type(t), from, 0, comm_,
                                         next_request(*work)));
    });
    work->wait();
    const int64_t received = work->received_bytes();
    if (received != static_cast<int64_t>(t.nbytes())) {
      fail_mpi(work->call(), "MPI_Get_elements_x",
               "was sent " + std::to_string(received) + " bytes");
    }
  }

  void barrier() override {
    ++counts_.barrier.calls;
    meet("barrier");
  }

  std::unique_ptr<Communicator> split(int colour, int key) override {
    TORCH_CHECK(colour >= 0, "split: colour ", colour, " is negative");
    ++counts_.split.calls;
    const std::string name = name_ + "/" + std::to_string(sequence_) + "." + std::to_string(colour);
    const CommCall call = call_of("split");
    meet("split");  // MPI_Comm_split has no form that can be overdue: make sure that all are there
    MPI_Comm part = MPI_COMM_NULL;
    DAGPAM_MPI(call, MPI_Comm_split(comm_, colour, key, &part));
    return std::make_unique<MpiCommunicator>(part, name, options_, overlaps_);
  }

  [[noreturn]] void abort(int exit_code) override { abort_mpi_job(exit_code); }

 private:
  using Kind = SharedCall::Kind;

  CommCall call_of(std::string collective) const {
    return {rank_, size_, name_, std::move(collective), sequence_};
  }

  CommCall next(std::string collective) {
    CommCall call = call_of(std::move(collective));
    ++sequence_;
    return call;
  }

  std::shared_ptr<MpiWork> start(std::string collective, std::vector<at::Tensor> tensors) {
    return std::make_shared<MpiWork>(next(std::move(collective)), options_.timeout,
                                     std::move(tensors));
  }

  void meet(const char* collective) {
    auto work = start(collective, {});
    DAGPAM_MPI(work->call(), MPI_Ibarrier(comm_, next_request(*work)));
    work->wait();
  }

  // fn(first element, number of elements) for ranges that together cover [0, n).
  template <class Fn>
  void for_pieces(int64_t n, const Fn& fn) const {
    for (int64_t begin = 0; begin < n; begin += options_.max_count) {
      fn(begin, static_cast<int>(std::min(options_.max_count, n - begin)));
    }
  }

  void broadcast_range(MpiWork& work, const at::Tensor& t, int64_t first, int64_t n, int root) {
    for_pieces(n, [&](int64_t begin, int count) {
      DAGPAM_MPI(work.call(), MPI_Ibcast(memory(t, first + begin), count, mpi_type(t), root, comm_,
                                         next_request(work)));
    });
  }

  void check_peer(const char* collective, const at::Tensor& t, int peer) const {
    check_tensor(collective, t);
    check_rank(collective, peer, size_);
    TORCH_CHECK(peer != rank_, collective, ": rank ", rank_, " is this rank itself");
  }

  MPI_Comm comm_;
  std::string name_;
  MpiOptions options_;
  bool overlaps_;
  int rank_ = 0, size_ = 1;
  int64_t sequence_ = 0;
  std::shared_ptr<SharedGroup> window_;  // nullptr: all calls are MPI's
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_world(const MpiOptions& options) {
  TORCH_CHECK(options.max_count >= 1 && options.max_count <= INT32_MAX, "MPI pieces of ",
              options.max_count, " elements");
  TORCH_CHECK(options.piece_bytes > 0 && options.piece_bytes % 64 == 0, "pieces of ",
              options.piece_bytes, " bytes through shared memory");
  CommCall call{0, 1, "mpi world", "a new group", 0};
  DAGPAM_MPI(call, MPI_Comm_rank(MPI_COMM_WORLD, &call.rank));
  DAGPAM_MPI(call, MPI_Comm_size(MPI_COMM_WORLD, &call.size));
  MPI_Comm copy = MPI_COMM_NULL;
  MpiWork work(call, options.timeout, {});
  DAGPAM_MPI(call, MPI_Comm_idup(MPI_COMM_WORLD, &copy, next_request(work)));
  work.wait();
  const bool overlaps = mpi_leaves_cores_free(at::get_num_threads());
  return std::make_unique<MpiCommunicator>(copy, call.group, options, overlaps);
}

}  // namespace dagpam::parallel
