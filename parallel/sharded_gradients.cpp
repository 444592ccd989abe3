#include "parallel/sharded_gradients.h"

#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "parallel/bucket_plan.h"
#include "parallel/bucket_schedule.h"
#include "parallel/flat_norm.h"
#include "parallel/reached_hook.h"

namespace dagpam::parallel {
namespace {

// One parameter's place.
struct Slot {
  ParameterPtr parameter;
  size_t bucket = 0;
  int64_t rows = 1, inner = 1;  // elements of a row
  int64_t chunk = 1;            // rows a rank
  int64_t begin = 0;            // in every segment, elements
  bool reached = false;         // since reduce_from_now_on
  bool filled = false;          // its bucket holds this step's gradient so far

  // Rows that rank `rank` owns; the last ranks may have fewer, or none.
  int64_t first_of(int64_t rank) const { return std::min(rank * chunk, rows); }
  int64_t count_of(int64_t rank) const { return std::min(chunk, rows - first_of(rank)); }
};

struct Bucket {
  GradientKind kind = GradientKind::kReplicated;
  at::Tensor whole;        // [R S]: gradients to reduce
  at::Tensor gathered;     // [R S]: values, in the same memory
  at::Tensor own_grads;    // [S]
  at::Tensor own_values;   // [S]
  at::Tensor own_masters;  // [S], of bfloat16 values; else undefined
  WorkPtr gathering;       // values on their way into `whole`
  std::vector<size_t> slots;
};

}  // namespace

struct ShardedGradients::State {
  State(Communicator& data_parallel, Communicator& tensor_parallel, bool overlapping)
      : dp(data_parallel),
        tp(tensor_parallel),
        overlap(overlapping),
        schedule([this](size_t bucket) { return start(bucket); }, overlapping) {}

  void add_bucket(const BucketPlan& plan);
  void make_slices();
  at::Tensor rows_in(const at::Tensor& segments, const Slot& slot, int64_t rank) const;
  void add_in(Slot& slot, const at::Tensor& grad);
  at::Tensor own_rows(const Slot& slot) const;
  void reached(Slot& slot);
  WorkPtr start(size_t bucket) {
    return dp.reduce_scatter_async(buckets[bucket].own_grads, buckets[bucket].whole);
  }
  void start_gathering(size_t bucket, const Rounding& rounding);
  void finish_gathering(size_t bucket);
  void finish_gathering() {
    for (size_t i = buckets.size(); i-- > 0;) finish_gathering(i);
  }

