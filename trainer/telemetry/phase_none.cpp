// phase.h in a build without CUDA.
#include "trainer/telemetry/phase.h"

namespace dagpam::trainer {

Phase::Phase(const char*) {}
Phase::~Phase() {}

}  // namespace dagpam::trainer
