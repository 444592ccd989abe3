// Two stand-ins for NCCL and CUDA (parallel/nccl_api.h): one that plays a script and writes down
// what it was asked, one that moves real numbers between ranks that are threads.
#pragma once

#include <ATen/ops/from_blob.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/nccl_api.h"
#include "parallel/nccl_job.h"

namespace dagpam::parallel::fakes {

// Without the watch thread: tests call watch() themselves.
inline NcclOptions options(std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
  NcclOptions o;
  o.timeout = timeout;
  o.watch_every = std::chrono::milliseconds(0);
  return o;
}

// Streams and events are numbers; the calling thread's current stream is "caller".
class DeviceNotes : public NcclApi {
 public:
  std::vector<std::string> log;
  bool events_pass = true;
  int passes_left = 0;                    // queries that find an event passed all the same
  CudaResult event_error = kCudaSuccess;  // of a query

  CudaResult current_stream(StreamHandle* stream) override {
    *stream = nullptr;
    return kCudaSuccess;
  }
  CudaResult make_stream(StreamHandle* stream) override {
    *stream = handle(++streams_);
    return kCudaSuccess;
  }
  CudaResult destroy_stream(StreamHandle) override { return kCudaSuccess; }
  CudaResult make_event(EventHandle* event) override {
    *event = handle(++events_);
    return kCudaSuccess;
  }
  CudaResult destroy_event(EventHandle) override { return kCudaSuccess; }
  CudaResult record(EventHandle event, StreamHandle stream) override {
    log.push_back("record e" + number(event) + " on " + stream_name(stream));
    return kCudaSuccess;
  }
  CudaResult make_wait(StreamHandle stream, EventHandle event) override {
    log.push_back(stream_name(stream) + " waits for e" + number(event));
    return kCudaSuccess;
  }
  CudaResult passed(EventHandle, bool* passed) override {
    *passed = events_pass || passes_left-- > 0;
    return event_error;
  }
  std::string nccl_text(NcclResult result, NcclHandle) override {
    return "nccl result " + std::to_string(result);
  }
  std::string cuda_text(CudaResult result) override {
    return "cuda result " + std::to_string(result);
  }

 protected:
  static void* handle(intptr_t n) { return reinterpret_cast<void*>(n); }
  static std::string number(const void* handle) {
    return std::to_string(reinterpret_cast<intptr_t>(handle));
  }
  static std::string stream_name(StreamHandle stream) {
    return stream == nullptr ? "caller" : "s" + number(stream);
  }

 private:
  intptr_t streams_ = 0, events_ = 0;
};

class ScriptedNccl : public DeviceNotes {
 public:
  int polls = 0;             // how often each call's state is in progress before it is done
  bool never_ready = false;  // or for ever
  int late_handle = 0;       // after how many questions a split's communicator is there
  std::string failing;       // the n-th call of that name, from 1 on, gives `result`
  int failing_call = 0;
  NcclResult result = 3;
  NcclResult later = kNcclSuccess;   // what state() says once nothing is in progress
  NcclResult asking = kNcclSuccess;  // what state() itself returns
  std::vector<NcclBuffers> buffers;  // of the collectives, in order

  int count(const std::string& name) const {
    const auto found = calls_.find(name);
    return found == calls_.end() ? 0 : found->second;
  }

  int version() override { return 22809; }
  NcclResult make_id(NcclId* id) override {
    id->fill('i');
    return play("make_id", nullptr, "make_id");
  }
  NcclResult init(NcclHandle* comm, int ranks, const NcclId& id, int rank) override {
    *comm = handle(++comms_);
    return play("init", *comm,
                "init " + std::to_string(rank) + " of " + std::to_string(ranks) +
                    (id ==
                             [] {
                               NcclId i;
                               i.fill('i');
                               return i;
                             }()
                         ? ""
                         : " bad id"));
  }
  NcclResult split(NcclHandle parent, int colour, int key, NcclHandle* comm) override {
    *comm = handle(++comms_);
    if (late_handle > 0) {
      late_ = comm;
      late_value_ = std::exchange(*comm, nullptr);
      late_parent_ = parent;
    }
    return play("split", parent,
                "split colour " + std::to_string(colour) + " key " + std::to_string(key));
  }
  NcclResult state(NcclHandle comm, NcclResult* state) override {
    log.push_back("state");
    if (comm == nullptr) return 4;  // ncclInvalidArgument
    if (late_ != nullptr && --late_handle == 0) *std::exchange(late_, nullptr) = late_value_;
    if (comm == late_value_ && late_parent_ != nullptr) {
      pending_[std::exchange(late_parent_, nullptr)] = 3;  // only now does the parent tell of it
    }
    int& left = pending_[comm];
    *state = never_ready || left > 0 ? kNcclInProgress : later;
    if (left > 0) --left;
    return asking;
  }
  NcclResult finalize(NcclHandle comm) override { return play("finalize", comm, "finalize"); }
  NcclResult destroy(NcclHandle comm) override { return play("destroy", comm, "destroy"); }
  NcclResult abort(NcclHandle comm) override {
    ++calls_["abort"];
    log.push_back("abort c" + number(comm));
    return kNcclSuccess;
  }
  NcclResult group_start() override { return play("group_start", nullptr, "group_start"); }
  NcclResult group_end() override {
    in_group_ = false;
    const NcclResult ended = play("group_end", nullptr, "group_end");
    if (ended == kNcclSuccess && polls > 0) {
      pending_[last_] = polls;
      return kNcclInProgress;
    }
    return ended;
  }
  NcclResult all_reduce(const NcclBuffers& b, ReduceOp op, NcclHandle comm, StreamHandle) override {
    const char* ops[] = {" sum", " max", " min"};
    return collective("all_reduce", b, comm, ops[static_cast<int>(op)]);
  }
  NcclResult all_gather(const NcclBuffers& b, NcclHandle comm, StreamHandle) override {
    return collective("all_gather", b, comm, "");
  }
  NcclResult reduce_scatter(const NcclBuffers& b, NcclHandle comm, StreamHandle) override {
    return collective("reduce_scatter", b, comm, "");
  }
  NcclResult broadcast(const NcclBuffers& b, int root, NcclHandle comm, StreamHandle) override {
    return collective("broadcast", b, comm, " from " + std::to_string(root));
  }
  NcclResult send(const NcclBuffers& b, int to, NcclHandle comm, StreamHandle) override {
    return collective("send", b, comm, " to " + std::to_string(to));
  }
  NcclResult recv(const NcclBuffers& b, int from, NcclHandle comm, StreamHandle) override {
    return collective("recv", b, comm, " from " + std::to_string(from));
  }