  Communicator& dp;
  Communicator& tp;
  const bool overlap;
  BucketSchedule schedule;
  std::vector<Slot> slots;  // in bucket order
  std::vector<Bucket> buckets;
  std::vector<ParameterSlice> slices;
  ReachedHooks hooks;
};

void ShardedGradients::State::add_bucket(const BucketPlan& plan) {
  int64_t segment = 0;
  std::vector<size_t> members;
  for (const ParameterPtr& member : plan.members) {
    Slot slot;
    slot.parameter = member;
    slot.bucket = buckets.size();
    const at::Tensor& value = member->value;
    slot.rows = value.dim() == 0 ? 1 : value.size(0);
    slot.inner = slot.rows == 0 ? 0 : value.numel() / slot.rows;
    slot.chunk = (slot.rows + dp.size() - 1) / dp.size();
    slot.begin = segment;
    segment += slot.chunk * slot.inner;
    members.push_back(slots.size());
    slots.push_back(std::move(slot));
  }
  const Parameter& one = *plan.members.front();
  const at::TensorOptions values = one.value.options().requires_grad(false);
  const at::TensorOptions sums = values.dtype(sum_type(one));
  Bucket bucket;
  bucket.kind = plan.kind;
  bucket.slots = std::move(members);
  bucket.whole = at::zeros({dp.size() * segment}, sums);
  bucket.gathered = has_master(one)
                        ? bucket.whole.view(at::kBFloat16).narrow(0, 0, dp.size() * segment)
                        : bucket.whole;
  if (has_master(one)) bucket.own_masters = at::zeros({segment}, sums);
  bucket.own_grads = at::zeros({segment}, sums);
  bucket.own_values = at::zeros({segment}, values);
  buckets.push_back(std::move(bucket));
  schedule.add_bucket(plan.members.size());
}

// The rows of `rank` in [S] (own) or [R S] memory: [rows of that rank, inner].
at::Tensor ShardedGradients::State::rows_in(const at::Tensor& segments, const Slot& slot,
                                            int64_t rank) const {
  const int64_t segment = buckets[slot.bucket].own_grads.numel();
  const int64_t base = segments.numel() > segment ? rank * segment : 0;
  const int64_t count = slot.count_of(rank);
  return segments.narrow(0, base + slot.begin, count * slot.inner).view({count, slot.inner});
}

void ShardedGradients::State::make_slices() {
  const int64_t rank = dp.rank();
  for (const Slot& slot : slots) {
    const int64_t count = slot.count_of(rank);
    if (count * slot.inner == 0) continue;
    const Bucket& bucket = buckets[slot.bucket];
    const at::Tensor own = own_rows(slot);
    const at::Tensor value = bucket.own_masters.defined()
                                 ? rows_in(bucket.own_masters, slot, rank).view(own.sizes())
                                 : own;
    slices.push_back({slot.parameter, slot.first_of(rank), value,
                      rows_in(bucket.own_grads, slot, rank).view(own.sizes())});
  }
}

// This rank's rows of the parameter, of its dimensions (a scalar: [1]).
at::Tensor ShardedGradients::State::own_rows(const Slot& slot) const {
  const at::Tensor value = slot.parameter->value.detach();
  return value.dim() == 0 ? value.view({1})
                          : value.narrow(0, slot.first_of(dp.rank()), slot.count_of(dp.rank()));
}

// Into the bucket; an undefined gradient is 0.
void ShardedGradients::State::add_in(Slot& slot, const at::Tensor& grad) {
  finish_gathering(slot.bucket);  // of a parameter that no forward pass has used
  const bool first = !std::exchange(slot.filled, true);
  if (!grad.defined() && !first) return;
  const at::Tensor rows = grad.defined() ? grad.reshape({slot.rows, slot.inner}) : at::Tensor();
  for (int64_t rank = 0; rank < dp.size(); ++rank) {
    const at::Tensor place = rows_in(buckets[slot.bucket].whole, slot, rank);
    if (!grad.defined()) {
      place.zero_();
      continue;
    }
    const at::Tensor part = rows.narrow(0, slot.first_of(rank), slot.count_of(rank));
    first ? place.copy_(part) : place.add_(part);
  }
}

void ShardedGradients::State::reached(Slot& slot) {
  // Before the last micro-batch autograd goes on adding to .grad, where that is of the sums' type.
  if (!schedule.reducing() && !has_master(*slot.parameter)) return;
  const c10::AutoGradMode no_grad(false);
  at::Tensor& grad = slot.parameter->value.mutable_grad();
  add_in(slot, grad);
  grad = at::Tensor();
  if (!schedule.reducing()) return;
  TORCH_CHECK(!slot.reached, "parameter '", slot.parameter->name,
              "' was reached twice in the last micro-batch");
  slot.reached = true;
  schedule.reached(slot.bucket);
}

// The rows that this rank has updated go to the others.
void ShardedGradients::State::start_gathering(size_t index, const Rounding& rounding) {
  Bucket& bucket = buckets[index];
  const int64_t self = dp.rank();
  for (const size_t member : bucket.slots) {
    const Slot& slot = slots[member];
    const at::Tensor own = own_rows(slot);
    if (bucket.own_masters.defined() && own.numel() > 0) {
      round_weights(rows_in(bucket.own_masters, slot, self).view(own.sizes()), own, *slot.parameter,
                    slot.first_of(self), rounding);
    }
    const at::Tensor place = rows_in(bucket.own_values, slot, self);
    place.copy_(own.reshape(place.sizes()));
  }
  bucket.gathering = dp.all_gather_async(bucket.gathered, bucket.own_values);
  if (!overlap) return;
  bucket.gathering->keep_moving();
  for (const size_t member : bucket.slots) {
    slots[member].parameter->arriving = [this, index] { finish_gathering(index); };
  }
}

void ShardedGradients::State::finish_gathering(size_t index) {
  Bucket& bucket = buckets[index];
  if (!bucket.gathering) return;
  std::exchange(bucket.gathering, nullptr)->wait();
  const c10::AutoGradMode no_grad(false);
  for (const size_t member : bucket.slots) {
    const Slot& slot = slots[member];
    slot.parameter->arriving = {};
    const at::Tensor rows = slot.parameter->value.view({slot.rows, slot.inner});
    for (int64_t rank = 0; rank < dp.size(); ++rank) {
      if (rank == dp.rank()) continue;
      rows.narrow(0, slot.first_of(rank), slot.count_of(rank))
          .copy_(rows_in(bucket.gathered, slot, rank));
    }
  }
  if (bucket.own_masters.defined()) bucket.whole.zero_();  // bits of values in gradients' padding
}

ShardedGradients::ShardedGradients(const std::vector<ParameterPtr>& parameters, Communicator& dp,
                                   Communicator& tp, int64_t bucket_bytes, bool overlap)
    : state_(std::make_shared<State>(dp, tp, overlap)) {
  const c10::AutoGradMode no_grad(false);
  for (const BucketPlan& plan : plan_buckets(parameters, tp.size(), bucket_bytes)) {
    state_->add_bucket(plan);
  }
  state_->make_slices();
  for (Slot& slot : state_->slots) {  // the slots stay where they are from here on
    state_->hooks.add(slot.parameter, [state = state_.get(), &slot] { state->reached(slot); });
  }
}

// What is still on its way is waited for, unless an exception ends the job: peers may be gone.
ShardedGradients::~ShardedGradients() {
  for (const Slot& slot : state_->slots) slot.parameter->arriving = {};
  if (std::uncaught_exceptions() > 0) return;
  try {
    state_->finish_gathering();
  } catch (const std::exception&) {  // the communicator's next call says it again
  }
}

void ShardedGradients::begin_step() {
  state_->schedule.begin_step();
  for (Slot& slot : state_->slots) {
    slot.parameter->value.mutable_grad() = at::Tensor();
    slot.filled = false;
  }
}

void ShardedGradients::reduce_from_now_on() {
  state_->schedule.reduce_from_now_on();
  for (Slot& slot : state_->slots) slot.reached = false;
}

void ShardedGradients::finish_step() {
  const c10::AutoGradMode no_grad(false);
  State& s = *state_;
  for (Slot& slot : s.slots) {
    if (slot.reached && s.schedule.reducing()) continue;
    // Reached by an earlier micro-batch alone, or by none.
    at::Tensor& grad = slot.parameter->value.mutable_grad();
    s.add_in(slot, grad);
    grad = at::Tensor();
  }
  s.schedule.finish([&s](size_t bucket) {
    if (s.buckets[bucket].kind == GradientKind::kPartial) {
      s.tp.all_reduce(s.buckets[bucket].own_grads);
    }
  });
}

at::Tensor ShardedGradients::norm() const {
  const c10::AutoGradMode no_grad(false);
  const at::Device device = state_->dp.device();
  at::Tensor squares =
      at::zeros({2}, at::TensorOptions(at::kFloat).device(device));  // of cut parameters, of others
  for (const Bucket& bucket : state_->buckets) {
    const bool cut = bucket.kind == GradientKind::kCut;
    squares.narrow(0, cut ? 0 : 1, 1).add_(flat_norm(bucket.own_grads).square());
  }
  state_->dp.all_reduce(squares);
  at::Tensor cut = squares.narrow(0, 0, 1);
  if (state_->tp.size() > 1) {
    // What is not finite in one rank's copy of a replicated gradient shows in every rank's norm.
    cut.add_(squares.narrow(0, 1, 1).mul(0));
    state_->tp.all_reduce(cut);
  }
  return squares.sum().sqrt();
}

// Last bucket first: it holds the parameters that a forward pass uses first.
void ShardedGradients::finish_update(const Rounding& rounding) {
  const c10::AutoGradMode no_grad(false);
  state_->dp.together([&] {
    for (size_t i = state_->buckets.size(); i-- > 0;) state_->start_gathering(i, rounding);
  });
  if (!state_->overlap) state_->finish_gathering();
}

void ShardedGradients::wait_for_parameters() { state_->finish_gathering(); }

const std::vector<ParameterSlice>& ShardedGradients::slices() const { return state_->slices; }

}  // namespace dagpam::parallel
