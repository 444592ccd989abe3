#include "trainer/hang_guard.h"

#include <unistd.h>

#include <chrono>
#include <optional>
#include <system_error>
#include <utility>

#include "configs/errors.h"
#include "parallel/flight_recorder.h"
#include "parallel/thread_stacks.h"
#include "parallel/watchdog.h"
#include "parallel/watched_communicator.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

const char* name_of(HangGuard::Section section) {
  switch (section) {
    case HangGuard::Section::kInit:
      return "init";
    case HangGuard::Section::kStep:
      return "step";
    case HangGuard::Section::kEvaluation:
      return "evaluation";
    case HangGuard::Section::kCheckpoint:
      return "checkpoint";
  }
  return "";
}

std::chrono::seconds limit_of(HangGuard::Section section, const configs::WatchdogConfig& config) {
  switch (section) {
    case HangGuard::Section::kInit:
      return std::chrono::seconds(config.init_s());
    case HangGuard::Section::kStep:
      return std::chrono::seconds(config.step_s());
    case HangGuard::Section::kEvaluation:
      return std::chrono::seconds(config.evaluation_s());
    case HangGuard::Section::kCheckpoint:
      return std::chrono::seconds(config.checkpoint_s());
  }
  return std::chrono::seconds(0);
}

}  // namespace

struct HangGuard::State {
  State(const configs::WatchdogConfig& of, parallel::Communicator& inner, std::function<void()> end)
      : config(of),
        end_job(std::move(end)),
        recorder(inner.rank(), inner.size()),
        world(parallel::make_watched_communicator(
            inner, {.recorder = &recorder, .compare = of.compare_collectives()})) {
    parallel::prepare_thread_stacks();
    watchdog.emplace(
        parallel::Watchdog::Options{.on_expiry = [this](const auto& expired) { report(expired); }});
  }

  void report(const parallel::Watchdog::Expired& expired) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(expired.limit).count();
    log_error("rank " + std::to_string(world->rank()) + " hangs: section " + expired.section +
              ", step " + std::to_string(expired.step) + " has taken longer than watchdog." +
              expired.section + "_s, " + std::to_string(seconds) +
              " s; what every rank did last, then the threads of this one:");
    log_error(parallel::to_text(recorder.read()));
    flush_log();
    parallel::write_thread_stacks(STDERR_FILENO);
    end_job();
  }

  configs::WatchdogConfig config;
  std::function<void()> end_job;
  parallel::FlightRecorder recorder;
  std::unique_ptr<parallel::Communicator> world;
  std::optional<parallel::Watchdog> watchdog;  // last: it uses all of these
};

HangGuard::HangGuard(const configs::WatchdogConfig& config, parallel::Communicator& world,
                     std::function<void()> end_job)
    : state_(std::make_unique<State>(config, world, std::move(end_job))) {
  enter(Section::kInit, 0);
}

void HangGuard::share(const std::string& recorder_path) {
  try {
    state_->recorder.share(recorder_path);
  } catch (const std::system_error& error) {
    throw IoError(std::string(error.what()) +
                  ": the run folder must be writable and have some space left");
  }
}

HangGuard::~HangGuard() = default;

parallel::Communicator& HangGuard::world() { return *state_->world; }

void HangGuard::enter(Section section, int64_t step) {
  state_->recorder.section(name_of(section), step);
  state_->watchdog->enter(name_of(section), step, limit_of(section, state_->config));
}

std::string HangGuard::last_words() const { return parallel::to_text(state_->recorder.read()); }

}  // namespace dagpam::trainer
