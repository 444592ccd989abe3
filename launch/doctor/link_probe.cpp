#include "launch/doctor/link_probe.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "parallel/communicator.h"
#include "parallel/devices.h"

namespace dagpam::launch {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmup = 3, kRoundTrips = 5;

// Microseconds since 1970 by the clock that file times and logs are taken from.
int64_t wall_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

double slowest(parallel::Communicator& world, double value) {
  at::Tensor t = at::full({1}, value, at::kDouble);
  world.all_reduce(t, parallel::ReduceOp::kMax);
  return t.item<double>();
}

double time_calls(parallel::Communicator& world, at::Tensor& t, int64_t calls) {
  parallel::wait_for_device(world.device());
  world.barrier();
  const auto start = Clock::now();
  for (int64_t i = 0; i < calls; ++i) world.all_reduce(t);
  parallel::wait_for_device(world.device());
  return slowest(world, std::chrono::duration<double>(Clock::now() - start).count()) /
         static_cast<double>(calls);
}

// How far rank `of` is ahead of rank 0, on rank 0. Both call.
double clock_ahead(parallel::Communicator& world, int of) {
  at::Tensor t = at::zeros({1}, at::kLong);  // [1]
  double best_trip = 1e30, ahead = 0;
  for (int trip = 0; trip < kRoundTrips; ++trip) {
    if (world.rank() == of) {
      world.recv(t, 0);
      t.fill_(wall_us());
      world.send(t, 0);
      continue;
    }
    const int64_t sent = wall_us();
    const auto start = Clock::now();
    world.send(t, of);
    world.recv(t, of);
    const double took = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
    if (took >= best_trip) continue;
    best_trip = took;
    ahead = (static_cast<double>(t.item<int64_t>() - sent) - took / 2) / 1e6;
  }
  return ahead;
}

}  // namespace

ReduceReport probe_all_reduce(parallel::Communicator& world, double bytes, double seconds) {
  ReduceReport report;
  report.bytes = bytes;
  if (world.size() < 2) return report;
  const auto elements = static_cast<int64_t>(bytes / sizeof(float));
  const double ranks = world.size();
  at::Tensor t = at::full({elements}, world.rank() + 1.0,
                          at::TensorOptions(at::kFloat).device(world.device()));  // [elements]
  world.all_reduce(t);
  const double wrong = t.ne(ranks * (ranks + 1) / 2).sum().item<int64_t>() == 0 ? 0 : 1;
  report.right = slowest(world, wrong) == 0;
  t.zero_();  // sums of sums would overflow
  const double once = time_calls(world, t, kWarmup);
  const auto calls = static_cast<int64_t>(std::clamp(seconds / once, 1.0, 1e6));
  report.seconds = time_calls(world, t, calls);
  report.bus_gb_s = 2 * (ranks - 1) / ranks * bytes / report.seconds / 1e9;
  return report;
}

std::vector<double> probe_clocks(parallel::Communicator& world) {
  std::vector<double> ahead;
  for (int other = 1; other < world.size(); ++other) {
    if (world.rank() == 0 || world.rank() == other) ahead.push_back(clock_ahead(world, other));
  }
  if (world.rank() != 0) return {};
  ahead.insert(ahead.begin(), 0);
  return ahead;
}

Findings judge_clocks(const std::vector<double>& ahead, const std::vector<std::string>& hosts) {
  Findings findings;
  std::string last;
  for (size_t rank = 0; rank < ahead.size(); ++rank) {
    // One line a node: its ranks share a clock.
    if (std::abs(ahead[rank]) < kClockSkew || hosts[rank] == last) continue;
    last = hosts[rank];
    char by[64];
    std::snprintf(by, sizeof by, "%.1f s %s", std::abs(ahead[rank]),
                  ahead[rank] > 0 ? "ahead of" : "behind");
    findings.push_back({Level::kWarning, "clock.skew",
                        "the clock of " + hosts[rank] + " (rank " + std::to_string(rank) + ") is " +
                            by + " that of " + hosts[0] + " (rank 0)",
                        "let chrony or ntpd keep the clocks of all nodes"});
  }
  return findings;
}

}  // namespace dagpam::launch
