#include "trainer/trainer.h"

#include <ATen/ops/zeros.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "data/batch_source.h"
#include "data/indexed_dataset.h"
#include "parallel/consistency.h"
#include "parallel/devices.h"
#include "parallel/grid.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/evaluation/evaluator.h"
#include "trainer/profiler.h"
#include "trainer/run_folder.h"
#include "trainer/run_plan.h"
#include "trainer/run_state.h"
#include "trainer/stop_signal.h"
#include "trainer/telemetry/console.h"
#include "trainer/telemetry/log.h"
#include "trainer/telemetry/metrics.h"
#include "trainer/telemetry/phase.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of the batch system, for the run folder's lock.
std::string job_id() {
  const char* id = std::getenv("SLURM_JOB_ID");
  return id ? id : "";
}

// What has gathered since the last line of metrics. Time spent in evaluation and saving is left
// out.
struct LogWindow {
  Clock::time_point start = Clock::now();
  double away = 0;  // seconds
  at::Tensor loss;  // [1] float64, on the device: this rank's share, sum over steps
  int64_t steps = 0;
};

class Run {
 public:
  Run(const TrainRequest& request, parallel::Communicator& world)
      : request_(request),
        world_(world),
        folder_{request.run_dir},
        plan_(plan_run(request.config, world.size())) {}

  void execute() {
    open_folder();
    start_state();
    describe_start();
    loop();
  }

 private:
  bool first() const { return world_.rank() == 0; }

  void open_folder();
  void start_state();
  void describe_start() const;
  void loop();
  bool stop_wanted();
  void finish_run();

  void log_step();
  void check_finite() const;
  void evaluate_split(const std::string& prefix, const std::string& split);
  void save();

  const TrainRequest& request_;
  parallel::Communicator& world_;
  RunFolder folder_;
  RunPlan plan_;
  std::optional<parallel::Grid> grid_;
  std::unique_ptr<checkpoint::RunLock> lock_;  // rank 0
  std::string lease_;                          // rank 0's, on every rank
  std::unique_ptr<TrainingStep> step_;
  std::unique_ptr<data::BatchSource> batches_;
  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<StopSignal> signal_ = std::make_unique<StopSignal>();
  Progress progress_;
  LogWindow window_;
  Clock::time_point started_ = Clock::now();
  double last_loss_ = 0;
  std::string stop_reason_;
  bool interrupted_ = false;
  int64_t saved_step_ = -1, evaluated_step_ = -1;
};

// Everything that can refuse the run comes before the first change on disk.
void Run::open_folder() {
  parallel::require_same_on_all_ranks(world_, "the resolved config", configs::digest(plan_.config),
                                      "give every rank the same --config files and overrides");
  grid_ = parallel::make_grid(world_, plan_.ranks / plan_.copies);
  // Rank 0 looks and tells, so that all ranks refuse together.
  at::Tensor holds = at::zeros({1}, at::kLong);
  if (first() && folder_.holds_a_run()) holds.fill_(1);
  world_.broadcast(holds, 0);
  if (holds.item<int64_t>() != 0 && request_.resume.empty()) {
    throw CheckpointError(request_.run_dir +
                          ": holds a run already: give --resume latest to go on "
                          "with it, or another --run-dir");
  }
  if (first()) {
    folder_.create();
    lock_ = std::make_unique<checkpoint::RunLock>(request_.run_dir, job_id());
    checkpoint::remove_stale(checkpoint::posix_file_system(), folder_.checkpoints(),
                             lock_->lease());
    lease_ = lock_->lease();
  }
  lease_ = world_.all_gather_bytes(lease_).front();
}

