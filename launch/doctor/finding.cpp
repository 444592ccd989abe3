#include "launch/doctor/finding.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace dagpam::launch {

std::string to_line(const Finding& finding) {
  const char* const level = finding.level == Level::kError ? "error   " : "warning ";
  return level + finding.check + ": " + finding.what + ": " + finding.mend;
}

nlohmann::ordered_json to_json(const Finding& finding) {
  const bool error = finding.level == Level::kError;
  return {{"level", error ? "error" : "warning"},
          {"check", finding.check},
          {"what", finding.what},
          {"mend", finding.mend},
          {"code", error ? static_cast<int>(finding.code) : 0}};
}

Finding finding_from_json(const nlohmann::ordered_json& json) {
  Finding finding;
  finding.level = json.value("level", "error") == "error" ? Level::kError : Level::kWarning;
  finding.check = json.value("check", "unknown");
  finding.what = json.value("what", "");
  finding.mend = json.value("mend", "");
  finding.code = static_cast<ExitCode>(json.value("code", 2));
  return finding;
}

ExitCode exit_code_of(const Findings& findings, bool strict) {
  for (const Finding& finding : findings) {
    if (finding.level == Level::kError) return finding.code;
  }
  return strict && !findings.empty() ? ExitCode::kBadConfig : ExitCode::kDone;
}

std::string ranks_text(std::vector<int> ranks) {
  std::sort(ranks.begin(), ranks.end());
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
    if (end - i > 1) text += "-" + std::to_string(ranks[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace dagpam::launch
