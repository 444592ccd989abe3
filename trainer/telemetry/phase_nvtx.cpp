// phase.h with CUDA in the build.
#include <nvtx3/nvToolsExt.h>

#include "trainer/telemetry/phase.h"

namespace dagpam::trainer {

Phase::Phase(const char* name) { nvtxRangePushA(name); }
Phase::~Phase() { nvtxRangePop(); }

}  // namespace dagpam::trainer
