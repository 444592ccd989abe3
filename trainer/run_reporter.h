// trainer/run_reporter.h: what a run tells of itself: metrics.jsonl, TensorBoard's event files, the
// log and the console.
//
// What stands in metrics.jsonl is a function of the run alone, not of where it was stopped and
// resumed: the sums of an interval that is under way travel in checkpoints.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "configs/manifest.pb.h"
#include "parallel/grid.h"
#include "trainer/analysis/analysis.h"
#include "trainer/evaluation/evaluator.h"
#include "trainer/run_folder.h"
#include "trainer/run_plan.h"
#include "trainer/run_state.h"
#include "trainer/telemetry/metrics.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

class RunReporter {
 public:
  // All must outlive this.
  RunReporter(const RunPlan& plan, const RunFolder& folder, parallel::Communicator& world,
              const parallel::Grid& grid);

  // The run goes on from here: later lines are dropped from metrics.jsonl, and an interval that
  // was under way is taken up. Also where a run goes back to a checkpoint. All ranks call.
  void start_from(const Progress& progress);

  void describe_run(const std::string& run_dir) const;

  // After each step: this copy's share of its loss, and the bar on a terminal.
  void add_step(const at::Tensor& loss, int64_t step);

  // A line for the interval that ends here. All ranks call.
  void log(const Progress& progress, TrainingStep& step);
  // The same for the log alone, of an interval that goes on. All ranks call.
  void log_unfinished(const Progress& progress, TrainingStep& step);

  void add_evaluation(int64_t step, const std::string& split, const Evaluation& result);
  // For TensorBoard: measures of each layer (means over heads), as docs/analysis.md has them.
  void add_analysis(int64_t step, const Analysis& analysis);
  // Whether the present step has been evaluated on the split, here or before this start.
  bool evaluated(const std::string& split) const { return evaluated_.count(split) > 0; }
  std::optional<double> valid_nll() const { return valid_nll_; }  // of the present step

  // Sums of the interval under way, and the mean loss of it or of the one before. All ranks call.
  configs::Manifest::LogWindow window() const;
  double mean_loss(const configs::Manifest::LogWindow& window) const;

  void exclude(double seconds) { away_ += seconds; }  // time that was not spent on steps
  void flush();  // until metrics.jsonl is on disk; from any thread. Throws IoError.

 private:
  using Clock = std::chrono::steady_clock;
  bool first() const { return world_.rank() == 0; }
  StepMetrics measure(const Progress& progress, TrainingStep& step, double loss) const;
  void start_window();

  const RunPlan& plan_;
  const RunFolder& folder_;
  parallel::Communicator& world_;
  const parallel::Grid& grid_;
  std::unique_ptr<MetricsWriter> metrics_;  // rank 0
  const Clock::time_point started_ = Clock::now();
  int64_t steps_here_ = 0;  // since this start

  // The interval under way.
  Clock::time_point begin_ = Clock::now();
  double away_ = 0;                      // seconds
  at::Tensor loss_;                      // [1] float64: this copy's share, summed over steps
  int64_t steps_ = 0;                    // of this start
  configs::Manifest::LogWindow before_;  // what an earlier start had gathered
  double last_mean_ = 0;

  std::set<std::string> evaluated_;
  std::optional<double> valid_nll_;
};

}  // namespace dagpam::trainer
