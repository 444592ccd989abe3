#include "parallel/gradient_buckets.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "parallel/bucket_plan.h"
#include "parallel/bucket_schedule.h"
#include "parallel/conversions.h"
#include "parallel/flat_norm.h"
#include "parallel/reached_hook.h"
#include "parallel/shared_tensors.h"

namespace dagpam::parallel {
namespace {

// One parameter's place.
struct Slot {
  ParameterPtr parameter;
  GradientSum gradient;  // a view into its bucket, of the parameter's shape
  size_t bucket = 0;
  bool held = false;     // .grad is gradient.sum
  bool counted = false;  // reached since reduce_from_now_on
  at::Tensor pending{};  // a gradient of another type that has still to join the sum
  bool adds = false;     // to what the sum holds; else it replaces that
};

}  // namespace

struct GradientBuckets::State {
  State(Communicator& data_parallel, Communicator& tensor_parallel, bool overlap)
      : dp(data_parallel),
        tp(tensor_parallel),
        counting(overlap && dp.size() > 1),
        schedule([this](size_t bucket) { return start(bucket); }, overlap) {}

  void add_bucket(const BucketPlan& plan);
  void reached(Slot& slot);
  bool put_off(Slot& slot);
  void join(size_t bucket);
  WorkPtr start(size_t bucket) {
    join(bucket);
    return dp.size() == 1 ? nullptr : dp.all_reduce_async(flat[bucket]);
  }

