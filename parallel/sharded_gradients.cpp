#include "parallel/sharded_gradients.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "parallel/bucket_plan.h"
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

  // Rows that rank `rank` owns; the last ranks may have fewer, or none.
  int64_t first_of(int64_t rank) const { return std::min(rank * chunk, rows); }
  int64_t count_of(int64_t rank) const { return std::min(chunk, rows - first_of(rank)); }
};

struct Bucket {
  GradientKind kind = GradientKind::kReplicated;
  size_t slots = 0, missing = 0;     // slots not yet reached
  at::Tensor whole;                  // [R S]: gradients to reduce, then values gathered
  at::Tensor own_grads, own_values;  // [S]
  WorkPtr work;                      // under way
};

}  // namespace

struct ShardedGradients::State {
  State(Communicator& data_parallel, Communicator& tensor_parallel)
      : dp(data_parallel), tp(tensor_parallel) {}

  void add_bucket(const BucketPlan& plan);
  void make_slices();
  at::Tensor rows_in(const at::Tensor& segments, const Slot& slot, int64_t rank) const;
  void copy_in(const Slot& slot, const at::Tensor& grad);
  void reached(Slot& slot);
  void start_next();

  Communicator& dp;
  Communicator& tp;
  std::vector<Slot> slots;  // in bucket order
  std::vector<Bucket> buckets;
  std::vector<ParameterSlice> slices;
  bool overlap = true, reducing = false;
  size_t started = 0;  // buckets [0, started) are under way: every rank starts them in this order
};

void ShardedGradients::State::add_bucket(const BucketPlan& plan) {
  int64_t segment = 0;
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
    slots.push_back(std::move(slot));
  }
  const auto options = plan.members.front()->value.options().requires_grad(false);
  Bucket bucket;
  bucket.kind = plan.kind;
  bucket.slots = bucket.missing = plan.members.size();
  bucket.whole = at::zeros({dp.size() * segment}, options);
  bucket.own_grads = at::zeros({segment}, options);
  bucket.own_values = at::zeros({segment}, options);
  buckets.push_back(std::move(bucket));
}

// The rows of `rank` in [S] (own, segment 0) or [R S] memory: [rows of that rank, inner].
at::Tensor ShardedGradients::State::rows_in(const at::Tensor& segments, const Slot& slot,
                                            int64_t rank) const {
  const Bucket& bucket = buckets[slot.bucket];
  const bool is_whole = segments.is_same(bucket.whole);
  const int64_t base = is_whole ? rank * bucket.own_grads.numel() : 0;
  const int64_t count = slot.count_of(rank);
  return segments.narrow(0, base + slot.begin, count * slot.inner).view({count, slot.inner});
}

void ShardedGradients::State::make_slices() {
  const int64_t rank = dp.rank();
  for (const Slot& slot : slots) {
    const int64_t count = slot.count_of(rank);
    if (count * slot.inner == 0) continue;
    const at::Tensor value = slot.parameter->value.detach();
    const at::Tensor own =
        value.dim() == 0 ? value.view({1}) : value.narrow(0, slot.first_of(rank), count);
    slices.push_back({slot.parameter, slot.first_of(rank), own,
                      rows_in(buckets[slot.bucket].own_grads, slot, rank).view(own.sizes())});
  }
}

void ShardedGradients::State::copy_in(const Slot& slot, const at::Tensor& grad) {
  const at::Tensor rows = grad.reshape({slot.rows, slot.inner});
  for (int64_t rank = 0; rank < dp.size(); ++rank) {
    rows_in(buckets[slot.bucket].whole, slot, rank)
        .copy_(rows.narrow(0, slot.first_of(rank), slot.count_of(rank)));
  }
}

void ShardedGradients::State::reached(Slot& slot) {
  if (!reducing) return;  // autograd goes on adding to .grad
  TORCH_CHECK(!slot.reached, "parameter '", slot.parameter->name,
              "' was reached twice in the last micro-batch");
  const c10::AutoGradMode no_grad(false);
  at::Tensor& grad = slot.parameter->value.mutable_grad();
  copy_in(slot, grad);
  grad = at::Tensor();
  slot.reached = true;
  --buckets[slot.bucket].missing;
  if (!overlap) return;
  while (started < buckets.size() && buckets[started].missing == 0) start_next();
  for (size_t i = 0; i < started; ++i) buckets[i].work->make_progress();
}

