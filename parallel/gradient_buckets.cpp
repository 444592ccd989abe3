#include "parallel/gradient_buckets.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "parallel/bucket_plan.h"
#include "parallel/reached_hook.h"

namespace dagpam::parallel {
namespace {

// One parameter's place.
struct Slot {
  ParameterPtr parameter;
  at::Tensor view;  // into its bucket, of the parameter's shape
  size_t bucket = 0;
  bool filled = false;   // .grad is the view and holds this step's gradient so far
  bool counted = false;  // reached since reduce_from_now_on
};

struct Bucket {
  GradientKind kind = GradientKind::kReplicated;
  size_t slots = 0;
  size_t missing = 0;  // slots not yet reached since reduce_from_now_on
  WorkPtr work;        // under way
};

}  // namespace

struct GradientBuckets::State {
  State(Communicator& data_parallel, Communicator& tensor_parallel)
      : dp(data_parallel), tp(tensor_parallel) {}

  void add_bucket(const BucketPlan& plan);
  void reached(Slot& slot);
  void start_full_buckets();
  void start(size_t bucket);

  Communicator& dp;
  Communicator& tp;
  std::vector<Slot> slots;  // in bucket order
  std::vector<Bucket> buckets;
  std::vector<at::Tensor> flat;  // by bucket
  std::vector<ParameterSlice> slices;
  bool overlap = true, reducing = false;
  size_t started = 0;  // buckets [0, started) are under way: every rank starts them in this order
};

void GradientBuckets::State::add_bucket(const BucketPlan& plan) {
  int64_t elements = 0;
  for (const ParameterPtr& member : plan.members) {
    elements += member->value.numel();
  }
  const at::Tensor bucket =
      at::zeros({elements}, plan.members.front()->value.options().requires_grad(false));
  int64_t begin = 0;
  for (const ParameterPtr& member : plan.members) {
    const int64_t n = member->value.numel();
    slots.push_back({.parameter = member,
                     .view = bucket.narrow(0, begin, n).view(member->value.sizes()),
                     .bucket = buckets.size()});
    if (n > 0) slices.push_back({member, 0, member->value.detach(), slots.back().view});
    begin += n;
  }
  const size_t members = plan.members.size();
  flat.push_back(bucket);
  buckets.push_back({.kind = plan.kind, .slots = members, .missing = members, .work = nullptr});
}

void GradientBuckets::State::reached(Slot& slot) {
  at::Tensor& grad = slot.parameter->value.mutable_grad();
  if (!slot.filled) {
    const c10::AutoGradMode no_grad(false);
    slot.view.copy_(grad);
    grad = slot.view;
    slot.filled = true;
  }
  TORCH_CHECK(grad.is_same(slot.view), "the gradient of parameter '", slot.parameter->name,
              "' has left its bucket: gradients of gradients are not supported here");
  if (!reducing || !overlap || dp.size() == 1) {
    return;
  }
  TORCH_CHECK(!slot.counted, "parameter '", slot.parameter->name,
              "' was reached twice in the last micro-batch: its sum may be under way");
  slot.counted = true;
  --buckets[slot.bucket].missing;
  start_full_buckets();
  for (size_t i = 0; i < started; ++i) {
    buckets[i].work->make_progress();
  }
}

void GradientBuckets::State::start_full_buckets() {
  while (started < buckets.size() && buckets[started].missing == 0) {
    start(started);
  }
}

void GradientBuckets::State::start(size_t bucket) {
  buckets[bucket].work = dp.all_reduce_async(flat[bucket]);
  started = bucket + 1;
}

GradientBuckets::GradientBuckets(const std::vector<ParameterPtr>& parameters, Communicator& dp,
                                 Communicator& tp, int64_t bucket_bytes, bool overlap)
    : state_(std::make_shared<State>(dp, tp)) {
  state_->overlap = overlap;
  const c10::AutoGradMode no_grad(false);
  for (const BucketPlan& plan : plan_buckets(parameters, tp.size(), bucket_bytes)) {
    state_->add_bucket(plan);
  }
  for (Slot& slot : state_->slots) {  // the slots stay where they are from here on
    hook_gradient(*slot.parameter, [state = state_.get(), &slot] { state->reached(slot); });
  }
}

GradientBuckets::~GradientBuckets() {
  for (const Slot& slot : state_->slots) hook_gradient(*slot.parameter, {});
}

void GradientBuckets::begin_step() {
  TORCH_CHECK(state_->started == 0, "a step begins before the last one's gradients were reduced");
  state_->reducing = false;
  for (Slot& slot : state_->slots) {
    slot.parameter->value.mutable_grad() = at::Tensor();
    slot.filled = false;
  }
}

void GradientBuckets::reduce_from_now_on() {
  TORCH_CHECK(!state_->reducing, "reduce_from_now_on is called once a step");
  state_->reducing = true;
  for (Slot& slot : state_->slots) {
    slot.counted = false;
  }
  for (Bucket& bucket : state_->buckets) {
    bucket.missing = bucket.slots;
  }
}

void GradientBuckets::finish_step() {
  const c10::AutoGradMode no_grad(false);
  for (Slot& slot : state_->slots) {
    if (!slot.filled) {
      slot.view.zero_();
      slot.parameter->value.mutable_grad() = slot.view;
      slot.filled = true;
    }
  }
  if (state_->dp.size() > 1) {
    while (state_->started < state_->buckets.size()) {
      state_->start(state_->started);
    }
    for (Bucket& bucket : state_->buckets) {
      bucket.work->wait();
      bucket.work.reset();
    }
  }
  for (size_t i = 0; i < state_->buckets.size(); ++i) {
    if (state_->buckets[i].kind == GradientKind::kPartial) state_->tp.all_reduce(state_->flat[i]);
  }
  state_->started = 0;
  state_->reducing = false;
}

at::Tensor GradientBuckets::norm() const {
  const c10::AutoGradMode no_grad(false);
  std::vector<at::Tensor> cut, whole;  // norms of buckets
  for (size_t i = 0; i < state_->buckets.size(); ++i) {
    const bool is_cut = state_->buckets[i].kind == GradientKind::kCut;
    (is_cut ? cut : whole).push_back(at::linalg_vector_norm(state_->flat[i]));
  }
  if (!cut.empty()) {
    at::Tensor squares = at::stack(cut).square().sum().reshape({1});
    // What is not finite in one rank's copy of a replicated gradient shows in every rank's norm.
    if (!whole.empty()) squares.add_(at::stack(whole).sum().mul(0));
    state_->tp.all_reduce(squares);
    whole.push_back(squares.sqrt().reshape({}));
  }
  return whole.size() == 1 ? whole.front() : at::linalg_vector_norm(at::stack(whole));
}

const std::vector<ParameterSlice>& GradientBuckets::slices() const { return state_->slices; }

const std::vector<at::Tensor>& GradientBuckets::flat() const { return state_->flat; }

}  // namespace dagpam::parallel
