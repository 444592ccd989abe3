// Analyses along a run: they change no bit of it, and their lines do not depend on where it stops.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/trainer/child_runs.h"

namespace dagpam::trainer {
namespace {

class RunAnalysisTest : public testing::ChildRuns {
 protected:
  static TrainRequest request_of(const std::string& name, std::vector<std::string> more) {
    more.insert(more.end(), {"train.steps=24", "log.every=4", "checkpoint.every=7"});
    return request(name, more);
  }
  static std::vector<std::string> lines(const TrainRequest& request) {
    std::vector<std::string> all;
    std::istringstream text(data::read_bytes(request.run_dir + "/analysis.jsonl"));
    for (std::string line; std::getline(text, line);) all.push_back(line);
    return all;
  }
};

TEST_F(RunAnalysisTest, TrainingIsTheSameBits) {
  const std::vector<std::vector<std::string>> variants{
      {}, {"parallel.zero=1", "parallel.overlap=true"}, {"train.precision=BF16"}};
  for (size_t i = 0; i < variants.size(); ++i) {
    SCOPED_TRACE(i);
    const std::string tag = std::to_string(i);
    std::vector<std::string> overrides = variants[i];
    const TrainRequest without = request_of("without" + tag, overrides);
    overrides.emplace_back("log.analyze_every=5");
    const TrainRequest with = request_of("with" + tag, overrides);
    ASSERT_EQ(run(without), 0);
    ASSERT_EQ(run(with), 0);
    expect_same_end(without.run_dir, with.run_dir);
    EXPECT_TRUE(lines(without).empty());
    const auto all = lines(with);
    ASSERT_EQ(all.size(), 5u);  // steps 0, 5, 10, 15, 20
    for (size_t at = 0; at < all.size(); ++at) {
      const auto line = nlohmann::json::parse(all[at]);
      EXPECT_EQ(line["step"], 5 * at);
      EXPECT_EQ(line["sequences"], 4);
      EXPECT_EQ(line["gradients"].size(), 1u);
      EXPECT_GT(line["gradients"][0]["query"], 0);
    }
    EXPECT_NE(nlohmann::json::parse(all[0])["lambdas"], nlohmann::json::parse(all[4])["lambdas"]);
  }
}

TEST_F(RunAnalysisTest, LinesAreThoseOfARunThatNeverStopped) {
  const TrainRequest whole = request_of("whole", {"log.analyze_every=4"});
  ASSERT_EQ(run(whole), 0);
  TrainRequest stopped = request_of("stopped", {"log.analyze_every=4"});
  stopped.max_minutes = 1e-9;  // before the analysis of step 0
  ASSERT_EQ(run(stopped), 0);
  stopped.max_minutes = 0;
  for (const int64_t step : {3, 4, 10, 12, 24, 24}) {
    stopped.stop_after = step;
    ASSERT_EQ(run(stopped), 0);
  }
  EXPECT_EQ(lines(whole).size(), 7u);
  EXPECT_EQ(lines(whole), lines(stopped));
}

TEST_F(RunAnalysisTest, IsRefusedWithoutAWholeModelOrData) {
  const TrainRequest cut = request_of("cut", {"log.analyze_every=4", "parallel.tensor=2"});
  EXPECT_THROW(configs::validate(cut.config), ConfigError);
  const TrainRequest blind = request_of("blind", {"log.analyze_every=4", "data.valid="});
  EXPECT_THROW(configs::validate(blind.config), ConfigError);
}

}  // namespace
}  // namespace dagpam::trainer
