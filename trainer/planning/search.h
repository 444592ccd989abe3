// trainer/planning/search.h: every layout of so many ranks that divides and fits, by step time.
#pragma once

#include <string>
#include <vector>

#include "trainer/planning/prediction.h"

namespace dagpam::trainer::planning {

// A layout that does not fit, and by how much.
struct TooLarge {
  Layout layout;
  double excess = 0;  // bytes
};

struct SearchResult {
  std::vector<Prediction> ranked;   // those that fit, the fastest first; of equal ones the smaller
  std::vector<TooLarge> too_large;  // the nearest miss of each tp, by tp
  int64_t tried = 0;                // layouts that divide
};

// Over tp (within a node, or whole nodes), micro-batch, recomputation, ZeRO and sequence
// parallelism; the global batch stays. Throws as predict().
SearchResult search(const RunPlan& plan, int ranks, const configs::ClusterConfig& cluster);

// What takes most of the step: "matrix products, 71 %".
std::string bound_of(const Prediction& prediction);

// What makes `slower` slower than `best` most: "+12.1 ms: +10.3 within copies (tp), ...".
std::string why_slower(const Prediction& slower, const Prediction& best);

// Best layouts over growing numbers of ranks.
struct ScalingRow {
  int ranks = 1;
  int64_t global_batch = 1;
  Prediction best;
  std::string refused;    // why there is none; else empty
  double efficiency = 0;  // tokens/s of a rank over those of the first row
};
// Strong scaling keeps the global batch; weak scaling the sequences of a rank in the first row.
std::vector<ScalingRow> scale(const RunPlan& plan, const std::vector<int>& ranks, bool weak,
                              const configs::ClusterConfig& cluster);

}  // namespace dagpam::trainer::planning