void ShardedGradients::State::start_next() {
  Bucket& bucket = buckets[started];
  bucket.work = dp.reduce_scatter_async(bucket.own_grads, bucket.whole);
  ++started;
}

ShardedGradients::ShardedGradients(const std::vector<ParameterPtr>& parameters, Communicator& dp,
                                   Communicator& tp, int64_t bucket_bytes, bool overlap)
    : state_(std::make_shared<State>(dp, tp)) {
  state_->overlap = overlap;
  const c10::AutoGradMode no_grad(false);
  for (const BucketPlan& plan : plan_buckets(parameters, tp.size(), bucket_bytes)) {
    state_->add_bucket(plan);
  }
  state_->make_slices();
  for (Slot& slot : state_->slots) {  // the slots stay where they are from here on
    hook_gradient(*slot.parameter, [state = state_.get(), &slot] { state->reached(slot); });
  }
}

ShardedGradients::~ShardedGradients() {
  for (const Slot& slot : state_->slots) hook_gradient(*slot.parameter, {});
}

void ShardedGradients::begin_step() {
  TORCH_CHECK(state_->started == 0, "a step begins before the last one's gradients were reduced");
  state_->reducing = false;
  for (Slot& slot : state_->slots) slot.parameter->value.mutable_grad() = at::Tensor();
}

void ShardedGradients::reduce_from_now_on() {
  TORCH_CHECK(!state_->reducing, "reduce_from_now_on is called once a step");
  state_->reducing = true;
  for (Slot& slot : state_->slots) slot.reached = false;
  for (Bucket& bucket : state_->buckets) bucket.missing = bucket.slots;
}

void ShardedGradients::finish_step() {
  const c10::AutoGradMode no_grad(false);
  for (Slot& slot : state_->slots) {
    if (slot.reached && state_->reducing) continue;
    // Reached by an earlier micro-batch alone, or by none.
    at::Tensor& grad = slot.parameter->value.mutable_grad();
    state_->copy_in(slot, grad.defined() ? grad : at::zeros_like(slot.parameter->value));
    grad = at::Tensor();
  }
  while (state_->started < state_->buckets.size()) state_->start_next();
  for (Bucket& bucket : state_->buckets) {
    bucket.work->wait();
    bucket.work.reset();
    if (bucket.kind == GradientKind::kPartial) state_->tp.all_reduce(bucket.own_grads);
  }
  state_->started = 0;
  state_->reducing = false;
}

at::Tensor ShardedGradients::norm() const {
  const c10::AutoGradMode no_grad(false);
  const at::Device device = state_->dp.device();
  at::Tensor squares =
      at::zeros({2}, at::TensorOptions(at::kFloat).device(device));  // of cut parameters, of others
  for (const Bucket& bucket : state_->buckets) {
    const bool cut = bucket.kind == GradientKind::kCut;
    squares.narrow(0, cut ? 0 : 1, 1).add_(at::linalg_vector_norm(bucket.own_grads).square());
  }
  state_->dp.all_reduce(squares);
  at::Tensor cut = squares.narrow(0, 0, 1);
  if (state_->tp.size() > 1) state_->tp.all_reduce(cut);
  return squares.sum().sqrt();
}

void ShardedGradients::finish_update() {
  const c10::AutoGradMode no_grad(false);
  State& s = *state_;
  const int64_t self = s.dp.rank();
  for (const Slot& slot : s.slots) {
    const at::Tensor rows = slot.parameter->value.view({slot.rows, slot.inner});
    s.rows_in(s.buckets[slot.bucket].own_values, slot, self)
        .copy_(rows.narrow(0, slot.first_of(self), slot.count_of(self)));
  }
  s.dp.together([&] {
    for (Bucket& bucket : s.buckets) {
      bucket.work = s.dp.all_gather_async(bucket.whole, bucket.own_values);
    }
  });
  for (Bucket& bucket : s.buckets) {
    bucket.work->wait();
    bucket.work.reset();
  }
  for (const Slot& slot : s.slots) {
    const at::Tensor rows = slot.parameter->value.view({slot.rows, slot.inner});
    for (int64_t rank = 0; rank < s.dp.size(); ++rank) {
      if (rank == self) continue;
      rows.narrow(0, slot.first_of(rank), slot.count_of(rank))
          .copy_(s.rows_in(s.buckets[slot.bucket].whole, slot, rank));
    }
  }
}

const std::vector<ParameterSlice>& ShardedGradients::slices() const { return state_->slices; }

}  // namespace dagpam::parallel
