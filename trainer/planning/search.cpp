#include "trainer/planning/search.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>

#include "trainer/planning/assumed_run.h"

namespace dagpam::trainer::planning {

using configs::ClusterConfig;
using configs::TrainConfig;

namespace {

constexpr TrainConfig::Recompute kRecomputes[] = {TrainConfig::NONE, TrainConfig::SELECTIVE,
                                                  TrainConfig::FULL};

std::vector<int64_t> divisors(int64_t number) {
  std::vector<int64_t> found;
  for (int64_t i = 1; i <= number / i; ++i) {
    if (number % i != 0) continue;
    found.push_back(i);
    if (i != number / i) found.push_back(number / i);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// All that divide.
std::vector<Layout> layouts_of(const RunPlan& plan, int ranks, int64_t ranks_per_node) {
  std::vector<Layout> all;
  const int64_t batch = plan.config.train().global_batch();
  for (const int64_t tp : divisors(ranks)) {
    Layout layout;
    layout.ranks = ranks;
    layout.tp = static_cast<int>(tp);
    const bool neighbours = ranks_per_node % tp == 0 || tp % ranks_per_node == 0;
    if (!neighbours || batch % layout.dp() != 0) continue;
    for (const int64_t micro : divisors(batch / layout.dp())) {
      for (const auto recompute : kRecomputes) {
        for (const int zero : {0, 1}) {
          for (const bool sequence : {false, true}) {
            layout.micro_batch = micro;
            layout.recompute = recompute;
            layout.zero = zero;
            layout.sequence_parallel = sequence;
            if ((sequence && tp == 1) || (zero == 1 && layout.dp() == 1)) continue;
            if (refusal(plan, layout).empty()) all.push_back(layout);
          }
        }
      }
    }
  }
  return all;
}

// A step's seconds by cause.
std::vector<std::pair<const char*, double>> causes(const Prediction& p) {
  const double host = std::max(0.0, p.step.compute - p.forward.device - p.backward.device);
  const auto part = [&](Part which) {
    const auto i = static_cast<size_t>(which);
    return p.forward.parts[i] + p.backward.parts[i];
  };
  return {{"matrix products and activations",
           part(Part::kProjections) + part(Part::kMlp) + part(Part::kLogits)},
          {"attention", part(Part::kAttention)},
          {"norms, embedding and loss",
           part(Part::kNorms) + part(Part::kEmbedding) + part(Part::kLoss)},
          {"starting operators", host},
          {"talk within copies (tp)", p.step.tensor_talk + p.step.closing},
          {"waiting for gradients (dp)", p.step.waited_reduce},
          {"waiting for weights (ZeRO)", p.step.waited_gather},
          {"computing slowed by talk", p.step.slowed},
          {"update", p.step.update}};
}

std::string milliseconds(double seconds) {
  char text[64];
  std::snprintf(text, sizeof text, "%+.3g ms", 1e3 * seconds);
  return text;
}

}  // namespace

SearchResult search(const RunPlan& plan, int ranks, const ClusterConfig& cluster) {
  SearchResult result;
  std::map<int, TooLarge> misses;
  for (const Layout& layout : layouts_of(plan, ranks, cluster.ranks_per_node())) {
    ++result.tried;
    RunPlan one = with_layout(plan, layout);
    one.on_gpu = cluster.gpus();
    const double limit = 1024.0 * 1024.0 * 1024.0 * (cluster.memory_gib() - cluster.reserve_gib());
    const double excess = plan_memory(one).total() - limit;
    if (excess <= 0) {
      result.ranked.push_back(predict(one, cluster));
      continue;
    }
    TooLarge& nearest = misses.try_emplace(layout.tp, TooLarge{layout, excess}).first->second;
    if (excess < nearest.excess) nearest = {layout, excess};
  }
  for (const auto& [tp, miss] : misses) result.too_large.push_back(miss);
  std::stable_sort(result.ranked.begin(), result.ranked.end(),
                   [](const Prediction& a, const Prediction& b) {
                     return std::pair(a.step.total, a.memory.total()) <
                            std::pair(b.step.total, b.memory.total());
                   });
  return result;
}

std::string bound_of(const Prediction& p) {
  const auto all = causes(p);
  const auto largest = std::max_element(
      all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  char text[128];
  std::snprintf(text, sizeof text, "%s, %.0f %% of the step", largest->first,
                100 * largest->second / p.step.total);
  return text;
}

std::string why_slower(const Prediction& slower, const Prediction& best) {
  const auto here = causes(slower), there = causes(best);
  std::vector<std::pair<double, const char*>> more;
  for (size_t i = 0; i < here.size(); ++i) {
    more.emplace_back(here[i].second - there[i].second, here[i].first);
  }
  std::sort(more.begin(), more.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text = milliseconds(slower.step.total - best.step.total);
  constexpr size_t kShown = 2;
  constexpr double kNothing = 1e-9;  // seconds
  for (size_t i = 0; i < kShown && more[i].first > kNothing; ++i) {
    text += (i == 0 ? ": " : ", ") + milliseconds(more[i].first) + " " + more[i].second;
  }
  if (slower.layout.recompute > best.layout.recompute) text += "; computes again";
  return text;
}

std::vector<ScalingRow> scale(const RunPlan& plan, const std::vector<int>& ranks, bool weak,
                              const ClusterConfig& cluster) {
  std::vector<ScalingRow> rows;
  double first = 0;
  for (const int count : ranks) {
    ScalingRow row;
    row.ranks = count;
    RunPlan one = plan;
    configs::TrainConfig& train = *one.config.mutable_train();
    if (weak) {
      train.set_global_batch(std::max<int64_t>(1, train.global_batch() * count / ranks.front()));
    }
    row.global_batch = train.global_batch();
    one.tokens_per_step = train.global_batch() * one.config.model().context();
    SearchResult found = search(one, count, cluster);
    if (found.ranked.empty()) {
      row.refused = found.tried == 0 ? "no layout divides" : "no layout fits in memory";
    } else {
      row.best = std::move(found.ranked.front());
      const double each = row.best.tokens_per_second / count;
      if (first == 0) first = each;
      row.efficiency = each / first;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace dagpam::trainer::planning
