#include "parallel/topology.h"

#include <c10/util/Exception.h>

#include <vector>

namespace dagpam::parallel {

Topology::Topology(int world, int tp) : tp_(tp) {
  TORCH_CHECK(world >= 1, "a topology of ", world, " ranks: at least 1 is needed");
  TORCH_CHECK(tp >= 1, "tensor-parallel groups of ", tp, " ranks: at least 1 is needed");
  TORCH_CHECK(world % tp == 0, world, " ranks cannot be cut into tensor-parallel groups of ", tp,
              ": the number of ranks must be a multiple of ", tp);
  dp_ = world / tp;
}

int Topology::dp_index(int rank) const {
  TORCH_CHECK(rank >= 0 && rank < world(), "rank ", rank, " is not in [0, ", world(), ")");
  return rank / tp_;
}

int Topology::tp_index(int rank) const {
  TORCH_CHECK(rank >= 0 && rank < world(), "rank ", rank, " is not in [0, ", world(), ")");
  return rank % tp_;
}

int Topology::rank_at(int dp_index, int tp_index) const {
  TORCH_CHECK(dp_index >= 0 && dp_index < dp_ && tp_index >= 0 && tp_index < tp_, "place (",
              dp_index, ", ", tp_index, ") is not in a grid of ", dp_, " x ", tp_);
  return dp_index * tp_ + tp_index;
}

std::vector<int> Topology::dp_group(int rank) const {
  std::vector<int> ranks;
  for (int i = 0; i < dp_; ++i) {
    ranks.push_back(rank_at(i, tp_index(rank)));
  }
  return ranks;
}

std::vector<int> Topology::tp_group(int rank) const {
  std::vector<int> ranks;
  for (int i = 0; i < tp_; ++i) {
    ranks.push_back(rank_at(dp_index(rank), i));
  }
  return ranks;
}

}  // namespace dagpam::parallel
