#include "launch/report/page.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "launch/report/curve.h"
#include "launch/report/html.h"
#include "launch/report/page_parts.h"
#include "launch/report/tables.h"
#include "trainer/checkpoint/this_start.h"

namespace dagpam::launch {

namespace {

using nlohmann::ordered_json;

constexpr size_t kAllPoints = 120'000;  // some 30 bytes each
constexpr size_t kKnots = 300;          // of a run's tokens and time over its steps

struct Measure {
  const char *key, *title, *unit;
  double StepPoint::*field;
  bool smooth;  // noisy enough for the page's smoothing
};
constexpr Measure kMeasures[] = {
    {"loss", "Training loss", "nats a token", &StepPoint::loss, true},
    {"lr", "Learning rate", "", &StepPoint::lr, false},
    {"grad_norm", "Gradient norm", "before clipping", &StepPoint::grad_norm, true},
    {"tokens_per_s", "Throughput", "tokens/s", &StepPoint::tokens_per_s, true},
    {"step_ms", "Time of a step", "ms", &StepPoint::step_ms, true},
    {"memory_gib", "Memory", "GiB, peak of rank 0 so far", &StepPoint::memory_gib, false}};

// Six digits: more than a screen shows. What is not finite is null.
ordered_json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, 6);
  double back = 0;
  std::from_chars(text, end.ptr, back);
  return back;
}

ordered_json curve_json(const std::vector<int64_t>& steps, const std::vector<double>& values,
                        size_t limit) {
  const auto points = condense(steps, values, limit);
  ordered_json x = ordered_json::array(), y = x, low = x, high = x;
  for (const CurvePoint& point : points) {
    // Steps are whole, and may be beyond six digits.
    x.push_back(static_cast<int64_t>(std::llround(point.step)));
    y.push_back(rounded(point.mean));
    low.push_back(rounded(point.low));
    high.push_back(rounded(point.high));
  }
  ordered_json curve{{"x", std::move(x)}, {"y", std::move(y)}};
  if (points.size() == steps.size()) return curve;
  curve["low"] = std::move(low);
  curve["high"] = std::move(high);
  return curve;
}

// Tokens and seconds at some of the steps; the page takes what lies between from a straight line.
ordered_json axes_json(const RunHistory& run) {
  ordered_json steps{0}, tokens{0}, seconds{0};
  for (const size_t i : spread_places(run.steps.size(), kKnots)) {
    steps.push_back(run.steps[i].step);
    tokens.push_back(run.steps[i].tokens);
    seconds.push_back(rounded(run.steps[i].seconds));
  }
  return {{"step", std::move(steps)}, {"tokens", std::move(tokens)}, {"time", std::move(seconds)}};
}

ordered_json run_json(const RunHistory& run, size_t limit) {
  ordered_json curves = ordered_json::object();
  std::vector<int64_t> steps;
  for (const StepPoint& point : run.steps) steps.push_back(point.step);
  for (const Measure& measure : kMeasures) {
    std::vector<double> values;
    for (const StepPoint& point : run.steps) values.push_back(point.*measure.field);
    curves[measure.key] = curve_json(steps, values, limit);
  }
  const auto found = run.evaluations.find("valid");
  if (found != run.evaluations.end()) {
    std::vector<int64_t> at;
    std::vector<double> nll;
    for (const EvaluationPoint& point : found->second) {
      at.push_back(point.step);
      nll.push_back(point.nll);
    }
    curves["valid_nll"] = curve_json(at, nll, limit);
  }
  return {{"name", run.label}, {"axes", axes_json(run)}, {"curves", std::move(curves)}};
}

std::string data_json(const std::vector<RunHistory>& runs, size_t points) {
  const size_t curves = (std::size(kMeasures) + 1) * runs.size();
  const size_t limit = std::max<size_t>(std::min(points, kAllPoints / curves), 3);
  ordered_json charts = ordered_json::array(), all = ordered_json::array();
  for (const Measure& measure : kMeasures) {
    charts.push_back({{"key", measure.key},
                      {"title", measure.title},
                      {"unit", measure.unit},
                      {"smooth", measure.smooth}});
  }
  const ordered_json validation{{"key", "valid_nll"},
                                {"title", "Validation loss"},
                                {"unit", "nats a token"},
                                {"smooth", false}};
  charts.insert(charts.begin() + 1, validation);
  for (const RunHistory& run : runs) all.push_back(run_json(run, limit));
  const ordered_json data{{"charts", std::move(charts)}, {"runs", std::move(all)}};
  return data.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

std::string report_page(const std::vector<RunHistory>& runs, const PageOptions& options) {
  return fill_template(
      page_parts::kPage,
      {{"title", escape_html(options.title)},
       {"made", escape_html(options.made)},
       {"nonce", checkpoint::random_hex()},
       {"style", page_parts::kStyle},
       {"results", results_table(runs)},
       {"settings", settings_table(runs)},
       {"folders", folders_table(runs)},
       {"data", escape_json_for_html(data_json(runs, options.points))},
       {"script", std::string(page_parts::kSeries) + page_parts::kChart + page_parts::kMain}});
}

}  // namespace dagpam::launch
