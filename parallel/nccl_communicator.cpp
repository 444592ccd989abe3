#include "parallel/nccl_communicator.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "parallel/comm_checks.h"
#include "parallel/comm_error.h"
#include "parallel/nccl_group.h"

namespace dagpam::parallel {
namespace {

class DoneWork : public Work {
 public:
  void wait() override {}
};

NcclBuffers buffers(const at::Tensor& in, const at::Tensor& out, const at::Tensor& counted) {
  return {in.const_data_ptr(), out.mutable_data_ptr(), static_cast<size_t>(counted.numel()),
          counted.scalar_type()};
}

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, std::shared_ptr<NcclJob> job,
                   std::shared_ptr<NcclGroup> group, at::Device device)
      : host_(std::move(host)), job_(std::move(job)), group_(std::move(group)), device_(device) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  std::string name() const override { return host_->name() + " with nccl"; }
  bool overlaps() const override { return true; }  // a stream of its own
  at::Device device() const override { return device_; }

  WorkPtr all_reduce_async(at::Tensor& t, ReduceOp op) override {
    check("all_reduce", t);
    count_call(counts_.all_reduce, t);
    if (on_host(t)) return host_->all_reduce_async(t, op);
    return start(std::string("all_reduce ") + name_of(op) + " " + describe(t), "ncclAllReduce", {t},
                 [b = buffers(t, t, t), op](NcclApi& api, NcclHandle comm, StreamHandle stream) {
                   return api.all_reduce(b, op, comm, stream);
                 });
  }

  WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) override {
    check("all_gather", in);
    check_whole_and_part("all_gather", out, in, size(), device_type_of(in));
    count_call(counts_.all_gather, out);
    if (on_host(in)) return host_->all_gather_async(out, in);
    return start("all_gather " + describe(in), "ncclAllGather", {in, out},
                 [b = buffers(in, out, in)](NcclApi& api, NcclHandle comm, StreamHandle stream) {
                   return api.all_gather(b, comm, stream);
                 });
  }

  WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) override {
    check("reduce_scatter", in);
    check_whole_and_part("reduce_scatter", in, out, size(), device_type_of(in));
    count_call(counts_.reduce_scatter, in);
    if (on_host(in)) return host_->reduce_scatter_async(out, in);
    return start("reduce_scatter " + describe(in), "ncclReduceScatter", {in, out},
                 [b = buffers(in, out, out)](NcclApi& api, NcclHandle comm, StreamHandle stream) {
                   return api.reduce_scatter(b, comm, stream);
                 });
  }

  void broadcast(at::Tensor& t, int root) override {
    check("broadcast", t);
    check_rank("broadcast", root, size());
    count_call(counts_.broadcast, t);
    if (on_host(t)) return host_->broadcast(t, root);
    finish(start("broadcast from rank " + std::to_string(root) + " " + describe(t), "ncclBroadcast",
                 {t},
                 [b = buffers(t, t, t), root](NcclApi& api, NcclHandle comm, StreamHandle stream) {
                   return api.broadcast(b, root, comm, stream);
                 }));
  }

  void send(const at::Tensor& t, int to) override {
    check_peer("send", t, to);
    count_call(counts_.send, t);
    if (on_host(t)) return host_->send(t, to);
    finish(start("send to rank " + std::to_string(to) + " " + describe(t), "ncclSend", {t},
                 [b = buffers(t, t, t), to](NcclApi& api, NcclHandle comm, StreamHandle stream) {
                   return api.send(b, to, comm, stream);
                 }));
  }

  void recv(at::Tensor& t, int from) override {
    check_peer("recv", t, from);
    count_call(counts_.recv, t);
    if (on_host(t)) return host_->recv(t, from);
    finish(start("recv from rank " + std::to_string(from) + " " + describe(t), "ncclRecv", {t},
                 [b = buffers(t, t, t), from](NcclApi& api, NcclHandle comm, StreamHandle stream) {
                   return api.recv(b, from, comm, stream);
                 }));
  }

  void barrier() override {
    require_good();
    ++counts_.barrier.calls;
    host_->barrier();
  }

  void together(const std::function<void()>& fn) override {
    gathering_ = true;
    try {
      group_->together(fn);
    } catch (...) {
      gathering_ = false;
      unfinished_.clear();
      throw;
    }
    gathering_ = false;
    for (const WorkPtr& work : std::exchange(unfinished_, {})) work->wait();
  }

  // A group of one needs no NCCL, but a communicator of its own tells when the split is over.
  std::unique_ptr<Communicator> split(int colour, int key) override {
    require_good();
    TORCH_CHECK(colour >= 0, "split: colour ", colour, " is negative");
    ++counts_.split.calls;
    auto host = host_->split(colour, key);
    const bool alone = host->size() == 1;
    auto group =
        group_->split(colour, key, host->name() + " with nccl", host->size(), host->rank());
    if (alone) return make_self_communicator(device_);
    return std::make_unique<NcclCommunicator>(std::move(host), job_, std::move(group), device_);
  }

  [[noreturn]] void abort(int exit_code) override {
    host_->abort(exit_code);
    std::abort();  // not reached
  }

 private:
  using Call = NcclGroup::Call;

  bool on_host(const at::Tensor& t) const { return t.is_cpu() && !device_.is_cpu(); }
  at::DeviceType device_type_of(const at::Tensor& t) const {
    return on_host(t) ? at::kCPU : device_.type();
  }

  void require_good() const {
    const auto held = job_->lock();
    if (job_->failed()) job_->throw_failure();
  }

  void check(const char* collective, const at::Tensor& t) const {
    require_good();
    TORCH_CHECK(t.defined(), collective, " of an undefined tensor");
    check_tensor(collective, t, device_type_of(t));
    TORCH_CHECK(on_host(t) || t.device() == device_, collective, " of a tensor on ", t.device(),
                ": this rank's device is ", device_);
  }

  void check_peer(const char* collective, const at::Tensor& t, int peer) const {
    check(collective, t);
    check_rank(collective, peer, size());
    TORCH_CHECK(peer != rank(), collective, ": rank ", rank(), " is this rank itself");
  }

  // Nothing to move: the library is not asked, on any rank.
  WorkPtr start(std::string collective, const char* expression, std::vector<at::Tensor> tensors,
                const Call& call) {
    if (tensors.front().numel() == 0) return std::make_shared<DoneWork>();
    return group_->start(std::move(collective), expression, std::move(tensors), call);
  }

  void finish(WorkPtr work) { gathering_ ? unfinished_.push_back(std::move(work)) : work->wait(); }

  std::unique_ptr<Communicator> host_;
  std::shared_ptr<NcclJob> job_;
  std::shared_ptr<NcclGroup> group_;
  at::Device device_;
  bool gathering_ = false;
  std::vector<WorkPtr> unfinished_;  // of calls without a Work of their own, within together()
};

