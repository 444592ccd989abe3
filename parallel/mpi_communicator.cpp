#include "parallel/mpi_communicator.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/comm_checks.h"
#include "parallel/comm_error.h"
#include "parallel/poll.h"

// Calls the library and throws CommError with the call, the expression and the library's text.
#define DAGPAM_MPI(call, expression) check_mpi((expression), #expression, (call))

namespace dagpam::parallel {
namespace {

std::atomic<bool> has_failed{false};

[[noreturn]] void fail(const CommCall& call, const char* expression, const std::string& text) {
  has_failed = true;
  throw CommError(comm_failure(call, expression, text));
}

void check_mpi(int code, const char* expression, const CommCall& call) {
  if (code != MPI_SUCCESS) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    fail(call, expression, text);
  }
}

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
    default:
      TORCH_CHECK(false, "no MPI type for ", t.scalar_type());
  }
}

MPI_Op mpi_op(ReduceOp op) {
  return op == ReduceOp::kSum ? MPI_SUM : op == ReduceOp::kMax ? MPI_MAX : MPI_MIN;
}

// The MPI operations of one call and the tensors they read and write.
class MpiWork : public Work {
 public:
  MpiWork(CommCall call, std::chrono::milliseconds timeout, std::vector<at::Tensor> tensors)
      : call_(std::move(call)), timeout_(timeout), tensors_(std::move(tensors)) {}

  // MPI goes on with an operation that nobody waits for: its memory must outlive the process's last
  // call.
  ~MpiWork() override {
    if (!requests_.empty()) {
      static auto& abandoned = *new std::vector<at::Tensor>;
      abandoned.insert(abandoned.end(), tensors_.begin(), tensors_.end());
    }
  }

  MPI_Request* add() { return &requests_.emplace_back(MPI_REQUEST_NULL); }

  bool test() {
    if (requests_.empty()) {
      return true;
    }
    int done = 0;
    statuses_.resize(requests_.size());
    int code =
        MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses_.data());
    if (code == MPI_ERR_IN_STATUS) {
      const auto bad = std::find_if(statuses_.begin(), statuses_.end(), [](const MPI_Status& s) {
        return s.MPI_ERROR != MPI_SUCCESS && s.MPI_ERROR != MPI_ERR_PENDING;
      });
      code = bad != statuses_.end() ? bad->MPI_ERROR : code;
    }
    check_mpi(code, "MPI_Testall(requests)", call_);
    if (done != 0) {
      requests_.clear();
    }
    return done != 0;
  }

  void wait() override {
    Poll poll(timeout_);
    while (!test()) {
      if (!poll.pause()) {
        fail(call_, "MPI_Testall(requests)", overdue(timeout_));
      }
    }
  }

  void make_progress() override { test(); }

  const CommCall& call() const { return call_; }
  const std::vector<MPI_Status>& statuses() const { return statuses_; }  // once complete

 private:
  CommCall call_;
  std::chrono::milliseconds timeout_;
  std::vector<at::Tensor> tensors_;
  std::vector<MPI_Request> requests_;  // empty: complete
  std::vector<MPI_Status> statuses_;
};

// A tensor's memory from element `begin` on.
char* memory(const at::Tensor& t, int64_t begin) {
  return static_cast<char*>(t.data_ptr()) + begin * static_cast<int64_t>(t.element_size());
}

class MpiCommunicator : public Communicator {
 public:
  // Owns `comm`.
  MpiCommunicator(MPI_Comm comm, std::string name, const MpiOptions& options)
      : comm_(comm), name_(std::move(name)), options_(options) {
    const CommCall call = call_of("a new group");
    DAGPAM_MPI(call, MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
    DAGPAM_MPI(call, MPI_Comm_rank(comm_, &rank_));
    DAGPAM_MPI(call, MPI_Comm_size(comm_, &size_));
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

  WorkPtr all_reduce_async(at::Tensor& t, ReduceOp op) override {
    check_tensor("all_reduce", t);
    count_call(counts_.all_reduce, t);
    auto work = start(std::string("all_reduce ") + name_of(op) + " " + describe(t), {t});
    for_pieces(t.numel(), [&](int64_t begin, int count) {
      DAGPAM_MPI(work->call(), MPI_Iallreduce(MPI_IN_PLACE, memory(t, begin), count, mpi_type(t),
                                              mpi_op(op), comm_, work->add()));
    });
    return work;
  }

  WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) override {
    check_whole_and_part("all_gather", out, in, size_);
    count_call(counts_.all_gather, out);
    auto work = start("all_gather " + describe(in), {in, out});
    const int64_t n = in.numel();
    if (out.numel() <= options_.max_count) {
      DAGPAM_MPI(work->call(),
                 MPI_Iallgather(memory(in, 0), static_cast<int>(n), mpi_type(in), memory(out, 0),
                                static_cast<int>(n), mpi_type(out), comm_, work->add()));
    } else {
      copy(out, rank_ * n, in);
      for (int root = 0; root < size_; ++root) {
        broadcast_range(*work, out, root * n, n, root);
      }
    }
    return work;
  }

  WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) override {
    check_whole_and_part("reduce_scatter", in, out, size_);
    count_call(counts_.reduce_scatter, in);
    auto work = start("reduce_scatter " + describe(in), {in, out});
    const int64_t n = out.numel();
    if (in.numel() <= options_.max_count) {
      DAGPAM_MPI(work->call(),
                 MPI_Ireduce_scatter_block(memory(in, 0), memory(out, 0), static_cast<int>(n),
                                           mpi_type(in), MPI_SUM, comm_, work->add()));
    } else {
      for (int root = 0; root < size_; ++root) {
        for_pieces(n, [&](int64_t begin, int count) {
          DAGPAM_MPI(work->call(),
                     MPI_Ireduce(memory(in, root * n + begin), memory(out, begin), count,
                                 mpi_type(in), MPI_SUM, root, comm_, work->add()));
        });
      }
    }
    return work;
  }

