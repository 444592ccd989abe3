// trainer/telemetry/background_writer.h: files that grow while others go on computing. Torch-free.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace dagpam::trainer {

// Appends to some files on one thread of its own, in the order of the calls. Any thread may call.
class BackgroundWriter {
 public:
  // Files that are missing are made. Throws IoError naming path and reason.
  explicit BackgroundWriter(const std::vector<std::string>& paths);
  ~BackgroundWriter();  // writes what is queued; a failure is then only logged
  BackgroundWriter(const BackgroundWriter&) = delete;
  BackgroundWriter& operator=(const BackgroundWriter&) = delete;

  void add(size_t file, const std::string& bytes);  // `file`: place among the paths
  void flush();  // returns when all is on disk; throws IoError of an earlier write too

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dagpam::trainer
