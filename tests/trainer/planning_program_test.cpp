// What the planner says of a step is what the program does: parameters, buckets, collectives.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "parallel/bucket_plan.h"
#include "tests/trainer/planning_fixtures.h"
#include "trainer/planning/collectives.h"
#include "trainer/training_step.h"

namespace dagpam::trainer::planning {
namespace {

using Words = std::vector<std::string>;

RunPlan tiny_run(int ranks, const Words& overrides) {
  Words all{"model.layers=3",        "model.width=32", "model.heads=4",
            "model.context=8",       "model.vocab=21", "parallel.bucket_mib=0.01",
            "train.global_batch=24", "train.steps=1",  "data.train.0.prefix=none",
            "train.micro_batch=2"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  const configs::RunConfig config = configs::load({}, all);
  const RunPlan plan = assumed_run(config);
  const Layout layout = own_layout(plan, config, ranks);
  EXPECT_EQ(refusal(plan, layout), "");
  return with_layout(plan, layout);
}

data::Batch some_batch(const RunPlan& plan) {
  data::Batch batch;
  batch.rows = plan.config.train().micro_batch();
  batch.context = plan.config.model().context();
  for (int64_t i = 0; i < batch.rows; ++i) batch.samples.push_back(i);
  for (int64_t i = 0; i < batch.rows * batch.context; ++i) {
    batch.inputs.push_back(i % plan.config.model().vocab());
    batch.targets.push_back((i + 1) % plan.config.model().vocab());
  }
  return batch;
}

// Stages of the model's own parameters, by their names.
int64_t stage_of(const std::string& name, int64_t layers) {
  if (name.starts_with("embedding.")) return 0;
  if (name.starts_with("layers.")) return std::stoll(name.substr(7)) + 1;
  return name.starts_with("lambda") ? 1 : layers + 1;
}

void compare_parameters(const RunPlan& plan, TrainingStep& step) {
  const auto& model = step.model().parameters().all();
  const auto planned = planned_parameters(plan);
  ASSERT_EQ(planned.size(), model.size());
  for (size_t i = 0; i < model.size(); ++i) {
    const at::Tensor& value = model[i]->value;
    EXPECT_EQ(planned[i].elements(), value.numel()) << model[i]->name;
    EXPECT_EQ(planned[i].rows, value.dim() == 0 ? 1 : value.size(0)) << model[i]->name;
    EXPECT_EQ(planned[i].stage, stage_of(model[i]->name, plan.config.model().layers()))
        << model[i]->name;
  }
  const double mib = plan.config.parallel().bucket_mib();
  const auto buckets = parallel::plan_buckets(model, plan.ranks / plan.copies,
                                              static_cast<int64_t>(mib * 1024 * 1024));
  const auto foreseen = planned_buckets(plan);
  ASSERT_EQ(foreseen.size(), buckets.size());
  for (size_t i = 0; i < buckets.size(); ++i) {
    int64_t elements = 0;
    for (const auto& member : buckets[i].members) elements += member->value.numel();
    EXPECT_EQ(foreseen[i].kind, buckets[i].kind) << i;
    EXPECT_EQ(foreseen[i].elements, elements) << i;
  }
}

using Counts = std::map<std::pair<Group, Collective>, std::pair<int64_t, int64_t>>;

void add(Counts& counts, Group group, const parallel::CommCounts& c) {
  const auto one = [&](Collective collective, const parallel::CommCounts::Op& op) {
    if (op.calls > 0) counts[{group, collective}] = {op.calls, op.bytes};
  };
  one(Collective::kAllReduce, c.all_reduce);
  one(Collective::kAllGather, c.all_gather);
  one(Collective::kReduceScatter, c.reduce_scatter);
}

void check(int ranks, const Words& overrides) {
  SCOPED_TRACE(testing::PrintToString(overrides) + " over " + std::to_string(ranks));
  const RunPlan plan = tiny_run(ranks, overrides);
  Counts planned;
  for (const Calls& calls : calls_of_step(plan)) {
    auto& [count, bytes] = planned[{calls.group, calls.collective}];
    count += calls.count;
    bytes += calls.count * calls.bytes;
  }
  parallel::run_ranks_as_threads(ranks, [&](parallel::Communicator& world) {
    const parallel::Grid grid = parallel::make_grid(world, plan.ranks / plan.copies);
    TrainingStep step(plan.config, grid);
    if (world.rank() == 0) compare_parameters(plan, step);
    const data::Batch batch = some_batch(plan);
    step.compute_gradients(0, [&]() -> const data::Batch& { return batch; });
    step.update(0);
    step.wait_for_parameters();
    Counts counted;
    add(counted, Group::kDataParallel, grid.dp->counts());
    add(counted, Group::kTensorParallel, grid.tp->counts());
    EXPECT_EQ(counted, planned) << "rank " << world.rank();
  });
}

TEST(PlannedProgramTest, OneRank) {
  for (const char* kind :
       {"SOFTMAX", "SOFTMAX_WIDE", "DAGPAM", "NON", "NAP", "CODA", "COG", "DIFF", "DIFF2"}) {
    check(1, {std::string("attention.kind=") + kind});
  }
}

TEST(PlannedProgramTest, Models) {
  check(1, {"model.bias=false", "model.positions=ROTARY", "model.kv_heads=2"});
  check(1, {"model.norm=RMS", "model.mlp=SWIGLU", "model.tied_embeddings=false"});
  check(1, {"model.norm_position=POST", "model.positions=SINUSOIDAL", "train.precision=BF16"});
  check(1, {"attention.kind=DAGPAM", "attention.lambda.mode=FIXED"});
  check(1, {"attention.kind=DAGPAM", "attention.lambda.scope=MODEL"});
}

TEST(PlannedProgramTest, Copies) {
  check(4, {});
  check(2, {"parallel.zero=1", "attention.kind=DAGPAM"});
  check(3, {"parallel.zero=1", "train.precision=BF16"});
}

TEST(PlannedProgramTest, CutCopies) {
  const std::string two = "parallel.tensor=2", sequence = "parallel.sequence_parallel=true";
  check(2, {two, "attention.kind=DAGPAM"});
  check(2, {two, sequence, "attention.kind=DIFF", "train.recompute=FULL"});
  check(2, {two, "train.recompute=FULL", "train.label_smoothing=0.1"});
  check(2, {two, "train.recompute=SELECTIVE", "attention.kind=NAP"});
  check(4, {two, "attention.kind=DAGPAM", "attention.lambda.scope=LAYER"});
  check(4, {two, sequence, "parallel.zero=1", "attention.kind=DIFF2", "train.precision=BF16"});
  check(4, {"parallel.tensor=4", "parallel.zero=1", "model.mlp=SWIGLU"});
}

}  // namespace
}  // namespace dagpam::trainer::planning
