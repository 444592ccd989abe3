// trainer/planning/report.h: predictions as people and programs read them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trainer/planning/search.h"

namespace dagpam::trainer::planning {

// All that a report has.
struct Report {
  RunPlan plan;  // under the layout that is shown in full
  configs::ClusterConfig cluster;
  std::optional<Prediction> own;  // of the config's own layout
  std::string own_refused;        // why there is none
  int ranks = 1;
  SearchResult search;
  std::vector<ScalingRow> strong, weak;  // empty: not asked for

  // In full: the config's own layout where it divides, else the best.
  const Prediction* shown() const;
};

std::string to_text(const Report& report);

// One JSON object on a line; docs/planning.md names its fields.
std::string to_json(const Report& report);

}  // namespace dagpam::trainer::planning
