// The planner's choices where they are known, its order in what they depend on, and what it prints.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "tests/trainer/planning_fixtures.h"
#include "trainer/memory_plan.h"
#include "trainer/planning/report.h"

namespace dagpam::trainer::planning {
namespace {

using configs::ClusterConfig;
using configs::TrainConfig;

constexpr double kGib = 1024.0 * 1024.0 * 1024.0;

TEST(SearchTest, OneRankHasOneLayoutForEachMicroBatchAndRecomputation) {
  const SearchResult found = search(small_run(), 1, round_cluster());
  EXPECT_EQ(found.tried, 7 * 3);  // 64 has 7 divisors
  ASSERT_FALSE(found.ranked.empty());
  EXPECT_EQ(found.ranked.front().layout.recompute, TrainConfig::NONE);
}

TEST(SearchTest, AllThatDivideAreTried) {
  const SearchResult found = search(small_run(), 4, round_cluster());
  // dp 4: 5 micro-batches (of 16), 3 recomputations, zero or not; dp 2 x tp 2: 6 (of 32), 3, zero,
  // sp; tp 4: 7 (of 64), 3, sp.
  EXPECT_EQ(found.tried, 5 * 3 * 2 + 6 * 3 * 2 * 2 + 7 * 3 * 2);
  for (size_t i = 1; i < found.ranked.size(); ++i) {
    EXPECT_LE(found.ranked[i - 1].step.total, found.ranked[i].step.total);
  }
}

TEST(SearchTest, DataParallelWinsWhereTalkWithinCopiesIsDear) {
  auto cluster = round_cluster();
  cluster.mutable_node_link()->set_call_us(5000);
  EXPECT_EQ(search(small_run(), 4, cluster).ranked.front().layout.tp, 1);
}

TEST(SearchTest, ACopyIsCutWhereItDoesNotFit) {
  auto cluster = round_cluster();
  // Weights, gradients and moments of one copy are 16 bytes a parameter.
  const RunPlan plan = small_run({"model.width=1024"});
  Layout whole;
  whole.ranks = 4;
  whole.recompute = TrainConfig::FULL;
  whole.zero = 1;
  RunPlan one = with_layout(plan, whole);
  one.on_gpu = true;
  cluster.set_memory_gib(plan_memory(one).total() * 0.99 / kGib);
  const SearchResult found = search(plan, 4, cluster);
  ASSERT_FALSE(found.ranked.empty());
  EXPECT_GT(found.ranked.front().layout.tp, 1);
  ASSERT_FALSE(found.too_large.empty());
  EXPECT_EQ(found.too_large.front().layout, whole);  // the nearest miss of tp 1
  EXPECT_NEAR(found.too_large.front().excess, plan_memory(one).total() * 0.01, 1);
}

TEST(SearchTest, RecomputationIsTakenWhereNothingElseFits) {
  auto cluster = round_cluster();
  const RunPlan plan = small_run({"train.global_batch=1", "model.context=1024"});
  Layout kept;
  RunPlan one = with_layout(plan, kept);
  one.on_gpu = true;
  cluster.set_memory_gib(plan_memory(one).total() * 0.999 / kGib);
  EXPECT_NE(search(plan, 1, cluster).ranked.front().layout.recompute, TrainConfig::NONE);
}

TEST(SearchTest, NothingFits) {
  auto cluster = round_cluster();
  cluster.set_memory_gib(0.01);
  const SearchResult found = search(small_run(), 4, cluster);
  EXPECT_TRUE(found.ranked.empty());
  EXPECT_EQ(found.too_large.size(), 3U);
}

TEST(PredictionTest, MemoryIsTheMemoryPlans) {
  for (const auto& more : std::vector<std::vector<std::string>>{
           {}, {"train.precision=BF16", "attention.kind=DAGPAM"}, {"attention.kind=DIFF2"}}) {
    for (const auto& candidate : search(small_run(more), 8, round_cluster()).ranked) {
      RunPlan plan = small_run(candidate.layout, more);
      plan.on_gpu = true;
      const MemoryPlan memory = plan_memory(plan);
      EXPECT_EQ(candidate.memory.total(), memory.total());
      EXPECT_LE(memory.masters, memory.optimizer);
      EXPECT_LT(memory.at_the_turn, memory.activations);
    }
  }
}

// Faster parts never make a slower step.
TEST(PredictionTest, MoreIsNeverSlower) {
  const std::vector<std::function<void(ClusterConfig&)>> changes{
      [](ClusterConfig& c) { c.mutable_node_link()->set_bandwidth_gbs(20); },
      [](ClusterConfig& c) { c.mutable_node_link()->set_all_reduce_gbs(20); },
      [](ClusterConfig& c) { c.mutable_node_link()->set_bucket_gbs(20); },
      [](ClusterConfig& c) { c.mutable_network()->set_bandwidth_gbs(3); },
      [](ClusterConfig& c) { c.mutable_device()->set_memory_gbs(200); },
      [](ClusterConfig& c) { c.mutable_device()->set_norm_gbs(200); },
      [](ClusterConfig& c) { c.mutable_device()->mutable_fp32()->set_sustained_tflops(2); },
      [](ClusterConfig& c) { c.mutable_device()->mutable_attention(0)->set_forward_tflops(2); },
      [](ClusterConfig& c) { c.mutable_device()->mutable_attention(0)->set_backward_tflops(2); }};
  const ClusterConfig slow = round_cluster();
  const std::vector<std::string> waits{"parallel.overlap=false"};
  std::vector<Prediction> before;
  for (const int ranks : {4, 8}) {  // of one node, and of two
    for (const Prediction& p : search(small_run(waits), ranks, slow).ranked) before.push_back(p);
  }
  for (size_t i = 0; i < changes.size(); ++i) {
    ClusterConfig fast = slow;
    changes[i](fast);
    double gained = 0;
    for (const Prediction& p : before) {
      const double now = predict(small_run(p.layout, waits), fast).step.total;
      EXPECT_LE(now, p.step.total * (1 + 1e-12)) << "change " << i << ", " << describe(p.layout);
      gained += p.step.total - now;
    }
    EXPECT_GT(gained, 0) << "change " << i << " touches nothing";
  }
}

TEST(PredictionTest, ASecondMapCosts) {
  const auto cluster = round_cluster();
  const auto attention = [&](const char* kind) {
    const Prediction p =
        predict(small_run(Layout{}, {std::string("attention.kind=") + kind}), cluster);
    const auto part = static_cast<size_t>(Part::kAttention);
    return p.forward.parts[part] + p.backward.parts[part];
  };
  EXPECT_GT(attention("DAGPAM"), attention("SOFTMAX"));
  EXPECT_GT(attention("SOFTMAX_WIDE"), attention("SOFTMAX"));
  EXPECT_GT(attention("DIFF"), attention("SOFTMAX"));
  EXPECT_GT(attention("NAP"), attention("NON"));
}

TEST(ScalingTest, ReachesThousandsOfRanks) {
  auto cluster =
      configs::load_cluster(std::string(DAGPAM_SOURCE_DIR) + "/configs/clusters/h100_8x.textproto");
  const RunPlan plan =
      small_run({"model.layers=48", "model.width=1600", "model.heads=25", "model.context=1024",
                 "train.global_batch=1024", "train.precision=BF16"});
  const auto strong = scale(plan, {8, 64, 512, 1024, 4096}, false, cluster);
  ASSERT_EQ(strong.size(), 5U);
  EXPECT_EQ(strong[0].efficiency, 1);
  EXPECT_LT(strong[2].efficiency, 1);
  EXPECT_LT(strong[3].efficiency, strong[2].efficiency);
  EXPECT_FALSE(strong[4].refused.empty());  // 25 heads and 1,024 sequences do not divide so far
  const auto weak = scale(plan, {8, 64, 512, 4096}, true, cluster);
  EXPECT_EQ(weak[3].global_batch, 1024 * 512);
  EXPECT_TRUE(weak[3].refused.empty());
  EXPECT_GT(weak[3].efficiency, strong[3].efficiency);
}

TEST(TotalsTest, CountStepsEvaluationsAndSaves) {
  RunPlan plan =
      small_run(Layout{}, {"train.eval_every=30", "train.eval_batches=5", "data.valid=none",
                           "checkpoint.every=40", "checkpoint.asynchronous=false"});
  const auto cluster = round_cluster("price_per_rank_hour: 2");
  const Prediction p = predict(plan, cluster);
  const RunTotals t = totals_of(plan, p, cluster);
  EXPECT_EQ(t.steps, 100);
  EXPECT_EQ(t.evaluations, 4);  // after 30, 60, 90, 100
  EXPECT_EQ(t.saves, 3);        // after 40, 80, 100
  EXPECT_DOUBLE_EQ(t.training, 100 * p.step.total);
  EXPECT_DOUBLE_EQ(t.saving, 3 * t.save_bytes / 1e9);
  EXPECT_DOUBLE_EQ(t.price, 2 * t.seconds() / 3600);
}

TEST(ReportTest, JsonHasEveryField) {
  Report report;
  report.cluster = round_cluster("known_error { step_percent: 7 compared_with: 'runs' }");
  report.plan = small_run(Layout{.ranks = 4, .tp = 2, .micro_batch = 8});
  report.ranks = 4;
  report.own = predict(report.plan, report.cluster);
  report.search = search(report.plan, 4, report.cluster);
  report.strong = scale(report.plan, {4, 8}, false, report.cluster);
  const std::string text = to_json(report);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  for (const char* field :
       {"name",           "cluster",     "origin", "ranks",   "parameters",  "tokens_per_step",
        "known_error",    "own_refused", "layout", "memory",  "collectives", "compute",
        "step",           "run",         "tried",  "fitting", "layouts",     "too_large",
        "strong_scaling", "weak_scaling"}) {
    EXPECT_TRUE(json.contains(field)) << field;
  }
  EXPECT_EQ(json["known_error"]["step_percent"], 7);
  EXPECT_TRUE(json["known_error"]["memory_percent"].is_null());
  EXPECT_DOUBLE_EQ(json["step"]["ms"], 1e3 * report.own->step.total);
  EXPECT_DOUBLE_EQ(json["memory"]["total"], report.own->memory.total());
  EXPECT_EQ(json["strong_scaling"].size(), 2U);
  const std::string shown = to_text(report);
  EXPECT_NE(shown.find("known error step time within 7 %"), std::string::npos);
  EXPECT_NE(shown.find("nominal rates: nothing was measured"), std::string::npos);
}

TEST(AssumedRunTest, SaysWhatItNeeds) {
  const auto error = [](const std::vector<std::string>& overrides) {
    try {
      assumed_run(configs::load({}, overrides));
    } catch (const ConfigError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error({"data.train.0.prefix=none", "train.steps=1"}).find("model.vocab: not set"),
            std::string::npos);
  EXPECT_NE(error({"data.train.0.prefix=none", "model.vocab=9", "train.epochs=2"}).find("epochs"),
            std::string::npos);
  EXPECT_NE(error({"data.train.0.prefix=none", "model.vocab=9", "train.steps=2",
                   "model.kind=ENCODER_DECODER"})
                .find("is not planned"),
            std::string::npos);
}

TEST(AssumedRunTest, RefusesLayoutsThatDoNotDivide) {
  const RunPlan plan = small_run();
  EXPECT_EQ(refusal(plan, {.ranks = 4, .tp = 2, .micro_batch = 32}), "");
  for (const Layout& bad : std::vector<Layout>{{.ranks = 4, .tp = 3},
                                               {.ranks = 16, .tp = 16},
                                               {.ranks = 3, .tp = 1},
                                               {.ranks = 4, .tp = 1, .micro_batch = 5}}) {
    EXPECT_NE(refusal(plan, bad), "") << describe(bad);
  }
}

}  // namespace
}  // namespace dagpam::trainer::planning
