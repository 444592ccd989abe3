#include "trainer/run_reporter.h"

#include <ATen/ops/zeros.h>

#include <cstdio>
#include <numeric>
#include <vector>

#include "configs/run_config.h"
#include "parallel/devices.h"
#include "trainer/telemetry/console.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

RunReporter::RunReporter(const RunPlan& plan, const RunFolder& folder,
                         parallel::Communicator& world, const parallel::Grid& grid)
    : plan_(plan), folder_(folder), world_(world), grid_(grid) {
  start_window();
}

void RunReporter::start_window() {
  begin_ = Clock::now();
  away_ = 0;
  loss_ = at::zeros({1}, at::TensorOptions(at::kDouble).device(world_.device()));
  steps_ = 0;
  before_.Clear();
}

void RunReporter::start_from(const Progress& progress) {
  start_window();
  before_ = progress.log_window;
  last_mean_ = progress.loss;
  at::Tensor splits = at::zeros({2}, at::kLong);  // valid, test
  if (first()) {
    metrics_.reset();  // its file is about to be replaced
    truncate_metrics(folder_.metrics(), progress.step);
    std::optional<EventFolder> events;
    if (plan_.config.log().tensorboard()) {
      events = {folder_.tensorboard(), progress.step, configs::print(plan_.config)};
    }
    metrics_ = std::make_unique<MetricsWriter>(folder_.metrics(), events);
    const auto found = evaluated_splits(folder_.metrics(), progress.step);
    splits.data_ptr<int64_t>()[0] = static_cast<int64_t>(found.count("valid"));
    splits.data_ptr<int64_t>()[1] = static_cast<int64_t>(found.count("test"));
  }
  world_.broadcast(splits, 0);
  evaluated_.clear();
  if (splits.data_ptr<int64_t>()[0] != 0) evaluated_.insert("valid");
  if (splits.data_ptr<int64_t>()[1] != 0) evaluated_.insert("test");
  valid_nll_.reset();
}

void RunReporter::describe_run(const std::string& run_dir) const {
  const std::string text = describe(plan_);
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    log_info(text.substr(at, end - at));
    at = end + 1;
  }
  log_info("run folder " + run_dir);
}

void RunReporter::add_step(const at::Tensor& loss, int64_t step) {
  loss_.add_(loss);
  ++steps_;
  ++steps_here_;
  evaluated_.clear();
  valid_nll_.reset();
  if (!first()) return;
  const double step_ms = 1e3 * seconds_since(started_) / static_cast<double>(steps_here_);
  show_progress(progress_line(step, plan_.steps, step_ms));
}

configs::Manifest::LogWindow RunReporter::window() const {
  // Losses are float32 and the sum is float64: no digit is lost, however the sum is split over
  // ranks and starts.
  at::Tensor sum = loss_.clone();
  grid_.dp->all_reduce(sum);
  configs::Manifest::LogWindow out;
  out.set_loss_sum(before_.loss_sum() + sum.item<double>());
  out.set_steps(before_.steps() + steps_);
  return out;
}

double RunReporter::mean_loss(const configs::Manifest::LogWindow& window) const {
  return window.steps() == 0 ? last_mean_ : window.loss_sum() / static_cast<double>(window.steps());
}

StepMetrics RunReporter::measure(const Progress& progress, TrainingStep& step, double loss) const {
  const double seconds = seconds_since(begin_) - away_;
  const auto steps = static_cast<double>(steps_);
  StepMetrics metrics;
  metrics.step = progress.step;
  metrics.tokens = progress.tokens;
  metrics.loss = loss;
  metrics.lr = step.rate(progress.step - 1);
  metrics.grad_norm = step.gradient_norm().item<double>();
  metrics.tokens_per_s = steps * static_cast<double>(plan_.tokens_per_step) / seconds;
  metrics.step_ms = 1e3 * seconds / steps;
  const double on_device = parallel::peak_device_bytes(world_.device());
  metrics.memory_gib = world_.device().is_cpu() ? peak_memory_gib() : on_device / (1 << 30);
  metrics.skipped = step.guard().skipped_steps();
  return metrics;
}

void RunReporter::log(const Progress& progress, TrainingStep& step) {
  last_mean_ = mean_loss(window());
  if (first()) {
    const StepMetrics metrics = measure(progress, step, last_mean_);
    metrics_->add(metrics);
    log_info(step_line(metrics, plan_.steps));
  }
  start_window();
}

void RunReporter::log_unfinished(const Progress& progress, TrainingStep& step) {
  const double loss = mean_loss(window());
  if (first() && steps_ > 0) log_info(step_line(measure(progress, step, loss), plan_.steps));
}

void RunReporter::add_evaluation(int64_t step, const std::string& split, const Evaluation& result) {
  evaluated_.insert(split);
  if (split == "valid") valid_nll_ = result.nll;
  if (!first()) return;
  metrics_->add(EvaluationMetrics{step, split, result.nll, result.perplexity()});
  log_info("step " + std::to_string(step) + " | " + split + " nll " + std::to_string(result.nll) +
           " | perplexity " + format_count(result.perplexity()) + " | " +
           format_count(static_cast<double>(result.tokens)) + " tokens");
}

void RunReporter::add_analysis(int64_t step, const Analysis& analysis) {
  Scalars scalars;
  for (size_t i = 0; i < analysis.layers.size(); ++i) {
    const LayerAnalysis& layer = analysis.layers[i];
    char name[32];
    std::snprintf(name, sizeof name, "/layer_%02zu", i + 1);
    const auto add_mean = [&](const char* group, const std::vector<double>& values) {
      if (values.empty()) return;
      const double sum = std::accumulate(values.begin(), values.end(), 0.0);
      scalars.emplace_back(group + std::string(name), sum / static_cast<double>(values.size()));
    };
    add_mean("collapse_ratio_1inf", {layer.stream.ratio_1inf.mean});
    add_mean("lambda_plus", layer.lambda_plus);
    add_mean("lambda_minus", layer.lambda_minus);
    add_mean("query_gradient", {layer.query_gradient});
  }
  if (metrics_) metrics_->add_scalars(step, scalars);
}

void RunReporter::flush() {
  if (metrics_) metrics_->flush();
}

}  // namespace dagpam::trainer
