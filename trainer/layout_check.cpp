#include "trainer/layout_check.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "data/batch_source.h"
#include "trainer/run_plan.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

namespace {

// One side of the comparison: a model in training on a group of ranks, with its own data.
struct Side {
  Side(const configs::RunConfig& config, parallel::Communicator& group) {
    const RunPlan plan = plan_run(config, group.size());
    batches = data::open_batches(plan.config.data(), batch_options(plan, group.rank()), {});
    step = std::make_unique<TrainingStep>(plan.config, group);
    communicator = &group;
  }

  double gradients(int64_t index) {
    at::Tensor loss =
        step->compute_gradients(index, [&]() -> const data::Batch& { return batches->next(); })
            .to(at::kDouble)
            .reshape({1});
    communicator->all_reduce(loss);
    return loss.item<double>();
  }

  const std::vector<parallel::ParameterPtr>& parameters() const {
    return step->model().parameters().all();
  }

  parallel::Communicator* communicator = nullptr;
  std::unique_ptr<data::BatchSource> batches;
  std::unique_ptr<TrainingStep> step;
};

double largest(const at::Tensor& t) { return t.numel() == 0 ? 0 : t.abs().max().item<double>(); }

class Comparison {
 public:
  Comparison(std::string layout, const Side& reference) {
    result.layout = std::move(layout);
    for (const auto& parameter : reference.parameters()) {
      start_.push_back(parameter->value.detach().clone());
      still_.push_back(true);
    }
  }

  void losses(int64_t step, double reference, double other) {
    const double allowed = 1e-6 + 4e-6 * static_cast<double>(step - 1) / 49;
    note(result.loss, "loss", step, "", std::abs(reference - other), allowed * std::abs(reference));
  }

  void gradients(int64_t step, const Side& reference, const Side& other) {
    double squares = 0, count = 0;
    for (const auto& parameter : reference.parameters()) {
      squares += std::pow(parameter->value.grad().norm().item<double>(), 2);
      count += static_cast<double>(parameter->value.numel());
    }
    const double rms = std::sqrt(squares / count);
    for (size_t i = 0; i < start_.size(); ++i) {
      const at::Tensor a = reference.parameters()[i]->value.grad();
      const double top = largest(a);
      if (top > 1e-6 * rms) still_[i] = false;
      note(result.gradient, "gradient", step, reference.parameters()[i]->name,
           largest(a.sub(other.parameters()[i]->value.grad())), 1e-5 * std::max(top, 1e-3 * rms));
    }
  }

  void parameters(int64_t step, const Side& reference, const Side& other) {
    for (size_t i = 0; i < start_.size(); ++i) {
      if (still_[i]) continue;
      const at::Tensor a = reference.parameters()[i]->value.detach();
      note(result.parameter, "parameter", step, reference.parameters()[i]->name,
           largest(a.sub(other.parameters()[i]->value.detach())), 1e-3 * largest(a.sub(start_[i])));
    }
  }

  LayoutResult result;

 private:
  void note(Difference& worst, const char* kind, int64_t step, const std::string& name,
            double difference, double allowed) {
    const double ratio = difference == 0 ? 0 : difference / allowed;
    if (!(ratio <= worst.ratio)) worst = {ratio, difference, step, name};
    if (ratio <= 1 || !result.first.empty()) return;
    result.first = std::string(kind) + (name.empty() ? "" : " of " + name) + " at step " +
                   std::to_string(step) + ": differs by " + std::to_string(difference) +
                   ", allowed " + std::to_string(allowed);
  }

  std::vector<at::Tensor> start_;
  std::vector<bool> still_;  // no gradient seen so far
};

int data_parallel_ranks(const std::string& layout, int ranks) {
  int size = 0;
  const char* end = layout.data() + layout.size();
  const bool named = layout.rfind("dp", 0) == 0;
  const auto parsed =
      named ? std::from_chars(layout.data() + 2, end, size) : std::from_chars_result{};
  if (!named || parsed.ec != std::errc() || parsed.ptr != end || size < 1) {
    throw ConfigError("--layouts: '" + layout + "' is not a layout: expected dpN, e.g. dp2");
  }
  if (size > ranks) {
    throw ConfigError("--layouts: " + layout + " needs " + std::to_string(size) +
                      " ranks, there are " + std::to_string(ranks) + ": start with mpirun -n " +
                      std::to_string(size));
  }
  return size;
}

LayoutResult check_one(const configs::RunConfig& config, const std::string& layout, int64_t steps,
                       parallel::Communicator& group) {
  Side other(config, group);
  std::unique_ptr<parallel::Communicator> alone;
  std::unique_ptr<Side> reference;
  std::unique_ptr<Comparison> comparison;
  if (group.rank() == 0) {
    alone = parallel::make_self_communicator();
    reference = std::make_unique<Side>(config, *alone);
    comparison = std::make_unique<Comparison>(layout, *reference);
  }
  for (int64_t step = 1; step <= steps; ++step) {
    const double loss = other.gradients(step - 1);
    if (reference) {
      comparison->losses(step, reference->gradients(step - 1), loss);
      comparison->gradients(step, *reference, other);
      reference->step->update(step - 1);
    }
    other.step->update(step - 1);
    if (reference) comparison->parameters(step, *reference, other);
  }
  return comparison ? comparison->result : LayoutResult{};
}

nlohmann::json to_json(const Difference& d) { return {d.ratio, d.difference, d.step, d.parameter}; }

Difference difference_from(const nlohmann::json& j) {
  return {j[0].get<double>(), j[1].get<double>(), j[2].get<int64_t>(), j[3].get<std::string>()};
}

// Rank 0's result, told to all.
LayoutResult share(const LayoutResult& mine, parallel::Communicator& world) {
  const nlohmann::json own{mine.layout, to_json(mine.loss), to_json(mine.gradient),
                           to_json(mine.parameter), mine.first};
  const auto j = nlohmann::json::parse(world.all_gather_bytes(own.dump()).front());
  return {j[0].get<std::string>(), difference_from(j[1]), difference_from(j[2]),
          difference_from(j[3]), j[4].get<std::string>()};
}

}  // namespace

std::vector<LayoutResult> check_layouts(const configs::RunConfig& config,
                                        const LayoutCheckOptions& options,
                                        parallel::Communicator& world) {
  std::vector<std::string> layouts = options.layouts;
  if (layouts.empty()) layouts.push_back("dp" + std::to_string(world.size()));
  for (const std::string& layout : layouts) {  // refuse before the first step
    plan_run(config, data_parallel_ranks(layout, world.size()));
  }
  std::vector<LayoutResult> results;
  for (const std::string& layout : layouts) {
    const bool takes_part = world.rank() < data_parallel_ranks(layout, world.size());
    const auto group = world.split(takes_part ? 0 : 1, world.rank());
    LayoutResult mine;
    if (takes_part) mine = check_one(config, layout, options.steps, *group);
    results.push_back(share(mine, world));
  }
  return results;
}

}  // namespace dagpam::trainer
