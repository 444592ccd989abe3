// trainer/telemetry/phase.h: the phases of a step as ranges in Nsight Systems' timeline (NVTX):
// data, forward, backward, reduce, update, eval, save. Torch-free; does nothing in a build without
// CUDA, and next to nothing where no profiler is attached.
#pragma once

namespace dagpam::trainer {

// From here to the end of the scope, in this thread. `name`: a string literal.
class Phase {
 public:
  explicit Phase(const char* name);
  ~Phase();
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;
};

}  // namespace dagpam::trainer
