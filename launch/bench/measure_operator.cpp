#include <algorithm>

#include "configs/run_config.h"
#include "launch/bench/measure_rates.h"
#include "parallel/grid.h"
#include "trainer/planning/assumed_run.h"
#include "trainer/planning/prediction.h"
#include "trainer/training_step.h"

namespace dagpam::launch {

namespace {

configs::RunConfig tiny_config() {
  return configs::load(
      {}, {"model.layers=8", "model.width=16", "model.heads=2", "model.context=8", "model.vocab=16",
           "train.global_batch=1", "train.steps=1", "data.train.0.prefix=none"});
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

}  // namespace

void measure_operator(const RankTimer& timer, configs::ClusterConfig& cluster) {
  namespace planning = trainer::planning;
  const trainer::RunPlan plan = planning::assumed_run(tiny_config());
  const auto self = parallel::make_self_communicator();
  const parallel::Grid grid = parallel::make_grid(*self, 1);
  trainer::TrainingStep step(plan.config, grid);
  const data::Batch batch = some_batch(plan.config);
  int64_t done = 0;
  const double seconds = timer.seconds([&] {
    step.compute_gradients(done, [&]() -> const data::Batch& { return batch; });
    step.update(done++);
  });
  configs::ClusterConfig each = cluster;
  each.mutable_device()->set_operator_us(1);
  const planning::Prediction p = planning::predict(plan, each);
  const double host = p.forward.host + p.backward.host + p.update.host;  // at 1 us an operator
  const double rest = p.step.total - host;
  cluster.mutable_device()->set_operator_us(std::max(0.0, (seconds - rest) / host));
}

}  // namespace dagpam::launch
