// trainer/profiler.h: a trace of a few steps, as chrome://tracing and Perfetto read it.
#pragma once

#include <cstdint>
#include <string>

namespace dagpam::trainer {

// Traces `steps` steps from the third on (the first two warm up caches) and writes `path`; on a GPU
// its kernels and the calls of the CUDA runtime too. 0: does nothing.
class StepProfiler {
 public:
  StepProfiler(int64_t steps, std::string path, bool on_gpu)
      : left_(steps), path_(std::move(path)), on_gpu_(on_gpu) {}
  void begin_step();
  void end_step();  // throws IoError where the trace cannot be written

 private:
  int64_t left_, seen_ = 0;
  std::string path_;
  bool on_gpu_;
  bool running_ = false;
};

}  // namespace dagpam::trainer
