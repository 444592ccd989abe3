#include "parallel/gradient_buckets.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace dagpam::parallel {
namespace {

constexpr int64_t kFirstBucketBytes = int64_t{1} << 20;

int64_t bytes_of(const at::Tensor& t) { return static_cast<int64_t>(t.nbytes()); }

// One parameter's place.
struct Slot {
  ParameterPtr parameter;
  at::Tensor view;  // into its bucket, of the parameter's shape
  size_t bucket = 0;
  bool filled = false;   // .grad is the view and holds this step's gradient so far
  bool counted = false;  // reached since reduce_from_now_on
};

// Which ranks of the tensor-parallel group know what of a parameter's gradient.
enum class Kind { kCut, kReplicated, kPartial };

struct Bucket {
  Kind kind = Kind::kReplicated;
  size_t slots = 0;
  size_t missing = 0;  // slots not yet reached since reduce_from_now_on
  WorkPtr work;        // under way
};

}  // namespace

struct GradientBuckets::State {
  State(Communicator& data_parallel, Communicator& tensor_parallel, int64_t limit)
      : dp(data_parallel), tp(tensor_parallel), bucket_bytes(limit) {}

  Kind kind_of(const Parameter& parameter) const;
  void lay_out(const std::vector<ParameterPtr>& parameters);
  void add_bucket(Kind kind, const std::vector<ParameterPtr>& members);
  void reached(Slot& slot);
  void start_full_buckets();
  void start(size_t bucket);

  Communicator& dp;
  Communicator& tp;
  int64_t bucket_bytes;
  std::vector<Slot> slots;  // in bucket order
  std::vector<Bucket> buckets;
  std::vector<at::Tensor> flat;  // by bucket
  bool reducing = false;
  size_t started = 0;  // buckets [0, started) are under way: every rank starts them in this order
};

namespace {

// What autograd calls after it has accumulated into a parameter's .grad.
class ReachedHook : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit ReachedHook(std::function<void()> reached) : reached_(std::move(reached)) {}
  void operator()(const torch::autograd::Variable&) override { reached_(); }

 private:
  std::function<void()> reached_;
};

}  // namespace

Kind GradientBuckets::State::kind_of(const Parameter& parameter) const {
  if (tp.size() == 1) return Kind::kReplicated;
  if (parameter.shard.cut_dim >= 0) return Kind::kCut;
  return parameter.partial_gradient ? Kind::kPartial : Kind::kReplicated;
}

void GradientBuckets::State::lay_out(const std::vector<ParameterPtr>& parameters) {
  struct Open {
    std::vector<ParameterPtr> members;
    int64_t bytes = 0;
  };
  std::array<Open, 3> open;  // by kind
  const auto close = [&](Kind kind) {
    Open& bucket = open[static_cast<size_t>(kind)];
    if (!bucket.members.empty()) add_bucket(kind, bucket.members);
    bucket = {};
  };
  for (auto next = parameters.rbegin(); next != parameters.rend(); ++next) {
    const at::Tensor& value = (*next)->value;
    TORCH_CHECK(value.device().is_cpu() && value.is_leaf() && value.requires_grad(),
                "gradient buckets: parameter '", (*next)->name, "' on ", value.device(),
                " is not a CPU leaf that requires a gradient");
    const Kind kind = kind_of(**next);
    Open& bucket = open[static_cast<size_t>(kind)];
    const int64_t limit =
        buckets.empty() ? std::min(kFirstBucketBytes, bucket_bytes) : bucket_bytes;
    const bool fits = bucket.members.empty() ||
                      (bucket.bytes + bytes_of(value) <= limit &&
                       value.scalar_type() == bucket.members.front()->value.scalar_type());
    if (!fits) close(kind);
    bucket.members.push_back(*next);
    bucket.bytes += bytes_of(value);
  }
  for (const Kind kind : {Kind::kCut, Kind::kReplicated, Kind::kPartial}) close(kind);
}

void GradientBuckets::State::add_bucket(Kind kind, const std::vector<ParameterPtr>& members) {
  int64_t elements = 0;
  for (const ParameterPtr& member : members) {
    elements += member->value.numel();
  }
  const at::Tensor bucket =
      at::zeros({elements}, members.front()->value.options().requires_grad(false));
  int64_t begin = 0;
  for (const ParameterPtr& member : members) {
    const int64_t n = member->value.numel();
    slots.push_back({.parameter = member,
                     .view = bucket.narrow(0, begin, n).view(member->value.sizes()),
                     .bucket = buckets.size()});
    begin += n;
  }
  flat.push_back(bucket);
  buckets.push_back(
      {.kind = kind, .slots = members.size(), .missing = members.size(), .work = nullptr});
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
  if (!reducing || dp.size() == 1) {
    return;
  }
  if (!slot.counted) {
    slot.counted = true;
    --buckets[slot.bucket].missing;
    start_full_buckets();
  }
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
                                 Communicator& tp, int64_t bucket_bytes)
    : state_(std::make_shared<State>(dp, tp, bucket_bytes)) {
  TORCH_CHECK(bucket_bytes > 0, "gradient buckets of ", bucket_bytes, " bytes");
  const c10::AutoGradMode no_grad(false);
  state_->lay_out(parameters);
  for (Slot& slot : state_->slots) {  // the slots stay where they are from here on
    slot.parameter->value.mutable_grad() = at::Tensor();
    torch::autograd::impl::set_post_acc_grad_hooks(
        slot.parameter->value,
        std::make_unique<ReachedHook>([state = state_.get(), &slot] { state->reached(slot); }));
  }
}

GradientBuckets::~GradientBuckets() {
  for (const Slot& slot : state_->slots) {
    torch::autograd::impl::set_post_acc_grad_hooks(slot.parameter->value, nullptr);
  }
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
    if (state_->buckets[i].kind == Kind::kPartial) state_->tp.all_reduce(state_->flat[i]);
  }
  state_->started = 0;
  state_->reducing = false;
}

at::Tensor GradientBuckets::norm() const {
  const c10::AutoGradMode no_grad(false);
  std::vector<at::Tensor> cut, whole;  // norms of buckets
  for (size_t i = 0; i < state_->buckets.size(); ++i) {
    const bool is_cut = state_->buckets[i].kind == Kind::kCut;
    (is_cut ? cut : whole).push_back(at::linalg_vector_norm(state_->flat[i]));
  }
  if (!cut.empty()) {
    at::Tensor squares = at::stack(cut).square().sum().reshape({1});
    state_->tp.all_reduce(squares);
    whole.push_back(squares.sqrt().reshape({}));
  }
  return whole.size() == 1 ? whole.front() : at::linalg_vector_norm(at::stack(whole));
}

const std::vector<at::Tensor>& GradientBuckets::flat() const { return state_->flat; }

}  // namespace dagpam::parallel
