// parallel/sharded_gradients.h: gradients whose sums, and with them the optimizer's state and work,
// are shared out over the data-parallel group (ZeRO stage 1, Rajbhandari et al. 2020).
//
// Of each parameter, rank r of R owns the rows [r c, (r + 1) c) of its first dimension, c =
// ceil(rows / R): a box, as checkpoints store them. A bucket in memory is R segments, one a rank,
// each with that rank's rows of all members one after the other (missing rows are zero padding). In
// the last micro-batch's backward each gradient is copied there and let go of; when a bucket is
// full and all before it have started, it is reduce-scattered. After the update the new rows are
// gathered; with overlap a bucket is waited for right before the first use of a parameter of it in
// the next forward.
//
// Legend: R ranks of the data-parallel group, S elements of a segment.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/gradient_reducer.h"

namespace dagpam::parallel {

class ShardedGradients : public GradientReducer {
 public:
  // As GradientBuckets (gradient_buckets.h).
  ShardedGradients(const std::vector<ParameterPtr>& parameters, Communicator& dp, Communicator& tp,
                   int64_t bucket_bytes, bool overlap = true);
  ~ShardedGradients() override;
  ShardedGradients(const ShardedGradients&) = delete;
  ShardedGradients& operator=(const ShardedGradients&) = delete;

  void begin_step() override;
  void reduce_from_now_on() override;
  void finish_step() override;
  at::Tensor norm() const override;
  void finish_update(const Rounding& rounding) override;
  void wait_for_parameters() override;
  const std::vector<ParameterSlice>& slices() const override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace dagpam::parallel