void Run::start_state() {
  const std::string from =
      request_.resume.empty() ? "" : find_resume_point(request_.run_dir, request_.resume, world_);
  step_ = std::make_unique<TrainingStep>(plan_.config, *grid_);
  if (!from.empty()) {
    std::vector<std::string> allowed = request_.allow_change;
    // A schedule that follows the length of the run may go on following it.
    if (!request_.config.schedule().has_decay_steps()) allowed.push_back("schedule.decay_steps");
    progress_ = load_run(from, plan_.config, allowed, *step_);
    saved_step_ = progress_.step;
    log_info("resuming from " + from + " (step " + std::to_string(progress_.step) +
             ", saved by dp " + std::to_string(progress_.saved_dp) + " x tp " +
             std::to_string(progress_.saved_tp) + ")");
  } else {
    if (request_.resume == "auto") log_info("no checkpoint yet: starting from step 0");
    if (!request_.init_from.empty()) load_parameters(request_.init_from, step_->model());
    progress_.run_id = new_run_id(world_);
  }
  batches_ = data::open_batches(plan_.config.data(), batch_options(plan_, grid_->dp->rank()),
                                progress_.data);
  // The log's file comes last: a resume that was refused has changed nothing.
  open_log(world_.rank(), world_.size(), folder_.log(world_.rank()));
  if (first()) {
    folder_.write_config(configs::print(plan_.config));
    truncate_metrics(folder_.metrics(), progress_.step);
    metrics_ = std::make_unique<MetricsWriter>(folder_.metrics());
  }
}

void Run::describe_start() const {
  const std::string text = describe(plan_);
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    log_info(text.substr(at, end - at));
    at = end + 1;
  }
  if (!request_.backend.empty()) log_info("backend    " + request_.backend);
  log_info("run folder " + request_.run_dir);
}

// True where any rank has a reason to stop after this step; all ranks get the same answer.
bool Run::stop_wanted() {
  const bool late = request_.max_minutes > 0 && seconds_since(started_) > 60 * request_.max_minutes;
  at::Tensor agreed = at::zeros({2}, at::kLong);  // ranks that got a signal, ranks out of time
  auto* ranks = agreed.data_ptr<int64_t>();
  ranks[0] = signal_->received() != 0;
  ranks[1] = late;
  world_.all_reduce(agreed);
  interrupted_ = ranks[0] > 0;
  if (interrupted_) stop_reason_ = "a signal asked to stop";
  if (ranks[1] > 0) stop_reason_ = "--max-minutes is over";
  if (request_.stop_after > 0 && progress_.step >= request_.stop_after) {
    stop_reason_ = "--stop-after " + std::to_string(request_.stop_after);
  }
  return !stop_reason_.empty();
}

void Run::loop() {
  const auto& train = plan_.config.train();
  const auto& every = plan_.config.checkpoint().every();
  StepProfiler profiler(request_.profile_steps, folder_.profile(world_.rank()));
  window_ = {};
  while (progress_.step < plan_.steps) {
    profiler.begin_step();
    const at::Tensor loss = step_->compute_gradients(
        progress_.step, [&]() -> const data::Batch& { return batches_->next(); });
    step_->update(progress_.step);
    profiler.end_step();
    ++progress_.step;
    progress_.tokens += plan_.tokens_per_step;
    window_.loss =
        window_.loss.defined() ? window_.loss.add_(loss) : loss.to(at::kDouble).reshape({1});
    const bool stop = stop_wanted();
    ++window_.steps;
    if (first()) {
      show_progress(
          progress_line(progress_.step, plan_.steps,
                        1e3 * seconds_since(started_) / static_cast<double>(progress_.step)));
    }
    const auto due = [&](int64_t interval) {
      return interval > 0 && progress_.step % interval == 0;
    };
    if (due(plan_.config.log().every()) || stop || progress_.step == plan_.steps) log_step();
    const Clock::time_point away = Clock::now();
    if (due(train.eval_every())) evaluate_split(plan_.config.data().valid(), "valid");
    if (due(every) || stop) save();
    window_.away += seconds_since(away);
    if (stop) break;
  }
  finish_run();
}

