// parallel/gradient_buckets.h: gradients in flat buckets, summed over the data-parallel group while
// backward is still running.
//
// Buckets hold the parameters in reverse order of declaration (the order in which backward reaches
// them). Each parameter's .grad is a view into its bucket, once backward has reached it; that of a
// bfloat16 parameter is added to its float32 place in the bucket and let go of (on a GPU with those
// of the whole bucket, by one launch). When the last gradient of a bucket has been accumulated in
// the last micro-batch of a step, and all buckets before it have started, the bucket's all-reduce
// starts (Li et al. 2020, "PyTorch Distributed", without the averaging). The first bucket is small,
// so that the first all-reduce starts early. In a group of one rank nothing is reduced.
//
// In a tensor-parallel group a bucket holds parameters of one kind: those that are cut, replicated
// ones, and replicated ones whose gradient each rank knows only a part of. The last are summed over
// that group too, once a step; the norm counts every parameter once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/gradient_reducer.h"

namespace dagpam::parallel {

class GradientBuckets : public GradientReducer {
 public:
  // The communicators must outlive this. bucket_bytes > 0: about how much one all-reduce carries (a
  // larger parameter has a bucket of its own). Throws c10::Error for parameters that are not
  // leaves that require a gradient. All ranks of `dp` call (shared_tensors.h). Without `overlap`
  // reductions start in finish_step.
  GradientBuckets(const std::vector<ParameterPtr>& parameters, Communicator& dp, Communicator& tp,
                  int64_t bucket_bytes, bool overlap = true);
  ~GradientBuckets() override;
  GradientBuckets(const GradientBuckets&) = delete;
  GradientBuckets& operator=(const GradientBuckets&) = delete;

  void begin_step() override;
  void reduce_from_now_on() override;
  void finish_step() override;
  at::Tensor norm() const override;
  void finish_update(const Rounding& rounding) override;
  void wait_for_parameters() override {}
  const std::vector<ParameterSlice>& slices() const override;

  // The flat buckets, float32 where parameters are bfloat16. Each parameter once, no padding
  // between. Their content is that of the last finish_step, from there until the next backward.
  const std::vector<at::Tensor>& flat() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace dagpam::parallel
