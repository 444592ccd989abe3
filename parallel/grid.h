// parallel/grid.h: the groups of one rank in a grid of data-parallel x tensor-parallel ranks.
#pragma once

#include <memory>

#include "parallel/communicator.h"
#include "parallel/topology.h"

namespace dagpam::parallel {

struct Grid {
  Topology topology;
  std::unique_ptr<Communicator> dp;  // ranks with the same part of the model: batches differ
  std::unique_ptr<Communicator>
      tp;  // ranks that share one copy of the model: the batch is the same
};

// All ranks of `world` call, with the same tp. Throws c10::Error where tp does not divide the
// world's size; CommError.
Grid make_grid(Communicator& world, int tp);

}  // namespace dagpam::parallel