  void broadcast(at::Tensor& t, int root) override {
    check_tensor("broadcast", t);
    check_rank("broadcast", root, size_);
    count_call(counts_.broadcast, t);
    auto work = start("broadcast from rank " + std::to_string(root) + " " + describe(t), {t});
    broadcast_range(*work, t, 0, t.numel(), root);
    work->wait();
  }

  void send(const at::Tensor& t, int to) override {
    check_peer("send", t, to);
    count_call(counts_.send, t);
    auto work = start("send to rank " + std::to_string(to) + " " + describe(t), {t});
    for_pieces(t.numel(), [&](int64_t begin, int count) {
      DAGPAM_MPI(work->call(),
                 MPI_Isend(memory(t, begin), count, mpi_type(t), to, 0, comm_, work->add()));
    });
    work->wait();
  }

  void recv(at::Tensor& t, int from) override {
    check_peer("recv", t, from);
    count_call(counts_.recv, t);
    auto work = start("recv from rank " + std::to_string(from) + " " + describe(t), {t});
    for_pieces(t.numel(), [&](int64_t begin, int count) {
      DAGPAM_MPI(work->call(),
                 MPI_Irecv(memory(t, begin), count, mpi_type(t), from, 0, comm_, work->add()));
    });
    work->wait();
    int64_t received = 0;
    for (const MPI_Status& status : work->statuses()) {
      int count = 0;
      DAGPAM_MPI(work->call(), MPI_Get_count(&status, mpi_type(t), &count));
      received += count;
    }
    if (received != t.numel()) {
      fail(work->call(), "MPI_Get_count", "was sent " + std::to_string(received) + " elements");
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
    return std::make_unique<MpiCommunicator>(part, name, options_);
  }

  [[noreturn]] void abort(int exit_code) override { abort_mpi_job(exit_code); }

 private:
  CommCall call_of(std::string collective) const {
    return {rank_, size_, name_, std::move(collective), sequence_};
  }

  std::shared_ptr<MpiWork> start(std::string collective, std::vector<at::Tensor> tensors) {
    CommCall call = call_of(std::move(collective));
    ++sequence_;
    return std::make_shared<MpiWork>(std::move(call), options_.timeout, std::move(tensors));
  }

  void meet(const char* collective) {
    auto work = start(collective, {});
    DAGPAM_MPI(work->call(), MPI_Ibarrier(comm_, work->add()));
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
      DAGPAM_MPI(work.call(),
                 MPI_Ibcast(memory(t, first + begin), count, mpi_type(t), root, comm_, work.add()));
    });
  }

  static void copy(const at::Tensor& out, int64_t first, const at::Tensor& in) {
    const c10::AutoGradMode no_grad(false);
    out.view({-1}).narrow(0, first, in.numel()).copy_(in.view({-1}));
  }

  void check_peer(const char* collective, const at::Tensor& t, int peer) const {
    check_tensor(collective, t);
    check_rank(collective, peer, size_);
    TORCH_CHECK(peer != rank_, collective, ": rank ", rank_, " is this rank itself");
  }

  MPI_Comm comm_;
  std::string name_;
  MpiOptions options_;
  int rank_ = 0, size_ = 1;
  int64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_world(const MpiOptions& options) {
  TORCH_CHECK(options.max_count >= 1 && options.max_count <= INT32_MAX, "MPI pieces of ",
              options.max_count, " elements");
  CommCall call{0, 1, "mpi world", "a new group", 0};
  DAGPAM_MPI(call, MPI_Comm_rank(MPI_COMM_WORLD, &call.rank));
  DAGPAM_MPI(call, MPI_Comm_size(MPI_COMM_WORLD, &call.size));
  MPI_Comm copy = MPI_COMM_NULL;
  MpiWork work(call, options.timeout, {});
  DAGPAM_MPI(call, MPI_Comm_idup(MPI_COMM_WORLD, &copy, work.add()));
  work.wait();
  return std::make_unique<MpiCommunicator>(copy, call.group, options);
}

void abort_mpi_job(int exit_code) {
  int level = MPI_THREAD_SINGLE, is_main = 0, open = 0, closed = 0;
  MPI_Initialized(&open);
  MPI_Finalized(&closed);
  if (open != 0 && closed == 0) {
    MPI_Query_thread(&level);
    MPI_Is_thread_main(&is_main);
    if (level == MPI_THREAD_MULTIPLE || is_main != 0) {
      MPI_Abort(MPI_COMM_WORLD, exit_code);
    }
  }
  std::_Exit(exit_code);  // mpirun then ends the others
}

bool mpi_has_failed() { return has_failed; }

}  // namespace dagpam::parallel
