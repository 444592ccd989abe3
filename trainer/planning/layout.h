// trainer/planning/layout.h: how ranks share out a run: what `dagpam plan` chooses between.
#pragma once

#include <cstdint>
#include <string>

#include "configs/run.pb.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer::planning {

struct Layout {
  int ranks = 1;
  int tp = 1;  // ranks that share a copy of the model
  int64_t micro_batch = 1;
  configs::TrainConfig::Recompute recompute = configs::TrainConfig::NONE;
  int zero = 0;
  bool sequence_parallel = false;

  int dp() const { return ranks / tp; }
  bool operator==(const Layout&) const = default;
};

// The one that the plan's config has.
Layout layout_of(const RunPlan& plan);

// The plan under another layout; global batch and all else stay.
RunPlan with_layout(const RunPlan& plan, const Layout& layout);

// "dp 8 x tp 2 sp, zero, micro-batch 4, recompute SELECTIVE"
std::string describe(const Layout& layout);

// The overrides that give a config this layout: "--set parallel.tensor=2 ...".
std::string as_overrides(const Layout& layout);

}  // namespace dagpam::trainer::planning
