// parallel/nccl_api.h: the few calls of NCCL and of the CUDA runtime that the communicator makes,
// behind a table, so that its state machine is provable without a GPU: nccl_library.cpp fills the
// table with the library, tests with a scripted fake.
//
// Every function returns NCCL's (ncclResult_t) or CUDA's (cudaError_t) own number. Those of NCCL
// are of non-blocking communicators: kNcclInProgress says that the call itself is not yet done, and
// state() must be asked until it answers something else. Calls on one communicator come one at a
// time.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "parallel/communicator.h"

namespace dagpam::parallel {

using NcclResult = int;
inline constexpr NcclResult kNcclSuccess = 0;     // ncclSuccess
inline constexpr NcclResult kNcclInProgress = 7;  // ncclInProgress

using CudaResult = int;
inline constexpr CudaResult kCudaSuccess = 0;

// Handles, owned by whoever made them.
using NcclHandle = void*;    // ncclComm_t
using StreamHandle = void*;  // cudaStream_t; null is a stream too
using EventHandle = void*;   // cudaEvent_t

using NcclId = std::array<char, 128>;  // ncclUniqueId

// What a collective reads and writes: `count` elements, never bytes, of what NCCL calls count:
// of all_gather what a rank gives, of reduce_scatter what a rank gets.
struct NcclBuffers {
  const void* in = nullptr;
  void* out = nullptr;
  size_t count = 0;
  at::ScalarType type = at::kFloat;
};

class NcclApi {
 public:
  virtual ~NcclApi() = default;

  virtual int version() = 0;  // as NCCL_VERSION_CODE: 22809 is 2.28.9
  virtual NcclResult make_id(NcclId* id) = 0;
  // init sets `comm` before it returns, split when the new communicator is whole: null until then.
  virtual NcclResult init(NcclHandle* comm, int ranks, const NcclId& id, int rank) = 0;
  virtual NcclResult split(NcclHandle parent, int colour, int key, NcclHandle* comm) = 0;
  // `state`: of the last call, or of the work under way (ncclCommGetAsyncError).
  virtual NcclResult state(NcclHandle comm, NcclResult* state) = 0;
  virtual NcclResult finalize(NcclHandle comm) = 0;
  virtual NcclResult destroy(NcclHandle comm) = 0;  // after finalize is done
  // Stops work under way and frees the communicator; from any thread.
  virtual NcclResult abort(NcclHandle comm) = 0;

  virtual NcclResult group_start() = 0;
  virtual NcclResult group_end() = 0;
  virtual NcclResult all_reduce(const NcclBuffers& buffers, ReduceOp op, NcclHandle comm,
                                StreamHandle stream) = 0;
  virtual NcclResult all_gather(const NcclBuffers& buffers, NcclHandle comm,
                                StreamHandle stream) = 0;
  virtual NcclResult reduce_scatter(const NcclBuffers& buffers, NcclHandle comm,
                                    StreamHandle stream) = 0;
  virtual NcclResult broadcast(const NcclBuffers& buffers, int root, NcclHandle comm,
                               StreamHandle stream) = 0;
  virtual NcclResult send(const NcclBuffers& buffers, int to, NcclHandle comm,
                          StreamHandle stream) = 0;
  virtual NcclResult recv(const NcclBuffers& buffers, int from, NcclHandle comm,
                          StreamHandle stream) = 0;
  // NCCL's words for a result, with its last error; `comm` may be null.
  virtual std::string nccl_text(NcclResult result, NcclHandle comm) = 0;

  virtual CudaResult current_stream(StreamHandle* stream) = 0;  // of the calling thread
  virtual CudaResult make_stream(StreamHandle* stream) = 0;     // of high priority
  virtual CudaResult destroy_stream(StreamHandle stream) = 0;
  virtual CudaResult make_event(EventHandle* event) = 0;  // without a time
  virtual CudaResult destroy_event(EventHandle event) = 0;
  virtual CudaResult record(EventHandle event, StreamHandle stream) = 0;
  virtual CudaResult make_wait(StreamHandle stream, EventHandle event) = 0;  // no host wait
  virtual CudaResult passed(EventHandle event, bool* passed) = 0;            // from any thread
  virtual std::string cuda_text(CudaResult result) = 0;
};

// The library, for one GPU of this process. Throws CommError in a build without CUDA.
std::shared_ptr<NcclApi> make_nccl_library(int device);

// Of the loaded library, as NcclApi::version(); 0 in a build without CUDA.
int nccl_library_version();

}  // namespace dagpam::parallel
