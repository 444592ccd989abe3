// trainer/run_folder.h: where a run keeps what it writes (docs/formats.md). Torch-free.
#pragma once

#include <memory>
#include <string>

namespace dagpam::trainer {

struct RunFolder {
  std::string root;
  std::string config() const { return root + "/config.textproto"; }
  std::string metrics() const { return root + "/metrics.jsonl"; }
  std::string analysis() const { return root + "/analysis.jsonl"; }
  std::string tensorboard() const { return root + "/tensorboard"; }
  std::string checkpoints() const { return root + "/checkpoints"; }
  std::string log(int rank) const;      // logs/rank_00000.log
  std::string profile(int rank) const;  // profile/rank_00000.json

  std::string flight_recorder() const;  // of this node's ranks: logs/flight_recorder_HOST

  bool holds_a_run() const;  // a config or a checkpoint is there
  // Makes the folder and its parts, durably: a checkpoint lasts no longer than the folders above
  // it. Throws IoError naming the folder and the reason.
  void create() const;
  // The old text or the new one is there at any time, and the new one is durable. Throws IoError.
  void write_config(const std::string& text) const;
};

}  // namespace dagpam::trainer
