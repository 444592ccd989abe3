// launch/report/run_history.h: what a run folder tells of its run, checked as it is read.
// Torch-free.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "configs/run.pb.h"

namespace dagpam::launch {

// A line of metrics.jsonl; NaN where it says null or nothing.
struct StepPoint {
  int64_t step = 0, tokens = 0, skipped = 0;
  double seconds = 0;  // spent on steps so far: step_ms summed up, without evaluations and saves
  double loss = 0, lr = 0, grad_norm = 0, tokens_per_s = 0, step_ms = 0, mfu = 0, memory_gib = 0;
};

struct EvaluationPoint {
  int64_t step = 0;
  double nll = 0, ppl = 0;
};

struct RunHistory {
  std::string folder;
  std::string label;          // short, its own among the runs that were read together
  configs::RunConfig config;  // resolved
  std::vector<StepPoint> steps;
  std::map<std::string, std::vector<EvaluationPoint>> evaluations;  // by split

  // From LOCK and the log of rank 0, where they are there.
  int64_t planned_steps = 0;      // 0: not known
  std::vector<int64_t> resumed;   // steps at which a later start went on
  std::vector<int64_t> returned;  // steps from which the run went back to a checkpoint
  std::string holder;             // who has the run's lock, or died with it: "host, process 12"; ""
  bool is_alive = false;          // that process is on this machine and alive

  int64_t last_step() const { return steps.empty() ? 0 : steps.back().step; }
  bool is_done() const { return planned_steps > 0 && last_step() >= planned_steps; }
};

// Reads config.textproto, metrics.jsonl, LOCK and logs/rank_00000.log of a run folder, and changes
// nothing there. A last line of metrics.jsonl without its end is one that is being written and is
// left out. Throws DataError, naming file and line, of anything else that is not as a run writes
// it; ConfigError of a bad config.
RunHistory read_run(const std::string& folder);

// read_run of each; labels are the folders' last names, longer where two are the same. Throws
// ConfigError where a folder is named twice.
std::vector<RunHistory> read_runs(const std::vector<std::string>& folders);

}  // namespace dagpam::launch
