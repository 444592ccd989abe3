#include "trainer/layout_comparison.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace dagpam::trainer {

namespace {

// Rounding of an update, relative to the largest gradient.
constexpr double kRounding = 3e-7;

// Terms of a sum that cancels to its largest entry, at most.
constexpr double kCancelled = 100;

double largest(const at::Tensor& t) {
  return t.numel() == 0 ? 0 : t.detach().abs().max().item<double>();
}

// From `first` at step 1 evenly to `at_50` at step 50, and on.
double grown(double first, double at_50, int64_t step) {
  return first + (at_50 - first) * static_cast<double>(step - 1) / 49;
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

// What is no number, or infinite, as one that is worse than any other.
double finite(double value) { return std::isfinite(value) ? value : 1e300; }

// A number of rank 0, on every rank.
double shared(double value, parallel::Communicator& group) {
  at::Tensor t = at::zeros({1}, at::kDouble);
  t.fill_(value);
  group.broadcast(t, 0);
  return t.item<double>();
}

nlohmann::json to_json(const Difference& d) { return {d.ratio, d.difference, d.step, d.parameter}; }

void take_worse(Difference& worst, const nlohmann::json& j) {
  const Difference other{j[0].get<double>(), j[1].get<double>(), j[2].get<int64_t>(),
                         j[3].get<std::string>()};
  if (other.ratio > worst.ratio) worst = other;
}

}  // namespace

LayoutComparison::Tolerances LayoutComparison::tolerances_of(
    configs::TrainConfig::Precision precision) {
  if (precision == configs::TrainConfig::FP32) return {1e-6, 5e-6, 1e-5, 1e-2, 0};
  return {1e-3, 1e-2, 1e-1, 2e-1, 0x1p-7};
}

LayoutComparison::LayoutComparison(const configs::RunConfig& config, TrainingStep& own,
                                   TrainingStep* reference, parallel::Communicator& group)
    : allowed_(tolerances_of(config.train().precision())),
      optimizer_(config.optimizer()),
      own_step_(own),
      reference_step_(reference),
      own_(own.model().parameters().all()),
      reference_(reference ? &reference->model().parameters().all() : nullptr),
      group_(group),
      silent_(own_.size(), true),
      largest_(own_.size(), 0) {
  for (const auto& slice : own.gradients().slices()) slices_[slice.parameter.get()] = slice;
  if (!reference) return;
  for (const StateTensor& state : reference->optimizer().state()) {
    if (state.kind == "exp_avg_sq") second_[state.parameter.get()] = state.value;
  }
  for (const auto& slice : reference->gradients().slices()) {
    reference_slices_[slice.parameter.get()] = slice;
  }
}

at::Tensor LayoutComparison::reference_gradient(size_t index) const {
  return reference_ ? reference_slices_.at((*reference_)[index].get()).grad : at::Tensor();
}

// Rank 0's whole tensor of parameter `index`, cut to what this rank holds of it.
at::Tensor LayoutComparison::reference_part(const at::Tensor& whole_on_rank_0, size_t index) const {
  const parallel::ShardSpec& shard = own_[index]->shard;
  at::Tensor whole =
      reference_ ? whole_on_rank_0.detach().to(at::kFloat).contiguous()
                 : at::empty(shard.global_shape,
                             own_[index]->value.options().dtype(at::kFloat).requires_grad(false));
  group_.broadcast(whole, 0);
  if (shard.cut_dim < 0) return whole;
  const int64_t rows = shard.real_rows(own_[index]->value.size(shard.cut_dim));
  return whole.narrow(shard.cut_dim, rows == 0 ? 0 : shard.offset, rows);
}

at::Tensor LayoutComparison::own_part(const at::Tensor& held, size_t index) const {
  const parallel::ShardSpec& shard = own_[index]->shard;
  if (shard.cut_dim < 0) return held.detach().to(at::kFloat);
  return held.detach()
      .to(at::kFloat)
      .narrow(shard.cut_dim, 0, shard.real_rows(held.size(shard.cut_dim)));
}

// The layout's weights of parameter `index`, whole, on every rank: the parts of one copy, each 0
// elsewhere, add up to it without rounding.
at::Tensor LayoutComparison::whole_of_layout(size_t index) const {
  const parallel::ShardSpec& shard = own_[index]->shard;
  const at::Tensor part = own_part(own_[index]->value, index);
  at::Tensor whole = at::zeros(shard.global_shape, part.options().requires_grad(false));
  const bool is_cut = shard.cut_dim >= 0;
  const int first_copy = own_step_.tensor_ranks();  // ranks of it come first
  if (group_.rank() < (is_cut ? first_copy : 1) && part.numel() > 0) {
    at::Tensor place =
        is_cut ? whole.narrow(shard.cut_dim, shard.offset, part.size(shard.cut_dim)) : whole;
    place.copy_(part);
  }
  group_.all_reduce(whole);
  return whole;
}

// This rank's part of the reference's exp_avg_sq; undefined where its optimizer keeps none.
at::Tensor LayoutComparison::second_moment(size_t index) const {
  if (optimizer_.kind() != configs::OptimizerConfig::ADAMW) return {};
  return reference_part(reference_ ? second_.at((*reference_)[index].get()) : at::Tensor(), index);
}

// Of the rows whose gradient this rank knows; `expected` is of all that it holds.
double LayoutComparison::gradient_difference(size_t index, const at::Tensor& expected) const {
  const auto found = slices_.find(own_[index].get());
  if (found == slices_.end()) return 0;
  const at::Tensor& grad = found->second.grad;
  const int64_t first = found->second.first_row;
  const int64_t rows = std::clamp<int64_t>(expected.size(0) - first, 0, grad.size(0));
  if (rows == 0) return 0;  // padding
  return largest(grad.narrow(0, 0, rows).sub(expected.narrow(0, first, rows)));
}

// "norm.weight (rank 1)", "output.weight (rank 1, rows 32 to 63 of dimension 0)"
std::string LayoutComparison::place(size_t index) const {
  const parallel::Parameter& parameter = *own_[index];
  std::string text = parameter.name + " (rank " + std::to_string(group_.rank());
  if (const parallel::ShardSpec& shard = parameter.shard; shard.cut_dim >= 0) {
    const int64_t rows = shard.real_rows(parameter.value.size(shard.cut_dim));
    text += ", rows " + std::to_string(shard.offset) + " to " +
            std::to_string(shard.offset + rows - 1) + " of dimension " +
            std::to_string(shard.cut_dim);
  }
  return text + ")";
}

void LayoutComparison::note(Difference& worst, const char* kind, int64_t step,
                            const std::string& where, double difference, double allowed) {
  const int64_t order = looked_at_++;
  const double ratio = difference == 0 ? 0 : finite(difference / allowed);
  if (ratio > worst.ratio) worst = {ratio, finite(difference), step, where};
  if (ratio <= 1 || !first_.words.empty()) return;
  first_ = {order, std::string(kind) + (where.empty() ? "" : " of " + where) + " at step " +
                       std::to_string(step) + ": differs by " + short_number(difference) +
                       ", allowed " + short_number(allowed)};
}

void LayoutComparison::initial_parameters() {
  for (size_t i = 0; i < own_.size(); ++i) {
    const at::Tensor expected =
        reference_part(reference_ ? (*reference_)[i]->value : at::Tensor(), i);
    const at::Tensor own = own_part(own_[i]->value, i);
    const double difference = own.equal(expected) ? 0 : std::max(1e-30, largest(own.sub(expected)));
    note(parameter_, "initial value", 0, place(i), difference, 0);
    bounds_.emplace_back(optimizer_, own);
  }
}

void LayoutComparison::losses(int64_t step, double reference, double layout) {
  const double expected = shared(reference, group_);
  note(loss_, "loss", step, "", std::abs(expected - layout),
       grown(allowed_.first_loss, allowed_.loss_at_50, step) * std::abs(expected));
}

// What rounding in a tensor's gradient is measured by: its largest entry. A tensor of one entry is
// a sum that may pass through 0, where nothing of it shows how large its terms are; so the largest
// that it has been. Where the terms are known to cancel, a hundred times that.
double LayoutComparison::scale(size_t index, double top) const {
  int64_t entries = 1;
  for (const int64_t extent : own_[index]->shard.global_shape) entries *= extent;
  if (own_[index]->gradient_cancels) return kCancelled * largest_[index];
  return entries == 1 ? largest_[index] : top;
}

void LayoutComparison::compare_gradients(int64_t step, double allowed, const char* kind) {
  double squares = 0, count = 0;
  for (size_t i = 0; reference_ && i < reference_->size(); ++i) {
    const at::Tensor grad = reference_gradient(i);
    squares += std::pow(grad.norm().item<double>(), 2);
    count += static_cast<double>(grad.numel());
  }
  const double rms = shared(reference_ ? std::sqrt(squares / count) : 0, group_);
  const double norm =
      shared(reference_ ? reference_step_->gradient_norm().item<double>() : 0, group_);
  const double own_norm = own_step_.gradient_norm().item<double>();

  const auto divisor = [&](double of) {
    return optimizer_.clip_norm() > 0 ? std::max(1.0, of / optimizer_.clip_norm()) : 1.0;
  };
  const double clipped_apart = std::abs(divisor(norm) / divisor(own_norm) - 1);
  differences_ = at::zeros({static_cast<int64_t>(own_.size())}, at::kDouble);
  auto* differences = differences_.data_ptr<double>();
  for (size_t i = 0; i < own_.size(); ++i) {
    const at::Tensor whole = reference_gradient(i);
    const double top = shared(reference_ ? largest(whole) : 0, group_);
    if (top > 1e-6 * rms) silent_[i] = false;
    largest_[i] = std::max(largest_[i], top);
    const double difference = gradient_difference(i, reference_part(whole, i));
    note(gradient_, kind, step, place(i), difference,
         allowed * std::max(scale(i, top), 1e-3 * rms));
    differences[i] = (difference + top * (kRounding + clipped_apart)) / divisor(norm);
  }
  group_.all_reduce(differences_, parallel::ReduceOp::kMax);
  const std::string norm_kind = std::string("norm of the ") + kind;
  note(gradient_, norm_kind.c_str(), step, "", std::abs(own_norm - norm), allowed * norm);
}

void LayoutComparison::gradients(int64_t step) {
  compare_gradients(step, step == 1 ? allowed_.same_weights : allowed_.drifted, "gradient");
}

void LayoutComparison::lend_weights() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < own_.size(); ++i) {
    const at::Tensor whole = whole_of_layout(i);
    if (!reference_) continue;
    at::Tensor& value = (*reference_)[i]->value;
    lent_from_.push_back(value.detach().clone());
    value.copy_(whole);
  }
}

