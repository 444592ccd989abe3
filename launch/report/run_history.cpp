#include "launch/report/run_history.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "configs/text.h"
#include "launch/report/run_surroundings.h"

namespace dagpam::launch {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Of one line of metrics.jsonl.
class Line {
 public:
  Line(std::string where, const std::string& text) : where_(std::move(where)) {
    object_ = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!object_.is_object()) refuse("'" + configs::one_line(text, 60) + "' is no JSON object");
  }

  bool has(const char* key) const { return object_.contains(key); }

  int64_t count(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) refuse(std::string("no '") + key + "'");
    if (!found->is_number_integer() ||
        (found->is_number_unsigned() && found->get<uint64_t>() > kMost) ||
        found->get<int64_t>() < 0) {
      refuse(std::string(key) + ": " + shown(*found) + ", expected a whole number from 0 on");
    }
    return found->get<int64_t>();
  }

  double number(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null()) return std::nan("");
    if (!found->is_number()) refuse(std::string(key) + ": " + shown(*found) + " is no number");
    return found->get<double>();
  }

  std::string split() const {
    const json& name = object_["split"];
    if (name != "valid" && name != "test") {
      refuse("split: " + shown(name) + ", expected \"valid\" or \"test\"");
    }
    return name.get<std::string>();
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw DataError(where_ + ": " + what +
                    ": the file is damaged; remove the line, or take a copy of the file");
  }

 private:
  static constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  static std::string shown(const json& value) {
    return configs::one_line(value.dump(-1, ' ', true, json::error_handler_t::replace), 60);
  }

  std::string where_;
  json object_;
};

void add_step(const Line& line, RunHistory& run) {
  StepPoint point{.step = line.count("step"),
                  .tokens = line.count("tokens"),
                  .skipped = line.has("skipped") ? line.count("skipped") : 0,
                  .seconds = 0,
                  .loss = line.number("loss"),
                  .lr = line.number("lr"),
                  .grad_norm = line.number("grad_norm"),
                  .tokens_per_s = line.number("tokens_per_s"),
                  .step_ms = line.number("step_ms"),
                  .mfu = line.number("mfu"),
                  .memory_gib = line.number("memory_gib")};
  const StepPoint before = run.steps.empty() ? StepPoint{} : run.steps.back();
  if (point.step <= before.step && !run.steps.empty()) {
    line.refuse("step " + std::to_string(point.step) + " after step " +
                std::to_string(before.step));
  }
  const double ms = point.step_ms * static_cast<double>(point.step - before.step);
  point.seconds = before.seconds + (std::isfinite(ms) && ms > 0 ? ms / 1e3 : 0);
  run.steps.push_back(point);
}

void add_evaluation(const Line& line, RunHistory& run) {
  auto& points = run.evaluations[line.split()];
  const EvaluationPoint point{line.count("step"), line.number("nll"), line.number("ppl")};
  if (!points.empty() && point.step <= points.back().step) {
    line.refuse("evaluation of step " + std::to_string(point.step) + " after that of step " +
                std::to_string(points.back().step));
  }
  points.push_back(point);
}

void read_metrics(const std::string& path, RunHistory& run) {
  std::ifstream in(path);
  if (!in) throw DataError(path + ": cannot be read: name the folder of a run that has begun");
  int64_t number = 0;
  for (std::string text; std::getline(in, text);) {
    if (in.eof()) break;  // without its end: it is being written
    const Line line(path + ":" + std::to_string(++number), text);
    line.has("split") ? add_evaluation(line, run) : add_step(line, run);
  }
  if (in.bad()) throw DataError(path + ": cannot be read to its end");
}

// The last `names` parts of a path.
std::string tail_of(const fs::path& path, int names) {
  fs::path tail;
  auto part = path.end();
  for (int i = 0; i < names && part != path.begin(); ++i) tail = *--part / tail;
  const std::string text = tail.string();
  return text.ends_with('/') && text.size() > 1 ? text.substr(0, text.size() - 1) : text;
}

}  // namespace

RunHistory read_run(const std::string& folder) {
  RunHistory run;
  run.folder = folder;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw DataError(folder + ": no such folder: name run folders of `dagpam train`");
  }
  if (!fs::exists(folder + "/config.textproto", ignored)) {
    throw DataError(folder + ": holds no config.textproto: name a run folder of `dagpam train`");
  }
  run.config = configs::with_defaults(configs::load({folder + "/config.textproto"}, {}));
  read_metrics(folder + "/metrics.jsonl", run);
  read_surroundings(run);
  return run;
}

std::vector<RunHistory> read_runs(const std::vector<std::string>& folders) {
  std::vector<fs::path> paths;
  std::set<fs::path> seen;
  for (const std::string& folder : folders) {
    std::error_code ignored;
    fs::path path = fs::weakly_canonical(folder, ignored);
    if (!seen.insert(path).second) throw ConfigError(folder + ": named twice: name each run once");
    paths.push_back(std::move(path));
  }
  std::vector<RunHistory> runs;
  for (size_t i = 0; i < folders.size(); ++i) {
    runs.push_back(read_run(folders[i]));
    const auto depth = static_cast<int>(std::distance(paths[i].begin(), paths[i].end()));
    for (int names = 1; names <= depth; ++names) {
      runs[i].label = tail_of(paths[i], names);
      size_t alike = 0;
      for (const fs::path& other : paths) alike += tail_of(other, names) == runs[i].label ? 1U : 0U;
      if (alike == 1) break;
    }
  }
  return runs;
}

}  // namespace dagpam::launch
