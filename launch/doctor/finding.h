// launch/doctor/finding.h: what `dagpam doctor` finds wrong. Torch-free.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "configs/errors.h"

namespace dagpam::launch {

// kError: a run would be refused, fail, or learn something else than it should. kWarning: it would
// be slower than it need be, or is at risk.
enum class Level { kError, kWarning };

struct Finding {
  Level level = Level::kError;
  std::string
      check;         // its name, e.g. "cores.shared": a contract with scripts, see docs/clusters.md
  std::string what;  // one clause: where, and the values
  std::string mend;  // one clause: what to do
  ExitCode code = ExitCode::kBadConfig;  // of an error
};
using Findings = std::vector<Finding>;

// "error    cores.shared: what: mend".
std::string to_line(const Finding& finding);

// {"level", "check", "what", "mend", "code"}; the reverse takes what another build may have
// written.
nlohmann::ordered_json to_json(const Finding& finding);
Finding finding_from_json(const nlohmann::ordered_json& json);

// The first error's; kDone without one. `strict`: warnings count as errors of kBadConfig.
ExitCode exit_code_of(const Findings& findings, bool strict);

// "ranks 0-3, 7": sorted, ranges joined; "rank 7" of one.
std::string ranks_text(std::vector<int> ranks);

}  // namespace dagpam::launch