void LayoutComparison::gradients_at_lent_weights(int64_t step) {
  const at::NoGradGuard no_grad;
  compare_gradients(step, allowed_.same_weights, "gradient at equal weights");
  for (size_t i = 0; i < lent_from_.size(); ++i) (*reference_)[i]->value.copy_(lent_from_[i]);
  lent_from_.clear();
}

void LayoutComparison::parameters(int64_t step) {
  const auto* differences = differences_.data_ptr<double>();
  for (size_t i = 0; i < own_.size(); ++i) {
    const at::Tensor expected =
        reference_part(reference_ ? (*reference_)[i]->value : at::Tensor(), i);
    bounds_[i].add_update(step, own_step_.rate(step - 1), differences[i], expected,
                          second_moment(i));
    if (silent_[i]) continue;
    const at::Tensor difference = own_part(own_[i]->value, i).sub(expected).abs().to(at::kDouble);
    if (difference.numel() == 0) continue;
    const at::Tensor allowed = bounds_[i].allowed().add(expected.abs(), allowed_.weight);
    const int64_t worst = difference.div(allowed.clamp_min(1e-300)).argmax().item<int64_t>();
    note(parameter_, "parameter", step, place(i), difference.view({-1})[worst].item<double>(),
         allowed.view({-1})[worst].item<double>());
  }
}

LayoutResult LayoutComparison::result() const {
  const nlohmann::json mine{to_json(loss_), to_json(gradient_), to_json(parameter_), first_.order,
                            first_.words};
  LayoutResult result;
  int64_t earliest = INT64_MAX;
  for (const std::string& text : group_.all_gather_bytes(mine.dump())) {
    const auto j = nlohmann::json::parse(text);
    take_worse(result.loss, j[0]);
    take_worse(result.gradient, j[1]);
    take_worse(result.parameter, j[2]);
    if (j[3].get<int64_t>() < earliest) {
      earliest = j[3].get<int64_t>();
      result.first = j[4].get<std::string>();
    }
  }
  for (size_t i = 0; i < own_.size(); ++i) {
    if (silent_[i]) result.silent.push_back(own_[i]->name);
  }
  return result;
}

}  // namespace dagpam::trainer
