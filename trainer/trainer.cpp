#include "trainer/trainer.h"

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "attention/notes.h"
#include "configs/errors.h"
#include "configs/run_config.h"
#include "data/batch_source.h"
#include "parallel/comm_error.h"
#include "parallel/consistency.h"
#include "parallel/grid.h"
#include "trainer/analysis/run_analysis.h"
#include "trainer/bad_step_policy.h"
#include "trainer/evaluation/split_evaluation.h"
#include "trainer/hang_guard.h"
#include "trainer/profiler.h"
#include "trainer/replica_check.h"
#include "trainer/run_claim.h"
#include "trainer/run_control.h"
#include "trainer/run_data.h"
#include "trainer/run_folder.h"
#include "trainer/run_plan.h"
#include "trainer/run_reporter.h"
#include "trainer/run_saver.h"
#include "trainer/run_state.h"
#include "trainer/start_record.h"
#include "trainer/telemetry/log.h"
#include "trainer/telemetry/phase.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

namespace {

class Run {
 public:
  Run(const TrainRequest& request, parallel::Communicator& world)
      : request_(request),
        world_(world),
        folder_{request.run_dir},
        plan_(plan_run(request.config, world.size())) {
    plan_.on_gpu = world.device().is_cuda();
  }

  void execute() {
    try {
      run();
    } catch (const parallel::CommError&) {
      if (hang_guard_) log_error("what every rank did last:\n" + hang_guard_->last_words());
      throw;
    }
  }

 private:
  void run() {
    open_folder();
    start_state();
    reporter_->describe_run(request_.run_dir);
    if (!request_.backend.empty()) log_info("backend    " + request_.backend);
    if (plan_.copies > 1) {
      log_info(std::string("overlap    gradients are reduced ") +
               (step_->overlaps() ? "while backward runs" : "after backward"));
    }
    if (plan_.config.parallel().cuda_graph()) {
      log_info(step_->has_graph()
                   ? "graph      a step's gradients are recorded, then started as one"
                   : "graph      not recorded: that takes one rank, on a GPU");
    }
    loop();
    finish_run();
  }

  bool first() const { return world_.rank() == 0; }
  bool due(int64_t interval) const { return interval > 0 && progress_.step % interval == 0; }

  void open_folder();
  void start_state();
  Progress load(const std::string& from);
  void loop();
  void take_step();
  bool look_for_bad_steps();
  void roll_back();
  void evaluate_split(const std::string& prefix, const std::string& split);
  void start_analyses();
  void analyze();
  void save();
  void finish_run();