// Rank 0's id, on every rank; or its failure, on every rank.
NcclId share_id(NcclApi& api, Communicator& host) {
  constexpr int64_t kBytes = std::tuple_size_v<NcclId>;
  at::Tensor message = at::empty({kBytes + 1}, at::TensorOptions(at::kByte));  // id, whether good
  auto* bytes = message.mutable_data_ptr<uint8_t>();
  const CommCall call{host.rank(), host.size(), host.name(), "a new group", 0};
  std::string text;
  if (host.rank() == 0) {
    NcclId id{};
    const NcclResult result = api.make_id(&id);
    if (result != kNcclSuccess) text = api.nccl_text(result, nullptr);
    std::memcpy(bytes, id.data(), id.size());
    bytes[kBytes] = result == kNcclSuccess ? 1 : 0;
  }
  host.broadcast(message, 0);
  if (bytes[kBytes] == 0) {
    throw CommError(
        comm_failure(call, "ncclGetUniqueId", host.rank() == 0 ? text : "failed on rank 0"));
  }
  NcclId id{};
  std::memcpy(id.data(), bytes, id.size());
  return id;
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_world(std::unique_ptr<Communicator> host,
                                              std::shared_ptr<NcclApi> api, at::Device device,
                                              const NcclOptions& options) {
  const NcclId id = share_id(*api, *host);
  auto job = std::make_shared<NcclJob>(std::move(api), options);
  auto group = NcclGroup::make(job, host->name() + " with nccl", host->size(), id, host->rank());
  return std::make_unique<NcclCommunicator>(std::move(host), std::move(job), std::move(group),
                                            device);
}

}  // namespace dagpam::parallel
