// parallel/consistency.h: do all ranks hold the same thing? Asked before the first step, where a
// difference would otherwise show as a run that silently learns something else.
#pragma once

#include <string>

#include "parallel/communicator.h"

namespace dagpam::parallel {

// A collective: every rank of the group calls it with its own digest (short text) of `what`, e.g.
// ("the resolved configuration", digest). Throws c10::Error on every rank where digests differ,
// naming the ranks that differ from rank 0 and their digests.
void require_same_on_all_ranks(Communicator& group, const std::string& what,
                               const std::string& digest);

}  // namespace dagpam::parallel