  const TrainRequest& request_;
  parallel::Communicator& world_;
  RunFolder folder_;
  RunPlan plan_;
  std::unique_ptr<HangGuard> hang_guard_;
  std::optional<parallel::Grid> grid_;
  std::unique_ptr<RunClaim> claim_;
  std::optional<StartRecord> start_record_;  // rank 0
  std::unique_ptr<RunControl> control_;
  std::unique_ptr<TrainingStep> step_;
  std::unique_ptr<BadStepPolicy> bad_steps_;
  std::unique_ptr<data::BatchSource> batches_;
  std::unique_ptr<RunReporter> reporter_;
  std::unique_ptr<RunAnalysis> analysis_;  // rank 0, where log.analyze_every says so
  std::unique_ptr<RunSaver> saver_;        // after what its threads use
  Progress progress_;
  int64_t saved_step_ = -1;  // that a save has begun of, or that was loaded
};

// Everything that can refuse the run comes before the first change on disk.
void Run::open_folder() {
  parallel::require_same_on_all_ranks(world_, "the resolved config", configs::digest(plan_.config),
                                      "give every rank the same --config files and overrides");
  claim_ = std::make_unique<RunClaim>(folder_, !request_.resume.empty(), world_);
  // mpirun ends the other ranks when one ends with an error.
  hang_guard_ = std::make_unique<HangGuard>(plan_.config.watchdog(), world_,
                                            [] { std::_Exit(static_cast<int>(ExitCode::kHang)); });
  grid_ = parallel::make_grid(hang_guard_->world(), plan_.ranks / plan_.copies);
  control_ = std::make_unique<RunControl>(
      RunLimits{request_.run_dir, request_.max_minutes, request_.stop_after}, world_);
}

Progress Run::load(const std::string& from) {
  std::vector<std::string> allowed = request_.allow_change;
  // A schedule that follows the length of the run may go on following it.
  if (!request_.config.schedule().has_decay_steps()) allowed.push_back("schedule.decay_steps");
  return load_run(from, plan_.config, plan_.data.tokenizer_digest, allowed, *step_);
}

void Run::start_state() {
  const std::string from =
      request_.resume.empty() ? "" : find_resume_point(request_.run_dir, request_.resume, world_);
  step_ = std::make_unique<TrainingStep>(plan_.config, *grid_);
  std::string origin;  // told when the log's file is open
  if (!from.empty()) {
    progress_ = load(from);
    saved_step_ = progress_.step;
    origin = "resuming from " + from + " (step " + std::to_string(progress_.step) +
             ", saved by dp " + std::to_string(progress_.saved_dp) + " x tp " +
             std::to_string(progress_.saved_tp) + ")";
  } else {
    if (request_.resume == "auto") origin = "no checkpoint yet: starting from step 0";
    if (!request_.init_from.empty()) load_parameters(request_.init_from, *step_);
    progress_.run_id = new_run_id(world_);
  }
  batches_ = open_training_data(plan_, grid_->dp->rank(), progress_.data,
                                is_allowed(request_.allow_change, "data.train"));
  warn_of_other_data(progress_.data, batches_->position());
  if (first()) {
    start_record_.emplace(request_.run_dir, progress_.step, reached_step(folder_.metrics()));
  }
  // The log's file comes last: a resume that was refused has changed nothing.
  open_log(world_.rank(), world_.size(), folder_.log(world_.rank()));
  if (!origin.empty()) log_info(origin);
  hang_guard_->share(folder_.flight_recorder());
  if (first()) folder_.write_config(configs::print(plan_.config));
  reporter_ = std::make_unique<RunReporter>(plan_, folder_, world_, *grid_);
  reporter_->start_from(progress_);
  bad_steps_ = std::make_unique<BadStepPolicy>(plan_.config.train().bad_step(), step_->guard());
  SaveSettings settings;
  settings.checkpoints = folder_.checkpoints();
  settings.lease = claim_->lease();
  settings.before_commit = [this] {
    claim_->check();
    reporter_->flush();  // a checkpoint never runs ahead of the lines that lead to it
    if (analysis_) analysis_->flush();
  };
  settings.config = plan_.config;
  settings.tokenizer_json = plan_.data.tokenizer_json;
  saver_ = std::make_unique<RunSaver>(std::move(settings), *step_, *grid_, world_);
}

void Run::take_step() {
  hang_guard_->enter(HangGuard::Section::kStep, progress_.step + 1);
  const at::Tensor loss = step_->compute_gradients(
      progress_.step, [&]() -> const data::Batch& { return batches_->next(); });
  step_->update(progress_.step);
  ++progress_.step;
  progress_.tokens += step_->step_tokens();
  reporter_->add_step(loss, progress_.step);
  for (const std::string& line : attention::take_notes()) log_info("attention  " + line);
}

void Run::loop() {
  const auto& config = plan_.config;
  const int64_t eval_every = config.train().eval_every();
  StepProfiler profiler(request_.profile_steps, folder_.profile(world_.rank()),
                        world_.device().is_cuda());
  control_->poll_now(saver_.get());  // what came while all was being made ready
  control_->stop_after(progress_.step);
  start_analyses();
  // An evaluation that a stop cut short comes first.
  if (progress_.step > 0 && due(eval_every)) evaluate_split(config.data().valid(), "valid");
  while (!control_->stop() && progress_.step < plan_.steps) {
    profiler.begin_step();
    take_step();
    profiler.end_step();
    control_->poll(saver_.get());
    const bool last = progress_.step == plan_.steps;
    const bool log = due(config.log().every()) || last;
    const bool save_due = due(config.checkpoint().every()) && !last;
    // Where a look waits for a device, only when the loop waits for it anyway.
    if ((step_->guard().on_host() || log || save_due) && look_for_bad_steps()) continue;
    if (due(config.watchdog().replicas_every()) && plan_.ranks > 1) {
      check_replicas(step_->model().parameters().all(), grid_->topology, hang_guard_->world(),
                     progress_.step);
    }
    if (!last) control_->stop_after(progress_.step);
    if (log) reporter_->log(progress_, *step_);
    const auto away = std::chrono::steady_clock::now();
    if (due(eval_every)) evaluate_split(config.data().valid(), "valid");
    if (due(config.log().analyze_every())) analyze();
    if (control_->take_save_wish() || save_due) save();
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - away;
    reporter_->exclude(spent.count());
  }
}

void Run::finish_run() {
  const bool last = progress_.step == plan_.steps;
  if (!control_->stop() && last) {
    evaluate_split(plan_.config.data().valid(), "valid");
    evaluate_split(plan_.config.data().test(), "test");
  }
  if (!last) reporter_->log_unfinished(progress_, *step_);
  save();
  hang_guard_->enter(HangGuard::Section::kCheckpoint, progress_.step);
  saver_->finish();
  control_->settle();
  if (first()) reporter_->flush();
  if (analysis_) analysis_->flush();
  const std::string where = "step " + std::to_string(progress_.step) + " of " +
                            std::to_string(plan_.steps) + ", saved in " + folder_.checkpoints();
  if (start_record_) start_record_->ended_cleanly();
  if (control_->interrupted()) {
    throw Interrupted("stopped by a signal at " + where + ": go on with --resume latest");
  }
  log_info(control_->stop() ? "stopped (" + control_->reason() + ") at " + where
                            : "done: " + where);
  flush_log();
  world_.barrier();
  claim_.reset();
}

// True where the run went back to a checkpoint. All ranks look at the same steps.
bool Run::look_for_bad_steps() {
  try {
    if (bad_steps_->look() == BadStepPolicy::Verdict::kGoOn) return false;
  } catch (const NonFiniteError&) {
    world_.barrier();  // throws what happened instead, where an aborted group left these numbers
    saver_->finish();  // the state that it saves was good
    throw;
  }
  roll_back();
  return true;
}

// The model goes back to its newest checkpoint, and the data goes on: what lay between is not used
// again.
void Run::roll_back() {
  saver_->finish();
  const data::DataPosition after = batches_->position();
  const std::string from = find_resume_point(request_.run_dir, "auto", world_);
  if (from.empty()) bad_steps_->fail_without_checkpoint();
  const int64_t here = progress_.step;
  progress_ = load(from);
  log_info("going back from step " + std::to_string(here) + " to " + from + "; the samples " +
           std::to_string(progress_.data.next_sample) + " to " + std::to_string(after.next_sample) +
           " are not used again");
  progress_.data = after;
  saved_step_ = progress_.step;
  step_->guard().count_rollback();
  reporter_->start_from(progress_);
  start_analyses();
}

// An analysis of the present step that a stop left out comes first.
void Run::start_analyses() {
  const int64_t every = plan_.config.log().analyze_every();
  if (every == 0) return;
  if (first()) analysis_ = std::make_unique<RunAnalysis>(plan_.config, folder_, progress_.step);
  if (due(every) && !(analysis_ && analysis_->analyzed())) analyze();
}

// By the first copy of the model alone, while the others go on to where they wait for it. All ranks
// call.
void Run::analyze() {
  if (control_->stop()) return;
  const Phase phase("analyze");
  hang_guard_->enter(HangGuard::Section::kEvaluation, progress_.step);
  step_->wait_for_parameters();
  if (!analysis_) return;
  reporter_->add_analysis(progress_.step, analysis_->analyze(step_->model(), progress_.step));
}

void Run::evaluate_split(const std::string& prefix, const std::string& split) {
  if (prefix.empty() || control_->stop() || reporter_->evaluated(split)) return;
  const Phase phase("eval");
  hang_guard_->enter(HangGuard::Section::kEvaluation, progress_.step);
  const Evaluation result = trainer::evaluate_split(
      plan_, step_->model(), prefix, split, *grid_->dp,
      [this] { return control_->poll(saver_.get()); }, first());
  if (result.given_up) return log_info("the evaluation is left: it will be done on resume");
  reporter_->add_evaluation(progress_.step, split, result);
}

void Run::save() {
  if (look_for_bad_steps() || saved_step_ == progress_.step) return;
  const Phase phase("save");
  hang_guard_->enter(HangGuard::Section::kCheckpoint, progress_.step);
  progress_.data = batches_->position();
  progress_.log_window = reporter_->window();
  progress_.loss = reporter_->mean_loss(progress_.log_window);
  progress_.valid_nll = reporter_->valid_nll();
  progress_.guard = step_->guard().save();
  saver_->begin(progress_);
  saved_step_ = progress_.step;
}

}  // namespace

void train(const TrainRequest& request, parallel::Communicator& world) {
  Run(request, world).execute();
}

}  // namespace dagpam::trainer
