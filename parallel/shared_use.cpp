#include "parallel/shared_use.h"

#include <c10/util/Exception.h>

namespace dagpam::parallel {

bool goes_through_shared_memory(SharedMemoryUse use, SharedCall::Kind, int64_t) {
  return use != SharedMemoryUse::kOff;
}

}  // namespace dagpam::parallel
