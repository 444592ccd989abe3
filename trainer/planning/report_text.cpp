#include <cstdio>

#include "configs/kinds.h"
#include "configs/text.h"
#include "trainer/parameter_counts.h"
#include "trainer/planning/report.h"
#include "trainer/telemetry/console.h"

namespace dagpam::trainer::planning {

using configs::ClusterConfig;

namespace {

constexpr double kMib = 1024.0 * 1024.0, kGib = 1024.0 * kMib;
constexpr size_t kRowsShown = 8;

template <typename... Args>
std::string line(const char* format, Args... args) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return std::string(buffer) + "\n";
}

std::string origin(const ClusterConfig& cluster) {
  switch (cluster.origin()) {
    case ClusterConfig::MEASURED:
      return "rates measured by this program";
    case ClusterConfig::PUBLISHED:
      return "rates that others published, not measured by this program";
    default:
      return "nominal rates: nothing was measured";
  }
}

std::string known_error(const ClusterConfig& cluster) {
  if (!cluster.has_known_error()) {
    return line("known error none known: no prediction for this cluster was held against a run");
  }
  const auto& error = cluster.known_error();
  const auto percent = [](bool there, double value) {
    return there ? "within " + configs::shown(value) + " %" : std::string("not measured");
  };
  return line("known error step time %s, memory %s (%s)",
              percent(error.has_step_percent(), error.step_percent()).c_str(),
              percent(error.has_memory_percent(), error.memory_percent()).c_str(),
              error.compared_with().c_str());
}

std::string head(const Report& report) {
  const ClusterConfig& cluster = report.cluster;
  const configs::RunConfig& run = report.plan.config;
  const configs::ModelConfig& m = run.model();
  const int64_t nodes = (report.ranks + cluster.ranks_per_node() - 1) / cluster.ranks_per_node();
  std::string text = line(
      "cluster     %s: %lld of %lld nodes with %lld %s, %.4g GiB each (%.3g of them reserved); %s",
      cluster.name().c_str(), (long long)nodes, (long long)cluster.nodes(),
      (long long)cluster.ranks_per_node(), cluster.gpus() ? "GPUs" : "ranks on CPUs",
      cluster.memory_gib(), cluster.reserve_gib(), origin(cluster).c_str());
  if (nodes > cluster.nodes()) {
    text +=
        line("            more nodes than it has: as if there were %lld alike", (long long)nodes);
  }
  text += line(
      "model       %lld layers, width %lld, context %lld, vocabulary %lld, %s, %s; %s parameters",
      (long long)m.layers(), (long long)m.width(), (long long)m.context(), (long long)m.vocab(),
      configs::AttentionConfig::Kind_Name(run.attention().kind()).c_str(),
      configs::TrainConfig::Precision_Name(run.train().precision()).c_str(),
      format_count(static_cast<double>(count_parameters(run).all)).c_str());
  return text;
}

std::string memory_lines(const Prediction& p, const ClusterConfig& cluster) {
  const MemoryPlan& memory = p.memory;
  std::string text =
      line("memory      a rank, GiB: weights %.3f, masters %.3f, gradients %.3f, moments %.3f,",
           memory.parameters / kGib, memory.masters / kGib, memory.gradients / kGib,
           (memory.optimizer - memory.masters) / kGib);
  text += line("            saved for backward %.3f, logits and gradients under way %.3f;",
               (memory.activations - memory.at_the_turn) / kGib, memory.at_the_turn / kGib);
  const double over = (memory.total() - p.memory_limit) / kGib;
  text += line("            together %.3f of %.3f (reserve %.3g): %s", memory.total() / kGib,
               p.memory_limit / kGib, cluster.reserve_gib(),
               p.fits() ? "fits" : ("does NOT fit, by " + configs::shown(over) + " GiB").c_str());
  if (memory.snapshot > 0) {
    text += line("            for saves a copy of %.3f in host memory", memory.snapshot / kGib);
  }
  return text;
}

std::string collective_lines(const Prediction& p) {
  if (p.collectives.empty()) return "";
  std::string text = line("%-15s %-5s %-25s %7s %23s %14s %10s", "collective", "group", "of",
                          "calls", "MiB a call", "MiB a step", "ms a step");
  for (const CollectiveTime& row : p.collectives) {
    char sizes[64];
    const double least = static_cast<double>(row.least) / kMib,
                 most = static_cast<double>(row.most) / kMib;
    if (row.least == row.most) {
      std::snprintf(sizes, sizeof sizes, "%.4g", most);
    } else {
      std::snprintf(sizes, sizeof sizes, "%.4g to %.4g", least, most);
    }
    text += line("%-15s %-5s %-25s %7lld %23s %14.4g %10.3f", name_of(row.calls.collective),
                 name_of(row.calls.group), row.calls.what, (long long)row.calls.count, sizes,
                 static_cast<double>(row.total_bytes) / kMib, 1e3 * row.seconds);
  }
  return text;
}

std::string compute_lines(const Prediction& p) {
  std::string text = line("%-15s %12s %12s", "compute, ms", "forward", "backward");
  for (int i = 0; i < kParts; ++i) {
    const auto at = static_cast<size_t>(i);
    if (static_cast<Part>(i) == Part::kUpdate) continue;
    text += line("%-15s %12.3f %12.3f", name_of(static_cast<Part>(i)), 1e3 * p.forward.parts[at],
                 1e3 * p.backward.parts[at]);
  }
  text += line("%-15s %12.3f %12.3f%s", "host", 1e3 * p.forward.host, 1e3 * p.backward.host,
               p.host_bound ? "  (the GPU waits for its host)" : "");
  return text;
}

std::string step_lines(const Prediction& p) {
  const StepResult& s = p.step;
  std::string text = line(
      "step        %.2f ms: computing %.2f, talk within copies %.2f, waiting for gradients %.2f "
      "and weights %.2f,",
      1e3 * s.total, 1e3 * s.compute, 1e3 * s.tensor_talk, 1e3 * s.waited_reduce,
      1e3 * s.waited_gather);
  text +=
      line("            slowed by talk beside it %.2f, norm %.2f, update %.2f; talk hidden %.2f%s",
           1e3 * s.slowed, 1e3 * s.closing, 1e3 * s.update, 1e3 * s.hidden,
           p.overlap ? "" : " (parallel.overlap is off)");
  text += line("speed       %s tokens/s, %s a rank; %.4g TFLOP/s a rank%s",
               format_count(p.tokens_per_second).c_str(),
               format_count(p.tokens_per_second / p.layout.ranks).c_str(), p.flops_per_rank / 1e12,
               p.mfu > 0
                   ? (", MFU " + std::to_string(static_cast<int>(100 * p.mfu + 0.5)) + " %").c_str()
                   : "");
  return text + line("bound by    %s", bound_of(p).c_str());
}

std::string run_lines(const Report& report, const Prediction& p) {
  const RunTotals t = totals_of(report.plan, p, report.cluster);
  std::string text =
      line("run         %lld steps %s, %lld evaluations %s, %lld saves of %.3g GB %s: together %s",
           (long long)t.steps, format_duration(t.training).c_str(), (long long)t.evaluations,
           t.evaluation_known ? format_duration(t.evaluation).c_str()
                              : "(not counted: the data is not here)",
           (long long)t.saves, t.save_bytes / 1e9,
           t.saving_known ? format_duration(t.saving).c_str()
                          : "(not counted: no storage in the cluster)",
           format_duration(t.seconds()).c_str());
  text +=
      line("            %.2f days, %.4g rank hours%s", t.seconds() / 86400, t.rank_hours,
           t.price > 0 ? (", " + report.cluster.currency() + " " +
                          configs::shown(static_cast<double>(static_cast<int64_t>(t.price + 0.5))))
                             .c_str()
                       : "");
  return text;
}

std::string layout_row(const Prediction& p, const std::string& why) {
  return line("%-52s %10.2f %9s %6.1f %8.2f  %s", describe(p.layout).c_str(), 1e3 * p.step.total,
              format_count(p.tokens_per_second).c_str(), 100 * p.mfu, p.memory.total() / kGib,
              why.c_str());
}

std::string layout_lines(const Report& report) {
  const SearchResult& found = report.search;
  std::string text = line("layouts     %lld divide over %d ranks, %lld of them fit",
                          (long long)found.tried, report.ranks, (long long)found.ranked.size());
  text +=
      line("%-52s %10s %9s %6s %8s  %s", "layout", "step, ms", "tokens/s", "MFU %", "GiB", "why");
  if (!found.ranked.empty()) {
    const Prediction& best = found.ranked.front();
    for (size_t i = 0; i < found.ranked.size() && i < kRowsShown; ++i) {
      const Prediction& p = found.ranked[i];
      text += layout_row(p, i == 0 ? "best; bound by " + bound_of(p) : why_slower(p, best));
    }
    // The best of each tp that is not among them, so that one sees what it would cost.
    std::vector<int> seen;
    for (size_t i = 0; i < found.ranked.size(); ++i) {
      const Prediction& p = found.ranked[i];
      bool known = false;
      for (const int tp : seen) known = known || tp == p.layout.tp;
      if (known) continue;
      seen.push_back(p.layout.tp);
      if (i >= kRowsShown) text += layout_row(p, why_slower(p, best));
    }
    text += line("best by     %s", as_overrides(best.layout).c_str());
  }
  for (const TooLarge& miss : found.too_large) {
    text += line("%-52s does not fit, by %.3g GiB at least", describe(miss.layout).c_str(),
                 miss.excess / kGib);
  }
  return text;
}

std::string scaling_lines(const std::vector<ScalingRow>& rows, const char* what) {
  if (rows.empty()) return "";
  std::string text = line("%s", what);
  text += line("%8s %12s %12s %10s %7s %10s  %s", "ranks", "sequences", "step, ms", "tokens/s",
               "MFU %", "efficiency", "best layout");
  for (const ScalingRow& row : rows) {
    if (!row.refused.empty()) {
      text += line("%8d %12lld  %s", row.ranks, (long long)row.global_batch, row.refused.c_str());
      continue;
    }
    text += line("%8d %12lld %12.2f %10s %7.1f %10.3f  %s", row.ranks, (long long)row.global_batch,
                 1e3 * row.best.step.total, format_count(row.best.tokens_per_second).c_str(),
                 100 * row.best.mfu, row.efficiency, describe(row.best.layout).c_str());
  }
  return text;
}

}  // namespace

const Prediction* Report::shown() const {
  if (own) return &*own;
  return search.ranked.empty() ? nullptr : &search.ranked.front();
}

std::string to_text(const Report& report) {
  std::string text = head(report);
  if (!report.own_refused.empty()) {
    text += line("            the config's own layout is refused: %s; the best one is shown",
                 report.own_refused.c_str());
  }
  if (const Prediction* p = report.shown()) {
    text += line("layout      %s: %lld micro-batches a step, %lld buckets of gradients",
                 describe(p->layout).c_str(), (long long)p->micro_batches, (long long)p->buckets);
    text += memory_lines(*p, report.cluster) + "\n" + collective_lines(*p) + "\n" +
            compute_lines(*p) + "\n" + step_lines(*p) + run_lines(report, *p);
  }
  text += known_error(report.cluster) + "\n" + layout_lines(report);
  text += scaling_lines(report.strong, "strong scaling: the same global batch");
  text += scaling_lines(report.weak, "weak scaling: as many sequences a rank");
  return text;
}

}  // namespace dagpam::trainer::planning
