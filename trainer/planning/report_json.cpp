#include <nlohmann/json.hpp>

#include "trainer/parameter_counts.h"
#include "trainer/planning/report.h"

namespace dagpam::trainer::planning {

using Json = nlohmann::ordered_json;

namespace {

constexpr size_t kLayoutsGiven = 50;

Json json_of(const Layout& layout) {
  return {{"ranks", layout.ranks},
          {"dp", layout.dp()},
          {"tp", layout.tp},
          {"micro_batch", layout.micro_batch},
          {"recompute", configs::TrainConfig::Recompute_Name(layout.recompute)},
          {"zero", layout.zero},
          {"sequence_parallel", layout.sequence_parallel}};
}

Json memory_of(const Prediction& p) {
  const MemoryPlan& memory = p.memory;
  return {{"weights", memory.parameters},
          {"masters", memory.masters},
          {"gradients", memory.gradients},
          {"moments", memory.optimizer - memory.masters},
          {"saved", memory.activations - memory.at_the_turn},
          {"under_way", memory.at_the_turn},
          {"total", memory.total()},
          {"limit", p.memory_limit},
          {"fits", p.fits()},
          {"host_snapshot", memory.snapshot}};
}

Json collectives_of(const Prediction& p) {
  Json rows = Json::array();
  for (const CollectiveTime& row : p.collectives) {
    rows.push_back({{"collective", name_of(row.calls.collective)},
                    {"group", name_of(row.calls.group)},
                    {"of", row.calls.what},
                    {"calls", row.calls.count},
                    {"least_bytes", row.least},
                    {"most_bytes", row.most},
                    {"bytes", row.total_bytes},
                    {"ms", 1e3 * row.seconds}});
  }
  return rows;
}

Json step_of(const Prediction& p) {
  const StepResult& s = p.step;
  return {{"ms", 1e3 * s.total},
          {"compute_ms", 1e3 * s.compute},
          {"tensor_talk_ms", 1e3 * s.tensor_talk},
          {"waited_reduce_ms", 1e3 * s.waited_reduce},
          {"waited_gather_ms", 1e3 * s.waited_gather},
          {"slowed_ms", 1e3 * s.slowed},
          {"closing_ms", 1e3 * s.closing},
          {"update_ms", 1e3 * s.update},
          {"hidden_ms", 1e3 * s.hidden},
          {"host_bound", p.host_bound},
          {"tokens_per_s", p.tokens_per_second},
          {"flops_per_rank", p.flops_per_rank},
          {"mfu", p.mfu}};
}

Json compute_of(const Prediction& p) {
  Json parts = Json::object();
  for (int i = 0; i < kParts; ++i) {
    const auto at = static_cast<size_t>(i);
    parts[name_of(static_cast<Part>(i))] = {
        {"forward_ms", 1e3 * p.forward.parts[at]},
        {"backward_ms", 1e3 * (p.backward.parts[at] + p.update.parts[at])}};
  }
  parts["host"] = {{"forward_ms", 1e3 * p.forward.host},
                   {"backward_ms", 1e3 * (p.backward.host + p.update.host)}};
  return parts;
}

Json run_of(const Report& report, const Prediction& p) {
  const RunTotals t = totals_of(report.plan, p, report.cluster);
  return {{"steps", t.steps},
          {"seconds", t.seconds()},
          {"training_s", t.training},
          {"evaluation_s", t.evaluation_known ? Json(t.evaluation) : Json(nullptr)},
          {"saving_s", t.saving_known ? Json(t.saving) : Json(nullptr)},
          {"evaluations", t.evaluations},
          {"saves", t.saves},
          {"save_bytes", t.save_bytes},
          {"rank_hours", t.rank_hours},
          {"price", t.price > 0 ? Json(t.price) : Json(nullptr)},
          {"currency", report.cluster.currency()}};
}

Json known_error(const configs::ClusterConfig& cluster) {
  if (!cluster.has_known_error()) return nullptr;
  const auto& error = cluster.known_error();
  return {
      {"step_percent", error.has_step_percent() ? Json(error.step_percent()) : Json(nullptr)},
      {"memory_percent", error.has_memory_percent() ? Json(error.memory_percent()) : Json(nullptr)},
      {"compared_with", error.compared_with()}};
}

Json layouts_of(const SearchResult& found) {
  Json rows = Json::array();
  for (size_t i = 0; i < found.ranked.size() && i < kLayoutsGiven; ++i) {
    const Prediction& p = found.ranked[i];
    rows.push_back(
        {{"layout", json_of(p.layout)},
         {"step_ms", 1e3 * p.step.total},
         {"tokens_per_s", p.tokens_per_second},
         {"mfu", p.mfu},
         {"memory_bytes", p.memory.total()},
         {"why", i == 0 ? "best; bound by " + bound_of(p) : why_slower(p, found.ranked.front())}});
  }
  return rows;
}

Json scaling_of(const std::vector<ScalingRow>& rows) {
  Json all = Json::array();
  for (const ScalingRow& row : rows) {
    Json one{{"ranks", row.ranks}, {"global_batch", row.global_batch}};
    if (row.refused.empty()) {
      one["layout"] = json_of(row.best.layout);
      one["step_ms"] = 1e3 * row.best.step.total;
      one["tokens_per_s"] = row.best.tokens_per_second;
      one["mfu"] = row.best.mfu;
      one["efficiency"] = row.efficiency;
    } else {
      one["refused"] = row.refused;
    }
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace

std::string to_json(const Report& report) {
  const configs::ClusterConfig& cluster = report.cluster;
  Json json{{"name", "plan"},
            {"cluster", cluster.name()},
            {"origin", configs::ClusterConfig::Origin_Name(cluster.origin())},
            {"ranks", report.ranks},
            {"parameters", count_parameters(report.plan.config).all},
            {"tokens_per_step", report.plan.tokens_per_step},
            {"known_error", known_error(cluster)},
            {"own_refused", report.own_refused.empty() ? Json(nullptr) : Json(report.own_refused)}};
  if (const Prediction* p = report.shown()) {
    json["layout"] = json_of(p->layout);
    json["memory"] = memory_of(*p);
    json["collectives"] = collectives_of(*p);
    json["compute"] = compute_of(*p);
    json["step"] = step_of(*p);
    json["run"] = run_of(report, *p);
  }
  json["tried"] = report.search.tried;
  json["fitting"] = report.search.ranked.size();
  json["layouts"] = layouts_of(report.search);
  Json misses = Json::array();
  for (const TooLarge& miss : report.search.too_large) {
    misses.push_back({{"layout", json_of(miss.layout)}, {"excess_bytes", miss.excess}});
  }
  json["too_large"] = std::move(misses);
  json["strong_scaling"] = scaling_of(report.strong);
  json["weak_scaling"] = scaling_of(report.weak);
  return json.dump();
}

}  // namespace dagpam::trainer::planning
