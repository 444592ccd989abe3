// trainer/planning/link_time.h: seconds of a collective, from the links between its ranks.
//
// A group of n ranks has g of them on each of N nodes. With bandwidths b (in the node) and B (a
// rank's share of the network), both in nccl-tests' count, S bytes, f = (n - 1) / n, of all-reduce
// twice that:
//   one node:  call + hops * hop + f S / b
//   several:   call + hops of both links + f S / min(b, g B): a ring through all ranks enters and
//              leaves a node once, and the g NICs carry g rings.
// An all-reduce has 2 (n - 1) hops in a ring, or, where that is less, 2 log2 of them in a tree; the
// others (n - 1). Sources: docs/planning.md.
#pragma once

#include "configs/cluster.pb.h"
#include "trainer/planning/collectives.h"

namespace dagpam::trainer::planning {

// Where the ranks of a group sit.
struct Placement {
  int ranks = 1;    // of the group
  int on_node = 1;  // of them on a node, at most
  int nodes() const { return (ranks + on_node - 1) / on_node; }
};
// Tensor-parallel ranks are neighbours, copies lie tp apart (docs/parallelism.md).
Placement placement_of(Group group, int ranks, int tp, int ranks_per_node);

// Of one call. The cluster must have the links that the placement needs: throws ConfigError.
double seconds_of(const Calls& calls, const Placement& placement,
                  const configs::ClusterConfig& cluster);

}  // namespace dagpam::trainer::planning