  Communicator& dp;
  Communicator& tp;
  const bool counting;  // buckets start when they are full
  BucketSchedule schedule;
  std::vector<Slot> slots;          // in bucket order
  std::vector<GradientKind> kinds;  // by bucket
  std::vector<at::Tensor> flat;     // by bucket
  struct Members {
    size_t first = 0, count = 0, pending = 0;  // slots
  };
  std::vector<Members> members;  // by bucket
  bool masters = false;          // parameters are bfloat16
  std::vector<ParameterSlice> slices;
  ReachedHooks hooks;
};

void GradientBuckets::State::add_bucket(const BucketPlan& plan) {
  int64_t elements = 0;
  for (const ParameterPtr& member : plan.members) {
    elements += member->value.numel();
  }
  const Parameter& one = *plan.members.front();
  const at::Tensor bucket =
      one.value.is_cpu()
          ? zeros_to_sum(dp, elements, sum_type(one))
          : at::zeros({elements}, one.value.options().dtype(sum_type(one)).requires_grad(false));
  // Views of one tensor keep a bucket's masters together.
  const at::Tensor master = has_master(one) ? at::zeros_like(bucket) : at::Tensor();
  int64_t begin = 0;
  for (const ParameterPtr& member : plan.members) {
    const int64_t n = member->value.numel();
    slots.push_back({.parameter = member,
                     .gradient = {bucket.narrow(0, begin, n).view(member->value.sizes())},
                     .bucket = kinds.size()});
    const at::Tensor value = master.defined()
                                 ? master.narrow(0, begin, n).view(member->value.sizes())
                                 : member->value.detach();
    if (n > 0) slices.push_back({member, 0, value, slots.back().gradient.sum});
    begin += n;
  }
  members.push_back({slots.size() - plan.members.size(), plan.members.size()});
  masters = masters || master.defined();
  flat.push_back(bucket);
  kinds.push_back(plan.kind);
  schedule.add_bucket(plan.members.size());
}

// On a GPU a bucket's gradients of another type join it together, when it has them all: false where
// this one must at once.
bool GradientBuckets::State::put_off(Slot& slot) {
  at::Tensor& grad = slot.parameter->value.mutable_grad();
  if (!grad.defined()) return false;
  if (slot.pending.defined()) join(slot.bucket);  // of an earlier micro-batch
  if (!converts_together(grad, slot.gradient.sum)) return false;
  slot.pending = std::exchange(grad, at::Tensor());
  slot.adds = std::exchange(slot.gradient.begun, true);
  Members& all = members[slot.bucket];
  if (++all.pending == all.count) join(slot.bucket);
  return true;
}

void GradientBuckets::State::join(size_t bucket) {
  Members& all = members[bucket];
  if (all.pending == 0) return;
  std::vector<Conversion> conversions;
  for (size_t i = all.first; i < all.first + all.count; ++i) {
    Slot& slot = slots[i];
    if (!slot.pending.defined()) continue;
    conversions.push_back(
        {std::exchange(slot.pending, at::Tensor()), slot.gradient.sum, slot.adds});
  }
  all.pending = 0;
  convert(conversions);
}

// What layers have added to the bucket themselves is there; what autograd has accumulated joins it,
// and from then on autograd accumulates there too.
void GradientBuckets::State::reached(Slot& slot) {
  at::Tensor& grad = slot.parameter->value.mutable_grad();
  const c10::AutoGradMode no_grad(false);
  const bool apart = has_master(*slot.parameter);  // of another type than the bucket
  auto& [sum, begun] = slot.gradient;
  TORCH_CHECK(!slot.held || grad.is_same(sum), "the gradient of parameter '", slot.parameter->name,
              "' has left its bucket: gradients of gradients are not supported here");
  const bool later = apart && put_off(slot);
  if (!later && !grad.defined()) {
    if (!begun) sum.zero_();
  } else if (!later && !grad.is_same(sum)) {
    begun ? sum.add_(grad) : sum.copy_(grad);
  }
  begun = true;
  grad = apart ? at::Tensor() : sum;
  slot.held = !apart;
  if (!schedule.reducing() || !counting) return;
  TORCH_CHECK(!slot.counted, "parameter '", slot.parameter->name,
              "' was reached twice in the last micro-batch: its sum may be under way");
  slot.counted = true;
  schedule.reached(slot.bucket);
}

GradientBuckets::GradientBuckets(const std::vector<ParameterPtr>& parameters, Communicator& dp,
                                 Communicator& tp, int64_t bucket_bytes, bool overlap)
    : state_(std::make_shared<State>(dp, tp, overlap)) {
  const c10::AutoGradMode no_grad(false);
  for (const BucketPlan& plan : plan_buckets(parameters, tp.size(), bucket_bytes)) {
    state_->add_bucket(plan);
  }
  for (Slot& slot : state_->slots) {  // the slots stay where they are from here on
    state_->hooks.add(
        slot.parameter, [state = state_.get(), &slot] { state->reached(slot); },
        has_master(*slot.parameter) ? nullptr : &slot.gradient);
  }
}

GradientBuckets::~GradientBuckets() = default;

void GradientBuckets::begin_step() {
  state_->schedule.begin_step();
  for (State::Members& all : state_->members) all.pending = 0;
  for (Slot& slot : state_->slots) {
    slot.parameter->value.mutable_grad() = at::Tensor();
    slot.gradient.begun = slot.held = false;
    slot.pending = at::Tensor();
  }
}

void GradientBuckets::reduce_from_now_on() {
  state_->schedule.reduce_from_now_on();
  for (Slot& slot : state_->slots) slot.counted = false;
}

void GradientBuckets::finish_step() {
  const c10::AutoGradMode no_grad(false);
  State& s = *state_;
  for (Slot& slot : s.slots) {
    auto& [sum, begun] = slot.gradient;
    if (begun) continue;
    sum.zero_();
    if (!has_master(*slot.parameter)) slot.parameter->value.mutable_grad() = sum;
    slot.held = !has_master(*slot.parameter);
    begun = true;
  }
  s.schedule.finish([](size_t) {});
  for (size_t i = 0; i < s.flat.size(); ++i) {
    if (s.kinds[i] == GradientKind::kPartial) s.tp.all_reduce(s.flat[i]);
  }
}

at::Tensor GradientBuckets::norm() const {
  const c10::AutoGradMode no_grad(false);
  const std::vector<at::Tensor> norms = flat_norms(state_->flat);
  std::vector<at::Tensor> cut, whole;  // of buckets
  for (size_t i = 0; i < state_->flat.size(); ++i) {
    const bool is_cut = state_->kinds[i] == GradientKind::kCut;
    (is_cut ? cut : whole).push_back(norms[i]);
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

void GradientBuckets::finish_update(const Rounding& rounding) {
  if (!state_->masters) return;
  std::vector<Conversion> nearest;
  for (const ParameterSlice& slice : state_->slices) {
    if (!rounding.stochastic && converts_together(slice.value, slice.parameter->value)) {
      nearest.push_back({slice.value, slice.parameter->value});
    } else {
      round_weights(slice.value, slice.parameter->value, *slice.parameter, 0, rounding);
    }
  }
  convert(nearest);
}

const std::vector<ParameterSlice>& GradientBuckets::slices() const { return state_->slices; }

const std::vector<at::Tensor>& GradientBuckets::flat() const { return state_->flat; }

}  // namespace dagpam::parallel
