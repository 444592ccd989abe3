#include "trainer/layout_check.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "data/batch_source.h"
#include "parallel/grid.h"
#include "trainer/layout.h"
#include "trainer/layout_comparison.h"
#include "trainer/layout_fault.h"
#include "trainer/run_data.h"
#include "trainer/run_plan.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

namespace {

configs::RunConfig with_layout(configs::RunConfig config, const Layout& layout) {
  config.mutable_parallel()->set_tensor(layout.tp);
  config.mutable_parallel()->set_sequence_parallel(layout.sequence);
  config.mutable_parallel()->set_zero(layout.zero ? 1 : 0);
  config.mutable_log()->set_analyze_every(0);  // nothing is logged here
  return config;
}

// One side of the comparison: a model in training on a grid, with its own data.
class Side {
 public:
  // With a fault, this rank is the one that it strikes.
  Side(const configs::RunConfig& config, const Layout& layout, parallel::Communicator& group,
       const LayoutFault* fault = nullptr)
      : grid_(parallel::make_grid(group, layout.tp)), fault_(fault) {
    const RunPlan plan = plan_run(with_layout(config, layout), group.size());
    const int copy = grid_.dp->rank() + (strikes(Place::kData) ? 1 : 0);
    batches_ = open_training_data(plan, copy % grid_.dp->size());
    if (strikes(Place::kDp) || strikes(Place::kTp)) inject(*fault_, grid_);
    step_ = std::make_unique<TrainingStep>(plan.config, grid_);
    if (strikes(Place::kStart)) scale(struck_slice(*step_).value);
  }

  // Returns the mean loss a token of the global batch.
  double gradients(int64_t index) {
    taken_.clear();
    return gradients(index, [&]() -> const data::Batch& {
      return keeps_batches_ ? taken_.emplace_back(batches_->next()) : batches_->next();
    });
  }

  // The last step's again, with its batches. For a side that keeps them.
  double gradients_again(int64_t index) {
    size_t next = 0;
    return gradients(index, [&]() -> const data::Batch& { return taken_.at(next++); });
  }

  void keep_batches() { keeps_batches_ = true; }

  void update(int64_t index) {
    const at::NoGradGuard no_grad;
    at::Tensor before;
    if (strikes(Place::kUpdate)) before = struck_slice(*step_).value.clone();
    step_->update(index);
    step_->wait_for_parameters();
    if (before.defined()) struck_slice(*step_).value.copy_(before);
  }

  TrainingStep& step() { return *step_; }

 private:
  using Place = LayoutFault::Place;

  bool strikes(Place place) const { return fault_ && fault_->place == place; }

  double gradients(int64_t index, const std::function<const data::Batch&()>& next) {
    at::Tensor loss = step_->compute_gradients(index + (strikes(Place::kDropout) ? 1 : 0), next)
                          .to(at::kDouble)
                          .reshape({1});
    grid_.dp->all_reduce(loss);
    if (strikes(Place::kGradient)) scale(struck_slice(*step_).grad);
    return loss.item<double>();
  }

  static void scale(const at::Tensor& t) {
    const at::NoGradGuard no_grad;
    t.mul_(1.001);
  }

