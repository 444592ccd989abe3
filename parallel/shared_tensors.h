// parallel/shared_tensors.h: tensors in memory that all ranks of a group on one node have mapped.
//
// An all-reduce of such a tensor, or of a contiguous part of it, copies nothing: each rank sums its
// share of all ranks' tensors and writes it into all of them (shared_transfer.h). Apart from that
// they are tensors like others, each rank's its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/communicator.h"

namespace dagpam::parallel {

// What communicators are that can make them.
class SharesTensors {
 public:
  virtual ~SharesTensors() = default;
  // [elements], zeros; undefined, on all ranks, where it cannot be had. A collective.
  virtual at::Tensor shared_zeros(int64_t elements, at::ScalarType type) = 0;
  virtual bool shares_memory() const = 0;
};

// Whether collectives of `group` may go through memory of the node.
bool shares_memory(const Communicator& group);

// Zeros [elements] on group.device(), shared where they can be: for what `group` will sum often. A
// collective, with the same arguments on all ranks. The memory lasts as long as the group and the
// tensor. Throws CommError.
at::Tensor zeros_to_sum(Communicator& group, int64_t elements, at::ScalarType type);

}  // namespace dagpam::parallel
