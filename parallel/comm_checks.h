// parallel/comm_checks.h: what every backend asks of its arguments, and how every backend words a
// failure. All checks throw c10::Error, before anything is sent.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "parallel/communicator.h"

namespace dagpam::parallel {

// One call of a rank, as errors name it.
struct CommCall {
  int rank = 0;
  int size = 1;
  std::string group;       // Communicator::name()
  std::string collective;  // with its arguments, e.g. "all_reduce sum Float [3, 4]"
  int64_t sequence = 0;    // how many calls this communicator had before
};

// "rank 1 of 'mpi world' (2 ranks), call 17, all_reduce sum Float [3, 4]: MPI_Testall(...): text"
std::string comm_failure(const CommCall& call, const std::string& expression,
                         const std::string& text);

// The text of an overdue call.
std::string overdue(std::chrono::milliseconds timeout);

const char* name_of(ReduceOp op);

// "Float [3, 4]"
std::string describe(const at::Tensor& t);

// Of that kind of device, contiguous, one of the dtypes of communicator.h.
void check_tensor(const char* collective, const at::Tensor& t, at::DeviceType device = at::kCPU);

// One of them that can be reduced too.
void check_reduced(const char* collective, const at::Tensor& t);

// all_gather's out and in (or reduce_scatter's in and out): same dtype, whole = [size * n, ...] for
// part = [n, ...]. A part without dimensions counts as [1].
void check_whole_and_part(const char* collective, const at::Tensor& whole, const at::Tensor& part,
                          int size, at::DeviceType device = at::kCPU);

// Root, sender or receiver in [0, size).
void check_rank(const char* collective, int rank, int size);

void count_call(CommCounts::Op& op, const at::Tensor& t);

}  // namespace dagpam::parallel
