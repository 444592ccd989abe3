#include "trainer/planning/link_time.h"

#include <algorithm>
#include <cmath>

#include "configs/errors.h"

namespace dagpam::trainer::planning {

using configs::ClusterConfig;
using configs::LinkRates;

namespace {

constexpr double kGb = 1e9, kMicrosecond = 1e-6;

double bandwidth(const LinkRates& link, const Calls& calls) {
  if (calls.collective != Collective::kAllReduce) return kGb * link.bandwidth_gbs();
  return kGb * (calls.bucket ? link.bucket_gbs() : link.all_reduce_gbs());
}

// Bytes through a rank over the bytes of the call, by n ranks.
double share(Collective collective, int n) {
  const double once = static_cast<double>(n - 1) / static_cast<double>(n);
  return collective == Collective::kAllReduce ? 2 * once : once;
}

int log2_up(int n) { return static_cast<int>(std::ceil(std::log2(static_cast<double>(n)))); }

// Seconds of the way of the first byte: `inner` and `outer` are those of a hop.
double latency(Collective collective, const Placement& at, double inner, double outer) {
  const int nodes = at.nodes();
  const double ring = (at.ranks - nodes) * inner + (nodes - 1) * outer;
  if (collective != Collective::kAllReduce) return ring;
  const double tree = log2_up(at.on_node) * inner + log2_up(nodes) * outer;
  return 2 * std::min(ring, tree);
}

void require(bool there, const ClusterConfig& cluster, const char* link) {
  if (there) return;
  throw ConfigError("cluster " + cluster.name() + ": " + link +
                    ": missing, but ranks talk over it: give its rates, or plan for fewer ranks");
}

}  // namespace

Placement placement_of(Group group, int ranks, int tp, int ranks_per_node) {
  Placement at;
  if (group == Group::kTensorParallel) {
    at.ranks = tp;
    at.on_node = std::min(tp, ranks_per_node);
    return at;
  }
  at.ranks = ranks / tp;
  at.on_node = std::max(1, std::min(at.ranks, ranks_per_node / tp));
  return at;
}

double seconds_of(const Calls& calls, const Placement& at, const ClusterConfig& cluster) {
  if (at.ranks == 1) return 0;
  const auto bytes = static_cast<double>(calls.bytes);
  const bool several = at.nodes() > 1;
  require(at.on_node == 1 || cluster.has_node_link(), cluster, "node_link");
  require(!several || cluster.has_network(), cluster, "network");
  const LinkRates& inner = cluster.node_link();
  const LinkRates& outer = cluster.network();
  const double wait = latency(calls.collective, at, kMicrosecond * inner.hop_us(),
                              several ? kMicrosecond * outer.hop_us() : 0);
  const double moved = share(calls.collective, at.ranks) * bytes;
  if (!several) return kMicrosecond * inner.call_us() + wait + moved / bandwidth(inner, calls);
  // What one node's switch adds up by itself does not reach across nodes: rings do.
  double rate = at.on_node * bandwidth(outer, calls);
  if (at.on_node > 1) rate = std::min(rate, kGb * inner.bandwidth_gbs());
  return kMicrosecond * outer.call_us() + wait + moved / rate;
}

}  // namespace dagpam::trainer::planning
