#include "launch/report/tables.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <set>

#include "configs/field_text.h"
#include "configs/run_config.h"
#include "launch/report/html.h"
#include "trainer/telemetry/console.h"

namespace dagpam::launch {

namespace {

constexpr const char* kNothing = "\u2013";

std::string number(const char* pattern, double value) {
  if (!std::isfinite(value)) return kNothing;
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string count(double value) {
  return std::isfinite(value) ? trainer::format_count(value) : kNothing;
}

// Names with the mark of their curves; the colours repeat after eight.
std::string name_of(const RunHistory& run, size_t index) {
  return "<span class=\"mark c" + std::to_string(index % 8) + "\"></span>" + escape_html(run.label);
}

std::string step_note(int64_t step) {
  return " <span class=\"soft\">@ " + std::to_string(step) + "</span>";
}

const std::vector<EvaluationPoint>& evaluations(const RunHistory& run, const std::string& split) {
  static const std::vector<EvaluationPoint> kNone;
  const auto found = run.evaluations.find(split);
  return found == run.evaluations.end() ? kNone : found->second;
}

// The evaluation of the lowest loss; those that are not finite never are.
std::optional<EvaluationPoint> best(const std::vector<EvaluationPoint>& points) {
  std::optional<EvaluationPoint> lowest;
  for (const EvaluationPoint& point : points) {
    if (std::isfinite(point.nll) && (!lowest || point.nll < lowest->nll)) lowest = point;
  }
  return lowest;
}

std::optional<EvaluationPoint> last(const std::vector<EvaluationPoint>& points) {
  return points.empty() ? std::nullopt : std::optional(points.back());
}

std::string nll_cell(const std::optional<EvaluationPoint>& point) {
  return point ? number("%.4f", point->nll) + step_note(point->step) : kNothing;
}

std::string ppl_cell(const std::optional<EvaluationPoint>& point) {
  return point ? number("%.4g", point->ppl) : kNothing;
}

// Median, so that what else the machine did for a while does not count; NaN of nothing.
double median(const RunHistory& run, double StepPoint::*field) {
  std::vector<double> values;
  for (const StepPoint& point : run.steps) {
    if (std::isfinite(point.*field)) values.push_back(point.*field);
  }
  if (values.empty()) return std::nan("");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double peak_memory(const RunHistory& run) {
  double most = std::nan("");
  for (const StepPoint& point : run.steps) most = std::fmax(most, point.memory_gib);
  return most;
}

std::string listed(const std::vector<int64_t>& steps) {
  if (steps.empty()) return "0";
  std::string text = std::to_string(steps.size()) + " <span class=\"soft\">@ ";
  constexpr size_t kShown = 4;
  for (size_t i = 0; i < std::min(steps.size(), kShown); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(steps[i]);
  }
  return text + (steps.size() > kShown ? ", \u2026</span>" : "</span>");
}

std::string steps_cell(const RunHistory& run) {
  const std::string planned =
      run.planned_steps > 0 ? " / " + std::to_string(run.planned_steps) : "";
  return std::to_string(run.last_step()) + planned;
}

std::vector<std::string> result_row(const RunHistory& run, size_t index) {
  const bool begun = !run.steps.empty();
  const StepPoint end = begun ? run.steps.back() : StepPoint{};
  const auto& valid = evaluations(run, "valid");
  const auto& test = evaluations(run, "test");
  return {name_of(run, index),
          escape_html(state_of(run)),
          steps_cell(run),
          count(static_cast<double>(end.tokens)),
          begun ? number("%.4f", end.loss) : kNothing,
          nll_cell(best(valid)),
          ppl_cell(best(valid)),
          nll_cell(last(valid)),
          ppl_cell(last(valid)),
          nll_cell(last(test)),
          ppl_cell(last(test)),
          begun ? trainer::format_duration(end.seconds) : kNothing,
          number("%.4g", median(run, &StepPoint::step_ms)),
          count(median(run, &StepPoint::tokens_per_s)),
          number("%.3f", median(run, &StepPoint::mfu)),
          number("%.2f", peak_memory(run)),
          listed(run.resumed),
          listed(run.returned),
          std::to_string(end.skipped)};
}

// Columns that say nothing of any run are left out.
Table without_empty_columns(const Table& table) {
  Table kept{.heads = {},
             .rows = std::vector<std::vector<std::string>>(table.rows.size()),
             .words = table.words};
  for (size_t i = 0; i < table.heads.size(); ++i) {
    const bool says =
        i < table.words || std::any_of(table.rows.begin(), table.rows.end(),
                                       [&](const auto& row) { return row[i] != kNothing; });
    if (!says) continue;
    kept.heads.push_back(table.heads[i]);
    for (size_t j = 0; j < table.rows.size(); ++j) kept.rows[j].push_back(table.rows[j][i]);
  }
  return kept;
}

Table transposed(const Table& table) {
  Table turned{.heads = {"run"}, .rows = {}, .words = 1 + table.rows.size()};
  for (const auto& row : table.rows) turned.heads.push_back(row[0]);
  for (size_t i = 1; i < table.heads.size(); ++i) {
    std::vector<std::string> row{table.heads[i]};
    for (const auto& old : table.rows) row.push_back(old[i]);
    turned.rows.push_back(std::move(row));
  }
  return turned;
}

// Paths that differ between any two runs, in the order of the schema as far as one pair tells it.
std::vector<std::string> differing_paths(const std::vector<RunHistory>& runs) {
  std::vector<std::string> paths;
  for (size_t i = 1; i < runs.size(); ++i) {
    size_t place = 0;
    for (const std::string& path : configs::differing_fields(runs[0].config, runs[i].config)) {
      const auto found = std::find(paths.begin(), paths.end(), path);
      if (found != paths.end()) {
        place = static_cast<size_t>(found - paths.begin()) + 1;
      } else {
        paths.insert(paths.begin() + static_cast<std::ptrdiff_t>(std::min(place, paths.size())),
                     path);
        place = std::min(place, paths.size()) + 1;
      }
    }
  }
  return paths;
}

}  // namespace

std::string state_of(const RunHistory& run) {
  if (run.is_alive) return "running";
  if (run.is_done()) return "done";
  if (!run.holder.empty()) return "running or died on " + run.holder;
  if (run.steps.empty()) return "no step logged";
  return run.planned_steps > 0 ? "stopped" : "ended or stopped";
}

std::string results_table(const std::vector<RunHistory>& runs) {
  Table table{
      .heads = {"run", "state", "steps", "tokens", "last loss", "best valid nll", "its ppl",
                "last valid nll", "its ppl", "test nll", "test ppl", "time on steps", "ms a step",
                "tokens/s", "MFU", "peak GiB", "resumed", "went back", "skipped steps"},
      .rows = {},
      .words = 2};
  for (size_t i = 0; i < runs.size(); ++i) table.rows.push_back(result_row(runs[i], i));
  return to_html(without_empty_columns(table));
}

std::string settings_table(const std::vector<RunHistory>& runs) {
  if (runs.size() < 2) return "<p>There is one run, and nothing to compare it with.</p>";
  const auto paths = differing_paths(runs);
  if (paths.empty()) return "<p>None: the runs have the same settings.</p>";
  Table table{.heads = {"field"}, .rows = {}, .words = 1 + runs.size()};
  for (size_t i = 0; i < runs.size(); ++i) table.heads.push_back(name_of(runs[i], i));
  for (const std::string& path : paths) {
    std::vector<std::string> row{"<code>" + escape_html(path) + "</code>"};
    for (const RunHistory& run : runs) {
      const std::string value = configs::field_text(run.config, path);
      row.push_back(value.empty() ? kNothing : escape_html(value));
    }
    table.rows.push_back(std::move(row));
  }
  return to_html(runs.size() > paths.size() ? transposed(table) : table);
}

std::string folders_table(const std::vector<RunHistory>& runs) {
  Table table{.heads = {"run", "folder", "name in its config"}, .rows = {}, .words = 3};
  for (size_t i = 0; i < runs.size(); ++i) {
    table.rows.push_back(
        {name_of(runs[i], i), escape_html(runs[i].folder), escape_html(runs[i].config.name())});
  }
  return to_html(table);
}

}  // namespace dagpam::launch
