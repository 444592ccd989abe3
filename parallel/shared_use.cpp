#include "parallel/shared_use.h"

namespace dagpam::parallel {
namespace {

constexpr int64_t kKiB = 1024, kMiB = 1024 * kKiB;

// Where MPI, which copies from process to process, was as fast or faster (docs/performance.md has
// the table): two ranks, bytes in [from, to).
struct Exception {
  SharedCall::Kind kind;
  int64_t from, to;
};
constexpr Exception kToMpi[] = {{SharedCall::Kind::kAllGather, kMiB, 32 * kMiB},
                                {SharedCall::Kind::kBroadcast, 32 * kKiB, 4 * kMiB}};

}  // namespace

bool goes_through_shared_memory(SharedMemoryUse use, SharedCall::Kind kind, int64_t bytes) {
  if (use != SharedMemoryUse::kAuto) return use == SharedMemoryUse::kOn;
  for (const Exception& one : kToMpi) {
    if (one.kind == kind && bytes >= one.from && bytes < one.to) return false;
  }
  return true;
}

}  // namespace dagpam::parallel
