#include "trainer/layout_comparison.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

namespace dagpam::trainer {

namespace {

// Units in the last place that a parameter may be off by, however little it moved.
constexpr double kUnits = 4;

double largest(const at::Tensor& t) {
  return t.numel() == 0 ? 0 : t.detach().abs().max().item<double>();
}

double root_mean_square(const at::Tensor& t) {
  return t.numel() == 0 ? 0 : t.to(at::kDouble).square().mean().sqrt().item<double>();
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

LayoutComparison::LayoutComparison(TrainingStep& own, TrainingStep* reference,
                                   parallel::Communicator& group)
    : own_(own.model().parameters().all()),
      reference_(reference ? &reference->model().parameters().all() : nullptr),
      group_(group),
      silent_(own_.size(), true),
      moved_(own_.size(), 0) {
  for (const auto& slice : own.gradients().slices()) slices_[slice.parameter.get()] = slice;
}

// Rank 0's whole tensor of parameter `index`, cut to what this rank holds of it.
at::Tensor LayoutComparison::reference_part(const at::Tensor& whole_on_rank_0, size_t index) const {
  const parallel::ShardSpec& shard = own_[index]->shard;
  at::Tensor whole =
      reference_ ? whole_on_rank_0.detach().contiguous()
                 : at::empty(shard.global_shape, own_[index]->value.options().requires_grad(false));
  group_.broadcast(whole, 0);
  if (shard.cut_dim < 0) return whole;
  const int64_t rows = shard.real_rows(own_[index]->value.size(shard.cut_dim));
  return whole.narrow(shard.cut_dim, rows == 0 ? 0 : shard.offset, rows);
}

at::Tensor LayoutComparison::own_part(const at::Tensor& held, size_t index) const {
  const parallel::ShardSpec& shard = own_[index]->shard;
  if (shard.cut_dim < 0) return held.detach();
  return held.detach().narrow(shard.cut_dim, 0, shard.real_rows(held.size(shard.cut_dim)));
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
        reference_part(reference_ ? (*reference_)[i]->value : at::Tensor(), i).clone();
    const at::Tensor own = own_part(own_[i]->value, i);
    const double difference = own.equal(expected) ? 0 : std::max(1e-30, largest(own.sub(expected)));
    note(parameter_, "initial value", 0, place(i), difference, 0);
    start_.push_back(expected);
  }
}

void LayoutComparison::losses(int64_t step, double reference, double layout) {
  const double expected = shared(reference, group_);
  note(loss_, "loss", step, "", std::abs(expected - layout),
       grown(1e-6, 5e-6, step) * std::abs(expected));
}

void LayoutComparison::gradients(int64_t step) {
  double squares = 0, count = 0;
  for (size_t i = 0; reference_ && i < reference_->size(); ++i) {
    const at::Tensor& value = (*reference_)[i]->value;
    squares += std::pow(value.grad().norm().item<double>(), 2);
    count += static_cast<double>(value.numel());
  }
  const double rms = shared(reference_ ? std::sqrt(squares / count) : 0, group_);
  const double allowed = step == 1 ? 1e-5 : 1e-2;
  for (size_t i = 0; i < own_.size(); ++i) {
    const at::Tensor whole = reference_ ? (*reference_)[i]->value.grad() : at::Tensor();
    const double top = shared(reference_ ? largest(whole) : 0, group_);
    if (top > 1e-6 * rms) silent_[i] = false;
    const at::Tensor expected = reference_part(whole, i);
    const double difference = gradient_difference(i, expected);
    note(gradient_, "gradient", step, place(i), difference, allowed * std::max(top, 1e-3 * rms));
  }
}

void LayoutComparison::parameters(int64_t step) {
  for (size_t i = 0; i < own_.size(); ++i) {
    if (silent_[i]) continue;
    const at::Tensor expected =
        reference_part(reference_ ? (*reference_)[i]->value : at::Tensor(), i);
    moved_[i] = std::max(moved_[i], root_mean_square(expected.sub(start_[i])));
    const double rounding =
        kUnits * std::numeric_limits<float>::epsilon() * root_mean_square(expected);
    const double difference = root_mean_square(own_part(own_[i]->value, i).sub(expected));
    note(parameter_, "parameter", step, place(i), difference,
         grown(1e-3, 1e-2, step) * moved_[i] + rounding);
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