 private:
  NcclResult collective(const std::string& name, const NcclBuffers& b, NcclHandle comm,
                        const std::string& more) {
    buffers.push_back(b);
    last_ = comm;
    return play(name, comm, name + " " + std::to_string(b.count) + more);
  }

  NcclResult play(const std::string& name, NcclHandle comm, const std::string& line) {
    log.push_back(line);
    if (name == "group_start") in_group_ = true;
    if (++calls_[name] == failing_call && name == failing) return result;
    if (comm != nullptr && !in_group_ && pending_[comm] > 0) return 4;  // ncclInvalidArgument
    if (polls == 0 && !never_ready) return kNcclSuccess;
    if (comm == nullptr || in_group_ || name == "destroy") return kNcclSuccess;
    pending_[comm] = polls;
    return kNcclInProgress;
  }

  std::map<std::string, int> calls_;
  std::map<NcclHandle, int> pending_;
  intptr_t comms_ = 0;
  NcclHandle last_ = nullptr;
  bool in_group_ = false;
  NcclHandle* late_ = nullptr;
  NcclHandle late_value_ = nullptr, late_parent_ = nullptr;
};

// NCCL's calls over groups of threads, on memory of the CPU.
class ThreadNccl : public DeviceNotes {
 public:
  explicit ThreadNccl(Communicator& world) : world_(world) {}

  int version() override { return 22809; }
  NcclResult make_id(NcclId* id) override {
    id->fill('t');
    return kNcclSuccess;
  }
  NcclResult init(NcclHandle* comm, int, const NcclId& id, int rank) override {
    *comm = keep(world_.split(0, rank));
    return id.front() == 't' && id.back() == 't' ? kNcclSuccess : 5;
  }
  NcclResult split(NcclHandle parent, int colour, int key, NcclHandle* comm) override {
    *comm = keep(group(parent).split(colour, key));
    return kNcclSuccess;
  }
  NcclResult state(NcclHandle, NcclResult* state) override { return *state = kNcclSuccess; }
  NcclResult finalize(NcclHandle) override { return kNcclSuccess; }
  NcclResult destroy(NcclHandle) override { return kNcclSuccess; }
  NcclResult abort(NcclHandle) override { return kNcclSuccess; }

  NcclResult group_start() override {
    in_group_ = true;
    return kNcclSuccess;
  }
  NcclResult group_end() override {
    in_group_ = false;
    for (const auto& call : std::exchange(gathered_, {})) call();
    return kNcclSuccess;
  }
  NcclResult all_reduce(const NcclBuffers& b, ReduceOp op, NcclHandle comm, StreamHandle) override {
    return run([=, this] {
      at::Tensor t = of(b.out, b, 1);
      group(comm).all_reduce(t, op);
    });
  }
  NcclResult all_gather(const NcclBuffers& b, NcclHandle comm, StreamHandle) override {
    return run([=, this] {
      at::Tensor out = of(b.out, b, group(comm).size());
      group(comm).all_gather(out, of(b.in, b, 1));
    });
  }
  NcclResult reduce_scatter(const NcclBuffers& b, NcclHandle comm, StreamHandle) override {
    return run([=, this] {
      at::Tensor out = of(b.out, b, 1);
      group(comm).reduce_scatter(out, of(b.in, b, group(comm).size()));
    });
  }
  NcclResult broadcast(const NcclBuffers& b, int root, NcclHandle comm, StreamHandle) override {
    return run([=, this] {
      at::Tensor t = of(b.out, b, 1);
      group(comm).broadcast(t, root);
    });
  }
  NcclResult send(const NcclBuffers& b, int to, NcclHandle comm, StreamHandle) override {
    return run([=, this] { group(comm).send(of(b.in, b, 1), to); });
  }
  NcclResult recv(const NcclBuffers& b, int from, NcclHandle comm, StreamHandle) override {
    return run([=, this] {
      at::Tensor t = of(b.out, b, 1);
      group(comm).recv(t, from);
    });
  }

 private:
  static at::Tensor of(const void* memory, const NcclBuffers& b, int parts) {
    return at::from_blob(const_cast<void*>(memory), {static_cast<int64_t>(b.count) * parts},
                         at::TensorOptions(b.type));
  }
  Communicator& group(NcclHandle comm) { return *static_cast<Communicator*>(comm); }
  NcclHandle keep(std::unique_ptr<Communicator> made) {
    groups_.push_back(std::move(made));
    return groups_.back().get();
  }
  NcclResult run(std::function<void()> call) {
    in_group_ ? gathered_.push_back(std::move(call)) : call();
    return kNcclSuccess;
  }

  Communicator& world_;
  std::vector<std::unique_ptr<Communicator>> groups_;
  std::vector<std::function<void()>> gathered_;
  bool in_group_ = false;
};

}  // namespace dagpam::parallel::fakes
