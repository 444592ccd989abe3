#include <algorithm>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "launch/bench/measure_rates.h"
#include "parallel/grid.h"
#include "trainer/planning/assumed_run.h"
#include "trainer/planning/prediction.h"
#include "trainer/training_step.h"

namespace dagpam::launch {

namespace {

using Words = std::vector<std::string>;

// So small that starting operators is nearly all of a step.
const Words kTiny{"model.layers=8",  "model.width=16",       "model.heads=2",
                  "model.context=8", "train.global_batch=1", "model.vocab=16"};
// A little of everything; of no recipe's sizes.
const Words kMiddle{"model.layers=2",   "model.width=192",      "model.heads=6",
                    "model.context=96", "train.global_batch=6", "model.vocab=500"};

configs::RunConfig config_of(Words overrides) {
  overrides.insert(overrides.end(), {"train.steps=1", "data.train.0.prefix=none"});
  return configs::load({}, overrides);
}

data::Batch some_batch(const configs::RunConfig& config) {
  data::Batch batch;
  batch.rows = config.train().global_batch();
  batch.context = config.model().context();
  for (int64_t i = 0; i < batch.rows; ++i) batch.samples.push_back(i);
  for (int64_t i = 0; i < batch.rows * batch.context; ++i) {
    batch.inputs.push_back(i % config.model().vocab());
    batch.targets.push_back((i + 1) % config.model().vocab());
  }
  return batch;
}

// Seconds of a step of one rank, all ranks at once.
double time_step(const RankTimer& timer, const trainer::RunPlan& plan) {
  const auto self = parallel::make_self_communicator();
  const parallel::Grid grid = parallel::make_grid(*self, 1);
  trainer::TrainingStep step(plan.config, grid);
  const data::Batch batch = some_batch(plan.config);
  int64_t done = 0;
  return timer.seconds([&] {
    step.compute_gradients(done, [&]() -> const data::Batch& { return batch; });
    step.update(done++);
  });
}

}  // namespace

void measure_steps(const RankTimer& timer, configs::ClusterConfig& cluster) {
  namespace planning = trainer::planning;
  const trainer::RunPlan tiny = planning::assumed_run(config_of(kTiny));
  configs::DeviceRates& device = *cluster.mutable_device();
  device.set_operator_us(1);
  const planning::Prediction small = planning::predict(tiny, cluster);
  const double host = small.forward.host + small.backward.host + small.update.host;
  const double rest = small.step.total - host;
  device.set_operator_us(std::max(0.0, (time_step(timer, tiny) - rest) / host));

  const trainer::RunPlan middle = planning::assumed_run(config_of(kMiddle));
  const planning::Prediction p = planning::predict(middle, cluster);
  const double started = p.forward.host + p.backward.host + p.update.host;
  const double ratio = (time_step(timer, middle) - started) / (p.step.total - started);
  device.set_in_step(std::clamp(ratio, 0.5, 2.0));
}

}  // namespace dagpam::launch