void Run::finish_run() {
  if (stop_reason_.empty()) {
    if (evaluated_step_ != progress_.step) evaluate_split(plan_.config.data().valid(), "valid");
    evaluate_split(plan_.config.data().test(), "test");
    save();
  }
  if (metrics_) metrics_->flush();
  const std::string where = "step " + std::to_string(progress_.step) + " of " +
                            std::to_string(plan_.steps) + ", saved in " + folder_.checkpoints();
  if (interrupted_) {
    throw Interrupted("stopped by a signal at " + where + ": go on with --resume latest");
  }
  log_info(stop_reason_.empty() ? "done: " + where : "stopped (" + stop_reason_ + ") at " + where);
  flush_log();
  world_.barrier();
  lock_.reset();
}

void Run::check_finite() const {
  const auto skipped = static_cast<int64_t>(step_->skipped().item<float>());
  if (skipped == 0) return;
  throw NonFiniteError("step " + std::to_string(progress_.step) +
                       ": loss or gradient not finite in " + std::to_string(skipped) +
                       " of the steps since the last log line: those updates were left out and "
                       "nothing was saved; lower optimizer.lr, "
                       "or look at the data; the last checkpoint is good");
}

void Run::log_step() {
  check_finite();
  grid_->dp->all_reduce(window_.loss);
  last_loss_ = window_.loss.item<double>() / static_cast<double>(window_.steps);
  const LogWindow window = std::exchange(window_, {});
  if (!first()) return;
  const double seconds = seconds_since(window.start) - window.away;
  const auto steps = static_cast<double>(window.steps);
  StepMetrics metrics;
  metrics.step = progress_.step;
  metrics.tokens = progress_.tokens;
  metrics.loss = last_loss_;
  metrics.lr = step_->rate(progress_.step - 1);
  metrics.grad_norm = step_->gradient_norm().item<double>();
  metrics.tokens_per_s = steps * static_cast<double>(plan_.tokens_per_step) / seconds;
  metrics.step_ms = 1e3 * seconds / steps;
  const double on_device = parallel::peak_device_bytes(world_.device());
  metrics.memory_gib = world_.device().is_cpu() ? peak_memory_gib() : on_device / (1 << 30);
  metrics_->add(metrics);
  log_info(step_line(metrics, plan_.steps));
}

void Run::evaluate_split(const std::string& prefix, const std::string& split) {
  if (prefix.empty()) return;
  const Phase phase("eval");
  const auto dataset = data::open_dataset(data::split_path(prefix, split));
  EvaluationOptions options;
  options.context = options.stride = plan_.config.model().context();
  options.batch = plan_.config.train().micro_batch();
  options.max_batches = split == "valid" ? plan_.config.train().eval_batches() : 0;
  options.reset_positions = plan_.config.data().reset_positions();
  options.reset_attention = plan_.config.data().reset_attention();
  options.progress = first();
  const Evaluation result = evaluate(step_->model(), *dataset, options, *grid_->dp);
  if (split == "valid") evaluated_step_ = progress_.step;
  if (!first()) return;
  metrics_->add(EvaluationMetrics{progress_.step, split, result.nll, result.perplexity()});
  log_info("step " + std::to_string(progress_.step) + " | " + split + " nll " +
           std::to_string(result.nll) + " | perplexity " + format_count(result.perplexity()) +
           " | " + format_count(static_cast<double>(result.tokens)) + " tokens");
}

void Run::save() {
  if (saved_step_ == progress_.step) return;
  const Phase phase("save");
  check_finite();
  progress_.data = batches_->position();
  SaveRequest request;
  request.checkpoints = folder_.checkpoints();
  request.lease = lease_;
  request.before_commit = [this] { lock_->check(); };
  request.config = &plan_.config;
  request.tokenizer_json = plan_.data.tokenizer_json;
  request.loss = last_loss_;
  save_run(request, progress_, *step_, *grid_, world_);
  saved_step_ = progress_.step;
  if (metrics_) metrics_->flush();
  log_info("saved step " + std::to_string(progress_.step));
}

}  // namespace

void train(const TrainRequest& request, parallel::Communicator& world) {
  Run(request, world).execute();
}

}  // namespace dagpam::trainer
