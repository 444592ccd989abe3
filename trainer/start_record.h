// trainer/start_record.h: a run that is started again and again without getting anywhere is stopped
// with a diagnosis. Torch-free.
//
// RUN/starts.jsonl holds a line for each start since the last one that got somewhere or ended
// cleanly: {"from", "reached", "host", "pid", "time"}; `reached` is the highest step that
// metrics.jsonl had told of by then.
#pragma once

#include <cstdint>
#include <string>

namespace dagpam::trainer {

// The highest step of metrics.jsonl; 0 where there is none.
int64_t reached_step(const std::string& metrics);

class StartRecord {
 public:
  // On rank 0, while the run's lock is held. Throws CheckpointError where the last three starts
  // began from the same step and none got past `reached`; IoError.
  StartRecord(const std::string& run_dir, int64_t from, int64_t reached);

  // The run ended as it should: earlier starts no longer count.
  void ended_cleanly() noexcept;

 private:
  std::string path_;
};

}  // namespace dagpam::trainer
