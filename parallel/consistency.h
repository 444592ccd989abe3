// parallel/consistency.h: do all ranks hold the same thing? Asked before the first step, where a
// difference would otherwise show as a run that silently learns something else.
#pragma once

#include <stdexcept>
#include <string>

#include "parallel/communicator.h"

namespace dagpam::parallel {

class RanksDiffer : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A collective: every rank of the group calls it with its own digest (short text) of `what`, e.g.
// ("the resolved configuration", digest). Throws RanksDiffer on every rank where digests differ,
// one line with `what`, the ranks that differ from rank 0, their digests, and `remedy`.
void require_same_on_all_ranks(Communicator& group, const std::string& what,
                               const std::string& digest, const std::string& remedy);

}  // namespace dagpam::parallel
