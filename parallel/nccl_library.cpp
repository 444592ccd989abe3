// The table of nccl_api.h, filled with NCCL and the CUDA runtime.
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "parallel/nccl_api.h"

namespace dagpam::parallel {
namespace {

static_assert(ncclSuccess == kNcclSuccess && ncclInProgress == kNcclInProgress);
static_assert(sizeof(ncclUniqueId) == sizeof(NcclId));
static_assert(cudaSuccess == kCudaSuccess);

ncclDataType_t nccl_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kHalf:
      return ncclFloat16;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kLong:
      return ncclInt64;
    case at::kInt:
      return ncclInt32;
    case at::kByte:
      return ncclUint8;
    default:
      TORCH_CHECK(false, "no NCCL type for ", type);
  }
}

ncclRedOp_t nccl_op(ReduceOp op) {
  return op == ReduceOp::kSum ? ncclSum : op == ReduceOp::kMax ? ncclMax : ncclMin;
}

ncclComm_t comm_of(NcclHandle handle) { return static_cast<ncclComm_t>(handle); }
cudaStream_t stream_of(StreamHandle handle) { return static_cast<cudaStream_t>(handle); }
cudaEvent_t event_of(EventHandle handle) { return static_cast<cudaEvent_t>(handle); }

ncclConfig_t non_blocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

class NcclLibrary : public NcclApi {
 public:
  explicit NcclLibrary(int device) : device_(device) {
    // Groups of several kinds work at the same time: their kernels start in the order of the calls,
    // the same on every rank (NCCL 2.26 on).
    setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
  }

  int version() override { return nccl_library_version(); }

  NcclResult make_id(NcclId* id) override {
    ncclUniqueId made;
    const ncclResult_t result = ncclGetUniqueId(&made);
    std::memcpy(id->data(), made.internal, id->size());
    return result;
  }

  NcclResult init(NcclHandle* comm, int ranks, const NcclId& id, int rank) override {
    cudaSetDevice(device_);
    ncclUniqueId given;
    std::memcpy(given.internal, id.data(), id.size());
    ncclConfig_t config = non_blocking();
    return ncclCommInitRankConfig(reinterpret_cast<ncclComm_t*>(comm), ranks, given, rank, &config);
  }

  NcclResult split(NcclHandle parent, int colour, int key, NcclHandle* comm) override {
    ncclConfig_t config = non_blocking();
    return ncclCommSplit(comm_of(parent), colour, key, reinterpret_cast<ncclComm_t*>(comm),
                         &config);
  }

  NcclResult state(NcclHandle comm, NcclResult* state) override {
    ncclResult_t now = ncclSuccess;
    const ncclResult_t result = ncclCommGetAsyncError(comm_of(comm), &now);
    *state = now;
    return result;
  }

  NcclResult finalize(NcclHandle comm) override { return ncclCommFinalize(comm_of(comm)); }
  NcclResult destroy(NcclHandle comm) override { return ncclCommDestroy(comm_of(comm)); }
  NcclResult abort(NcclHandle comm) override { return ncclCommAbort(comm_of(comm)); }
  NcclResult group_start() override { return ncclGroupStart(); }
  NcclResult group_end() override { return ncclGroupEnd(); }

  NcclResult all_reduce(const NcclBuffers& b, ReduceOp op, NcclHandle comm,
                        StreamHandle stream) override {
    return ncclAllReduce(b.in, b.out, b.count, nccl_type(b.type), nccl_op(op), comm_of(comm),
                         stream_of(stream));
  }

  NcclResult all_gather(const NcclBuffers& b, NcclHandle comm, StreamHandle stream) override {
    return ncclAllGather(b.in, b.out, b.count, nccl_type(b.type), comm_of(comm), stream_of(stream));
  }

  NcclResult reduce_scatter(const NcclBuffers& b, NcclHandle comm, StreamHandle stream) override {
    return ncclReduceScatter(b.in, b.out, b.count, nccl_type(b.type), ncclSum, comm_of(comm),
                             stream_of(stream));
  }

  NcclResult broadcast(const NcclBuffers& b, int root, NcclHandle comm,
                       StreamHandle stream) override {
    return ncclBroadcast(b.in, b.out, b.count, nccl_type(b.type), root, comm_of(comm),
                         stream_of(stream));
  }

  NcclResult send(const NcclBuffers& b, int to, NcclHandle comm, StreamHandle stream) override {
    return ncclSend(b.in, b.count, nccl_type(b.type), to, comm_of(comm), stream_of(stream));
  }

  NcclResult recv(const NcclBuffers& b, int from, NcclHandle comm, StreamHandle stream) override {
    return ncclRecv(b.out, b.count, nccl_type(b.type), from, comm_of(comm), stream_of(stream));
  }

  std::string nccl_text(NcclResult result, NcclHandle comm) override {
    std::string text = ncclGetErrorString(static_cast<ncclResult_t>(result));
    const char* last = ncclGetLastError(comm_of(comm));
    if (last != nullptr && *last != '\0') text += std::string(" (") + last + ")";
    for (char& letter : text) letter = letter == '\n' ? ' ' : letter;
    return text;
  }

  CudaResult current_stream(StreamHandle* stream) override {
    *stream = c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)).stream();
    return cudaSuccess;
  }

  CudaResult make_stream(StreamHandle* stream) override {
    int least = 0, greatest = 0;
    if (const cudaError_t set = cudaSetDevice(device_); set != cudaSuccess) return set;
    const cudaError_t asked = cudaDeviceGetStreamPriorityRange(&least, &greatest);
    if (asked != cudaSuccess) return asked;
    return cudaStreamCreateWithPriority(reinterpret_cast<cudaStream_t*>(stream),
                                        cudaStreamNonBlocking, greatest);
  }

  CudaResult destroy_stream(StreamHandle stream) override {
    return cudaStreamDestroy(stream_of(stream));
  }

  CudaResult make_event(EventHandle* event) override {
    if (const cudaError_t set = cudaSetDevice(device_); set != cudaSuccess) return set;
    return cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(event), cudaEventDisableTiming);
  }

  CudaResult destroy_event(EventHandle event) override { return cudaEventDestroy(event_of(event)); }

  CudaResult record(EventHandle event, StreamHandle stream) override {
    return cudaEventRecord(event_of(event), stream_of(stream));
  }

  CudaResult make_wait(StreamHandle stream, EventHandle event) override {
    return cudaStreamWaitEvent(stream_of(stream), event_of(event), 0);
  }

  // Also from a thread that has no device yet: it would open GPU 0 beside ours.
  CudaResult passed(EventHandle event, bool* passed) override {
    if (const cudaError_t set = cudaSetDevice(device_); set != cudaSuccess) return set;
    const cudaError_t result = cudaEventQuery(event_of(event));
    *passed = result == cudaSuccess;
    if (result != cudaErrorNotReady) return result;
    cudaGetLastError();  // "not ready" would be taken for another call's error
    return cudaSuccess;
  }

  std::string cuda_text(CudaResult result) override {
    return cudaGetErrorString(static_cast<cudaError_t>(result));
  }

 private:
  int device_;
};

}  // namespace

std::shared_ptr<NcclApi> make_nccl_library(int device) {
  return std::make_shared<NcclLibrary>(device);
}

int nccl_library_version() {
  int version = 0;
  return ncclGetVersion(&version) == ncclSuccess ? version : 0;
}

}  // namespace dagpam::parallel
