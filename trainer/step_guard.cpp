#include "trainer/step_guard.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

namespace dagpam::trainer {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
// Fewer values than this share of the window say nothing of its deviation.
constexpr int64_t kLeastShare = 4;
// Of the mean: values that hardly differ at all are no measure.
constexpr double kLeastDeviation = 1e-6;

enum Found { kFirst, kLoss, kNorm };

at::Tensor nothing_found() {
  at::Tensor found = at::zeros({3}, at::kDouble);
  found.data_ptr<double>()[kFirst] = -1;
  return found;
}

struct Moments {
  at::Tensor count, mean, deviation;  // scalars
};

Moments moments(const at::Tensor& window) {
  const at::Tensor there = window.isfinite();
  const at::Tensor count = there.sum();
  const at::Tensor mean = at::where(there, window, at::zeros_like(window)).sum() / count;
  const at::Tensor distance = at::where(there, window - mean, at::zeros_like(window));
  return {count, mean, (distance * distance).sum().div(count).sqrt()};
}

void store(const at::Tensor& window, google::protobuf::RepeatedField<double>& out) {
  const at::Tensor host = window.cpu();
  const auto* values = host.data_ptr<double>();
  out.Assign(values, values + host.numel());
}

void load(const google::protobuf::RepeatedField<double>& in, at::Tensor& window) {
  const at::Tensor host = at::full(window.sizes(), kNone, at::kDouble);
  if (in.size() == host.numel()) std::copy(in.begin(), in.end(), host.data_ptr<double>());
  window.copy_(host);
}

}  // namespace

StepGuard::StepGuard(const configs::BadStepConfig& config, parallel::Communicator& dp)
    : config_(config),
      dp_(dp),
      skipped_(at::zeros({}, at::kFloat)),
      found_(nothing_found()),
      losses_(at::full({config.window()}, kNone, at::kDouble)),
      norms_(at::full({config.window()}, kNone, at::kDouble)) {}

// A bool scalar.
at::Tensor StepGuard::spike(const at::Tensor& window, const at::Tensor& value) const {
  const auto [count, mean, deviation] = moments(window);
  const at::Tensor least = mean.abs() * kLeastDeviation;
  return (count * kLeastShare >= window.numel())
      .logical_and(value - mean > (deviation + least) * config_.spike_z());
}

at::Tensor StepGuard::judge(int64_t step, const at::Tensor& loss, const at::Tensor& norm) {
  for (at::Tensor* t : {&skipped_, &found_, &losses_, &norms_}) {
    if (t->device() != norm.device()) *t = t->to(norm.device());
  }
  at::Tensor mean_loss = loss.detach().to(at::kDouble).reshape({1});
  const at::Tensor norm64 = norm.detach().to(at::kDouble);
  at::Tensor bad = at::isfinite(norm).logical_not();
  if (config_.spike_z() > 0) {
    dp_.all_reduce(mean_loss);
    const at::Tensor value = mean_loss.squeeze(0);
    bad = bad.logical_or(at::isfinite(value).logical_not())
              .logical_or(spike(losses_, value))
              .logical_or(spike(norms_, norm64));
    const int64_t place = step % config_.window();
    for (const auto& [window, x] : {std::pair{losses_, value}, {norms_, norm64}}) {
      at::Tensor old = window.select(0, place);
      old.copy_(at::where(bad, old, x));
    }
  }
  const at::Tensor none_yet = found_.select(0, kFirst) < 0;
  if (config_.policy() != configs::BadStepConfig::SKIP)
    bad = bad.logical_or(none_yet.logical_not());
  const at::Tensor news = at::stack({at::scalar_tensor(static_cast<double>(step), found_.options()),
                                     mean_loss.squeeze(0), norm64});
  found_ = at::where(bad.logical_and(none_yet), news, found_);
  const at::Tensor verdict = bad.to(at::kFloat);
  skipped_.add_(verdict);
  return verdict;
}

bool StepGuard::on_host() const { return found_.is_cpu(); }

int64_t StepGuard::first_bad() const {
  return static_cast<int64_t>(found_.cpu().data_ptr<double>()[kFirst]);
}

int64_t StepGuard::skipped_steps() const {
  return static_cast<int64_t>(skipped_.cpu().data_ptr<float>()[0]);
}

std::string StepGuard::why() const {
  const at::Tensor host = found_.cpu();
  const auto* found = host.data_ptr<double>();
  char text[160];
  const char* what = std::isfinite(found[kNorm])
                         ? "loss or gradient norm jumped (train.bad_step.spike_z)"
                         : "loss or gradient not finite";
  std::snprintf(text, sizeof text, "%s: gradient norm %.4g", what, found[kNorm]);
  return text;
}

void StepGuard::forget() { found_.copy_(nothing_found()); }

configs::Manifest::Guard StepGuard::save() const {
  configs::Manifest::Guard out;
  out.set_skipped(skipped_steps());
  out.set_rollbacks(rollbacks_);
  if (config_.spike_z() > 0) {
    store(losses_, *out.mutable_losses());
    store(norms_, *out.mutable_norms());
  }
  return out;
}

void StepGuard::restore(const configs::Manifest::Guard& saved) {
  skipped_.fill_(static_cast<double>(saved.skipped()));
  rollbacks_ = std::max(rollbacks_, saved.rollbacks());
  forget();
  load(saved.losses(), losses_);
  load(saved.norms(), norms_);
}

}  // namespace dagpam::trainer
