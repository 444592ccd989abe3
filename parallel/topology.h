// parallel/topology.h: which rank sits where in the grid of data-parallel x tensor-parallel ranks.
// Integers only; every rank computes the same.
//
// Tensor-parallel ranks are innermost: the tp ranks of one model copy are neighbours, so they share
// a node where a launcher fills nodes one after the other. rank = dp_index * tp + tp_index.
#pragma once

#include <vector>

namespace dagpam::parallel {

class Topology {
 public:
  // world ranks in groups of tp. Throws c10::Error with the numbers where tp does not divide world.
  Topology(int world, int tp);

  int world() const { return dp_ * tp_; }
  int dp() const { return dp_; }  // copies of the model
  int tp() const { return tp_; }  // ranks that share one copy

  int dp_index(int rank) const;  // which copy, in [0, dp)
  int tp_index(int rank) const;  // which part of it, in [0, tp)
  int rank_at(int dp_index, int tp_index) const;

  // World ranks in group order: those with the same part of the model in every copy, ...
  std::vector<int> dp_group(int rank) const;  // dp of them
  // ... and those that share this rank's copy.
  std::vector<int> tp_group(int rank) const;  // tp of them

 private:
  int dp_ = 1, tp_ = 1;
};

}  // namespace dagpam::parallel
