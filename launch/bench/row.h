// launch/bench/row.h: one line of a benchmark's table, the same for all of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dagpam::launch {

struct BenchRow {
  std::string name, shape, device = "cpu", kernel;
  int64_t ranks = 1;
  double ours_ms = 0;
  std::string peer;  // "" where nothing was held beside it
  double peer_ms = 0;
  double spread = 0;  // largest / smallest of our own rounds: what noise alone does
  double tflops = 0;  // floating-point operations a second by the stated formula, in 1e12; 0: none
  double first_step_s = 0, peer_first_step_s = 0;  // from a process's start to its first step's end
  double memory_mib = 0, peer_memory_mib = 0;
  double per_second = 0;  // units of work a second, ours
  std::string unit;
  double bytes = 0;           // that memory must move at least, ours; 0: not counted
  double product_tflops = 0;  // of one large matrix product in the same run; 0: none was made

  double share_of_product() const { return tflops / static_cast<double>(ranks) / product_tflops; }
};

// Text for people, or with `json` one object a row: name, shape, device, ranks, kernel, ours_ms,
// peer, peer_ms, ratio (ours / peer), and the rest.
void print_row(const BenchRow& row, bool json);

double median(std::vector<double> values);
double spread(const std::vector<double>& values);  // largest / smallest

}  // namespace dagpam::launch