  parallel::Grid grid_;
  const LayoutFault* fault_;
  std::unique_ptr<data::BatchSource> batches_;
  std::unique_ptr<TrainingStep> step_;
  bool keeps_batches_ = false;
  std::deque<data::Batch> taken_;  // of the last step
};

// Steps at which gradients are compared at equal weights too, which costs the reference's work
// again: often at first, then ever more rarely, and at the end.
bool lends_weights(int64_t step, int64_t steps) {
  return step > 1 && (step == steps || (step & (step - 1)) == 0);
}

LayoutResult check_one(const configs::RunConfig& config, const Layout& layout,
                       const LayoutCheckOptions& options, parallel::Communicator& group) {
  const bool struck = !options.inject.empty() && group.rank() == group.size() - 1;
  Side side(config, layout, group, struck ? &find_layout_fault(options.inject) : nullptr);
  std::unique_ptr<parallel::Communicator> alone;
  std::unique_ptr<Side> reference;
  if (group.rank() == 0) {
    alone = parallel::make_self_communicator(group.device());
    reference = std::make_unique<Side>(config, Layout{}, *alone);
    reference->keep_batches();
  }
  LayoutComparison comparison(configs::with_defaults(config), side.step(),
                              reference ? &reference->step() : nullptr, group);
  comparison.initial_parameters();
  for (int64_t step = 1; step <= options.steps; ++step) {
    const double loss = side.gradients(step - 1);
    double expected = 0;
    const bool lends = lends_weights(step, options.steps);
    if (lends) {
      comparison.lend_weights();
      if (reference) reference->gradients(step - 1);
      comparison.gradients_at_lent_weights(step);
      if (reference) expected = reference->gradients_again(step - 1);
    } else if (reference) {
      expected = reference->gradients(step - 1);
    }
    comparison.losses(step, expected, loss);
    comparison.gradients(step);
    if (reference) reference->update(step - 1);
    side.update(step - 1);
    comparison.parameters(step);
  }
  LayoutResult result = comparison.result();
  result.layout = to_string(layout);
  return result;
}

nlohmann::json to_json(const Difference& d) { return {d.ratio, d.difference, d.step, d.parameter}; }

Difference difference_from(const nlohmann::json& j) {
  return {j[0].get<double>(), j[1].get<double>(), j[2].get<int64_t>(), j[3].get<std::string>()};
}

// Rank 0's result, told to ranks that took no part too.
LayoutResult share(const LayoutResult& mine, parallel::Communicator& world) {
  const nlohmann::json own{
      mine.layout, to_json(mine.loss), to_json(mine.gradient), to_json(mine.parameter),
      mine.first,  mine.silent};
  const auto j = nlohmann::json::parse(world.all_gather_bytes(own.dump()).front());
  return {j[0].get<std::string>(), difference_from(j[1]),   difference_from(j[2]),
          difference_from(j[3]),   j[4].get<std::string>(), j[5].get<std::vector<std::string>>()};
}

std::vector<Layout> layouts_of(const configs::RunConfig& config, const LayoutCheckOptions& options,
                               int ranks) {
  std::vector<Layout> layouts;
  for (const std::string& text : options.layouts) layouts.push_back(parse_layout(text, ranks));
  if (layouts.empty()) {
    const configs::ParallelConfig parallel = configs::with_defaults(config).parallel();
    layouts.push_back({configs::data_parallel_size(config, ranks),
                       static_cast<int>(parallel.tensor()), parallel.sequence_parallel(),
                       parallel.zero() == 1});
  }
  for (const Layout& layout : layouts) {
    plan_run(with_layout(config, layout), layout.ranks());
    if (options.inject.empty()) continue;
    const LayoutFault& fault = find_layout_fault(options.inject);
    if (!fault.applies(layout)) {
      throw ConfigError("--inject: " + fault.name + " cannot strike the layout " +
                        to_string(layout) + " (" + fault.what + "): choose another of either");
    }
  }
  return layouts;
}

}  // namespace

std::vector<LayoutResult> check_layouts(const configs::RunConfig& config,
                                        const LayoutCheckOptions& options,
                                        parallel::Communicator& world) {
  std::vector<LayoutResult> results;
  for (const Layout& layout : layouts_of(config, options, world.size())) {
    const bool takes_part = world.rank() < layout.ranks();
    const auto group = world.split(takes_part ? 0 : 1, world.rank());
    LayoutResult mine;
    if (takes_part) mine = check_one(config, layout, options, *group);
    results.push_back(share(mine, world));
  }
  return results;
}

}  // namespace dagpam::trainer
