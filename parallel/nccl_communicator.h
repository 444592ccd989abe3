// parallel/nccl_communicator.h: the communicator of ranks that have a GPU each.
//
// It is two in one: tensors of the group's device go over NCCL, in stream order and without a host
// wait; CPU tensors, barriers and bytes go over the host communicator that it is made of (MPI), and
// are complete when the call returns or is waited for. So the contract of communicator.h holds for
// both kinds of tensor, and the two kinds may be mixed freely; each kind keeps its own order.
// Device tensors may also be float16 and bfloat16.
//
// A failure of NCCL (nccl_group.h) makes every later call throw, those of CPU tensors too: ranks
// meet on the host once a step at least, so all notice.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "parallel/communicator.h"
#include "parallel/nccl_api.h"
#include "parallel/nccl_job.h"

namespace dagpam::parallel {

// All ranks of `host`, which it takes over, call; each with the library for a GPU of its own, or in
// a test with a fake and any device. NCCL's id goes from rank 0 to the others over `host`. Throws
// CommError on every rank.
std::unique_ptr<Communicator> make_nccl_world(std::unique_ptr<Communicator> host,
                                              std::shared_ptr<NcclApi> api, at::Device device,
                                              const NcclOptions& options);

}  // namespace dagpam::parallel
