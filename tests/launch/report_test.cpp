#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "configs/errors.h"
#include "configs/field_text.h"
#include "configs/run_config.h"
#include "launch/report/curve.h"
#include "launch/report/html.h"
#include "launch/report/page.h"
#include "launch/report/tables.h"
#include "trainer/checkpoint/this_start.h"

namespace dagpam::launch {
namespace {

namespace fs = std::filesystem;

TEST(CurveTest, AShortCurveStaysAsItIs) {
  const auto points = condense({10, 20, 40}, {3, std::nan(""), 1}, 3);
  ASSERT_EQ(points.size(), 3U);
  EXPECT_EQ(points[0].step, 10);
  EXPECT_EQ(points[0].mean, 3);
  EXPECT_TRUE(std::isnan(points[1].mean));
  EXPECT_EQ(points[2].high, 1);
}

TEST(CurveTest, ALongOneKeepsItsMeanAndItsExtremes) {
  std::vector<int64_t> steps;
  std::vector<double> values;
  double sum = 0;
  for (int64_t i = 1; i <= 1000; ++i) {
    steps.push_back(i);
    values.push_back(i == 503 ? 99 : i == 700 ? -99 : std::sin(static_cast<double>(i)));
    sum += values.back();
  }
  const auto points = condense(steps, values, 50);
  ASSERT_EQ(points.size(), 50U);
  EXPECT_EQ(points.front().step, 1);
  EXPECT_EQ(points.back().step, 1000);
  double mean = 0, low = 0, high = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    mean += points[i].mean / 50;
    low = std::min(low, points[i].low);
    high = std::max(high, points[i].high);
    if (i > 0) {
      EXPECT_GT(points[i].step, points[i - 1].step);
    }
  }
  EXPECT_NEAR(mean, sum / 1000, 1e-12);
  EXPECT_EQ(low, -99);
  EXPECT_EQ(high, 99);
}

TEST(CurveTest, PlacesAreSpreadFromEndToEnd) {
  EXPECT_EQ(spread_places(3, 5), (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ(spread_places(11, 3), (std::vector<size_t>{0, 5, 10}));
  EXPECT_TRUE(spread_places(0, 5).empty());
}

TEST(HtmlTest, TextStaysText) {
  EXPECT_EQ(escape_html("<b title=\"a\" id='b'>&\n\xff"),
            "&lt;b title=&quot;a&quot; id=&#39;b&#39;&gt;&amp;\\n\\xff");
  EXPECT_EQ(escape_json_for_html(R"({"a":"</script><!--&"})"),
            R"({"a":"\u003c/script\u003e\u003c!--\u0026"})");
}

TEST(HtmlTest, WhatIsFilledInIsNotFilledInAgain) {
  EXPECT_EQ(fill_template("a{{x}}b{{y}}c", {{"x", "{{y}}"}, {"y", "2"}}), "a{{y}}b2c");
  EXPECT_THROW(fill_template("{{z}}", {}), std::logic_error);
}

TEST(FieldTextTest, ValuesBehindPaths) {
  configs::RunConfig config;
  config.mutable_model()->set_layers(7);
  auto* data = config.mutable_data()->add_train();
  data->set_prefix("a<b");
  config.mutable_optimizer()->add_betas(0.9);
  config.mutable_optimizer()->add_betas(0.95);
  EXPECT_EQ(configs::field_text(config, "model.layers"), "7");
  EXPECT_EQ(configs::field_text(config, "model.width"), "128");  // the default
  EXPECT_EQ(configs::field_text(config, "attention.kind"), "SOFTMAX");
  EXPECT_EQ(configs::field_text(config, "data.train.0.prefix"), "a<b");
  EXPECT_EQ(configs::field_text(config, "data.train"), "{ prefix: \"a<b\" }");
  EXPECT_EQ(configs::field_text(config, "optimizer.betas"), "0.9, 0.95");
  for (const char* path : {"model.vocab", "model.nothing", "", "data.train.1.prefix", "name.x"}) {
    EXPECT_EQ(configs::field_text(config, path), "") << path;
  }
}

class RunsTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("dagpam_report_" + std::to_string(getpid()));
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string make(const std::string& name, const std::string& metrics,
                   const std::string& config = "train { steps: 40 }") {
    fs::create_directories(root_ / name);
    std::ofstream(root_ / name / "config.textproto") << config;
    std::ofstream(root_ / name / "metrics.jsonl") << metrics;
    return (root_ / name).string();
  }

  void refuse(const std::string& metrics, const std::string& words) {
    const std::string folder = make("bad", metrics);
    try {
      read_run(folder);
      FAIL() << metrics;
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }

  fs::path root_;
};

constexpr const char* kGood =
    "{\"step\":10,\"tokens\":100,\"loss\":2.5,\"step_ms\":200,\"mfu\":null,\"skipped\":0}\n"
    "{\"step\":20,\"split\":\"valid\",\"nll\":2.25,\"ppl\":9.49}\n"
    "{\"step\":30,\"tokens\":300,\"loss\":null,\"step_ms\":100,\"skipped\":1}\n"
    "{\"step\":30,\"split\":\"valid\",\"nll\":2.75,\"ppl\":15.6}\n";

TEST_F(RunsTest, WhatAFolderTells) {
  const std::string folder = make("a", std::string(kGood) + "{\"step\":40,\"tok");
  fs::create_directories(root_ / "a" / "logs");
  std::ofstream(root_ / "a" / "logs" / "rank_00000.log")
      << "2026-11-27T23:18:07.923 I resuming from a/checkpoints/step-00000020 (step 20, saved by "
         "dp 1 x tp 1)\n2026-11-27T23:18:07.923 I going back from step 25 to x\n";
  const RunHistory run = read_run(folder);
  ASSERT_EQ(run.steps.size(), 2U);
  EXPECT_EQ(run.steps[0].seconds, 2);
  EXPECT_EQ(run.steps[1].seconds, 4);
  EXPECT_TRUE(std::isnan(run.steps[1].loss));
  EXPECT_EQ(run.evaluations.at("valid").size(), 2U);
  EXPECT_EQ(run.resumed, std::vector<int64_t>{20});
  EXPECT_EQ(run.returned, std::vector<int64_t>{25});
  EXPECT_EQ(state_of(run), "stopped");
  std::ofstream(root_ / "a" / "LOCK") << "host elsewhere\npid 12\n";
  EXPECT_EQ(state_of(read_run(folder)), "running or died on elsewhere, process 12");
  std::ofstream(root_ / "a" / "LOCK")
      << "host " + checkpoint::host_name() + "\npid " + std::to_string(getpid()) + "\n";
  EXPECT_EQ(state_of(read_run(folder)), "running");
  const std::string table = results_table({run});
  for (const char* words : {"30 / 40", "2.2500 <span class=\"soft\">@ 20</span>", "2.7500"}) {
    EXPECT_NE(table.find(words), std::string::npos) << words << table;
  }
}

TEST_F(RunsTest, DamageIsNamedByFileAndLine) {
  const std::string good = kGood;
  refuse(good + "{\"step\":40,\"tok\n" + good, "metrics.jsonl:5: '{\"step\":40,\"tok' is no JSON");
  refuse(good + "[1]\n", "metrics.jsonl:5");
  refuse(good + "\n", "metrics.jsonl:5");
  refuse("{\"tokens\":1}\n", "metrics.jsonl:1: no 'step'");
  refuse("{\"step\":-1,\"tokens\":1}\n", "step: -1");
  refuse("{\"step\":1e99,\"tokens\":1}\n", "step: 1e+99");
  refuse("{\"step\":18446744073709551615,\"tokens\":1}\n", "step: 18446744073709551615");
  refuse("{\"step\":1,\"tokens\":1,\"loss\":\"x\"}\n", "loss: \"x\" is no number");
  refuse("{\"step\":1,\"split\":\"train\",\"nll\":1}\n", "split: \"train\"");
  refuse(good + "{\"step\":30,\"tokens\":1}\n", "step 30 after step 30");
  refuse(good + "{\"step\":30,\"split\":\"valid\",\"nll\":1}\n", "evaluation of step 30");
}

TEST_F(RunsTest, LabelsTellFoldersApart) {
  const auto runs = read_runs({make("x/a", kGood), make("y/a", kGood), make("b", "") + "/"});
  EXPECT_EQ(runs[0].label, "x/a");
  EXPECT_EQ(runs[1].label, "y/a");
  EXPECT_EQ(runs[2].label, "b");
  EXPECT_EQ(state_of(runs[2]), "no step logged");
  EXPECT_THROW(read_runs({runs[0].folder, (root_ / "x" / "." / "a").string()}), ConfigError);
}

TEST_F(RunsTest, SettingsThatDiffer) {
  const auto runs = read_runs({make("a", kGood, "optimizer { lr: 0.001 }"), make("b", kGood, ""),
                               make("c", kGood, "name: \"<script>\" optimizer { lr: 0.003 }")});
  const std::string table = settings_table(runs);
  EXPECT_NE(table.find("optimizer.lr"), std::string::npos);
  EXPECT_NE(table.find("0.003"), std::string::npos);
  EXPECT_NE(table.find("&lt;script&gt;"), std::string::npos);
  EXPECT_EQ(table.find("<script>"), std::string::npos);
  EXPECT_EQ(table.find("model."), std::string::npos);
}

TEST_F(RunsTest, ManyLongRunsStayBelowFiveMegabytes) {
  RunHistory run = read_run(make("a", kGood));
  run.steps.clear();
  for (int64_t i = 1; i <= 5000; ++i) {
    const double noise = std::sin(static_cast<double>(i * i)) / 3;
    run.steps.push_back({.step = 10 * i,
                         .tokens = 5'242'880 * i,
                         .loss = 3 + noise,
                         .lr = 1e-4 * (2 + noise),
                         .grad_norm = 1 + noise,
                         .tokens_per_s = 1e6 * (2 + noise),
                         .step_ms = 250 + noise,
                         .memory_gib = 70 + noise});
  }
  const std::string page =
      report_page(std::vector<RunHistory>(60, run), {.title = "x", .made = "y", .points = 100'000});
  EXPECT_LT(page.size(), 5'000'000U);
  EXPECT_GT(page.size(), 1'000'000U);
}

}  // namespace
}  // namespace dagpam::launch
