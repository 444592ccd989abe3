// trainer/telemetry/metrics.h: metrics.jsonl, the truth about a run for tests and plots.
// Torch-free.
//
// One JSON object a line: {"step","tokens","loss","lr","grad_norm","tokens_per_s","step_ms","mfu",
// "memory_gib","skipped"} for each log interval, {"step","split","nll","ppl"} for evaluations. The
// same numbers may go to TensorBoard's event files beside it. A thread of its own writes them, so
// the step never waits for the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "trainer/telemetry/event_file.h"

namespace dagpam::trainer {

struct StepMetrics {
  int64_t step = 0;    // steps done
  int64_t tokens = 0;  // trained on so far, over all ranks
  double loss = 0;     // nats a token, mean since the last line
  double lr = 0;
  double grad_norm = 0;  // before clipping, of the last step
  double tokens_per_s = 0;
  double step_ms = 0;         // mean since the last line
  std::optional<double> mfu;  // share of the device's peak rate; where that is known
  double memory_gib = 0;  // most that rank 0 held so far: of its GPU's memory, else of the process
  int64_t skipped = 0;    // steps whose update was left out
};

struct EvaluationMetrics {
  int64_t step = 0;
  std::string split;
  double nll = 0, ppl = 0;  // nats a token, exp(nll)
};

// Where TensorBoard looks for a run: a new event file for each start.
struct EventFolder {
  std::string path;    // made where it is missing
  int64_t from = 0;    // the step after which the run goes on: what was told of later ones is void
  std::string config;  // the resolved one, shown as text
};

class MetricsWriter {
 public:
  // Appends to `path`. Throws IoError naming path and reason.
  explicit MetricsWriter(const std::string& path, const std::optional<EventFolder>& folder = {});
  ~MetricsWriter();  // writes what is queued; a failure is then only logged
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  void add(const StepMetrics& metrics);
  void add(const EvaluationMetrics& metrics);
  void add_line(const std::string& object);  // of a file of other objects; without its line end
  void add_scalars(int64_t step, const Scalars& scalars);  // for TensorBoard alone
  void flush();  // returns when all is on disk; throws IoError of an earlier write too

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The splits that have an evaluation of `step` there. No file: none.
std::set<std::string> evaluated_splits(const std::string& path, int64_t step);

// Drops the lines after `step` (a run that resumes there will write them again). No file: nothing
// to do.
void truncate_metrics(const std::string& path, int64_t step);

}  // namespace dagpam::trainer
