#include "parallel/grid.h"

namespace dagpam::parallel {

Grid make_grid(Communicator& world, int tp) {
  const Topology topology(world.size(), tp);
  const int part = topology.tp_index(world.rank()), copy = topology.dp_index(world.rank());
  auto across_copies = world.split(part, copy);
  auto within_copy = world.split(copy, part);
  return {topology, std::move(across_copies), std::move(within_copy)};
}

}  // namespace dagpam::parallel
