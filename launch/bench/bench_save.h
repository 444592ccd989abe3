// launch/bench/bench_save.h: how long a save in the background keeps training from going on.
#pragma once

#include "launch/bench/bench_checkpoint.h"

namespace dagpam::launch {

// One rank, a model whose parameters and moments have about `mib` MiB. In each round a save begins
// (trainer::RunSaver::begin, after which a training step would go on) and as many bytes are copied
// in host memory, tensor by tensor on one thread, in turn; the disk is waited for in between. Rows:
//   first stall   the first save, which has no memory yet, beside a copy into new memory
//   stall         every later one, beside a copy into the same memory as before
// `directory` becomes the run's checkpoints/. Throws IoError.
void bench_save(const CheckpointBenchOptions& options, const std::string& directory);

}  // namespace dagpam::launch
