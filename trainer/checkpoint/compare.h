// trainer/checkpoint/compare.h: two checkpoints, bit by bit, whatever layouts they were saved
// under.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/checkpoint/reader.h"

namespace dagpam::checkpoint {

struct Difference {
  std::string tensor;
  std::string what;  // e.g. "12 of 128 elements differ, the first at [0, 3]"
};

struct Comparison {
  std::vector<Difference>
      differences;      // in the order of a's manifest, then those that only b holds
  int64_t tensors = 0;  // of a that were compared
  bool equal() const { return differences.empty(); }
};

enum class Compared { kAll, kWeights };  // kWeights: of the model alone, without optimizer state

// Compares names, types, shapes and all bits of the tensors. Reads a few MiB at a time.
Comparison compare(const Checkpoint& a, const Checkpoint& b, Compared what = Compared::kAll);

}  // namespace dagpam::checkpoint
