#include "launch/bench/row.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "trainer/telemetry/console.h"

namespace dagpam::launch {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double spread(const std::vector<double>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *high / *low;
}

void print_row(const BenchRow& row, bool json) {
  const bool with_peer = !row.peer.empty();
  const double ratio = with_peer ? row.ours_ms / row.peer_ms : 0;
  if (json) {
    nlohmann::ordered_json object{{"name", row.name},          {"shape", row.shape},
                                  {"device", row.device},      {"ranks", row.ranks},
                                  {"kernel", row.kernel},      {"ours_ms", row.ours_ms},
                                  {"spread", row.spread},      {"per_second", row.per_second},
                                  {"unit", row.unit},          {"memory_mib", row.memory_mib},
                                  {"bytes", row.bytes},        {"peer", nullptr},
                                  {"peer_ms", nullptr},        {"ratio", nullptr},
                                  {"peer_memory_mib", nullptr}};
    if (with_peer) {
      object["peer"] = row.peer;
      object["peer_ms"] = row.peer_ms;
      object["ratio"] = ratio;
      object["peer_memory_mib"] = row.peer_memory_mib;
      if (row.peer_first_step_s > 0) object["peer_first_step_s"] = row.peer_first_step_s;
    }
    if (row.tflops > 0) object["tflops"] = row.tflops;
    if (row.first_step_s > 0) object["first_step_s"] = row.first_step_s;
    if (row.product_tflops > 0) {
      object["product_tflops"] = row.product_tflops;
      object["share"] = row.share_of_product();
    }
    std::printf("%s\n", object.dump().c_str());
    std::fflush(stdout);
    return;
  }
  std::printf("%-10s %-44s %9.3f ms  (rounds within %.2f x)  %s %s/s", row.name.c_str(),
              row.shape.c_str(), row.ours_ms, row.spread,
              trainer::format_count(row.per_second).c_str(), row.unit.c_str());
  if (row.bytes > 0) {
    std::printf("  %s bytes", trainer::format_count(row.bytes).c_str());
  }
  if (row.memory_mib > 0) std::printf("  peak %.0f MiB", row.memory_mib);
  if (with_peer) {
    std::printf("  | %s %9.3f ms  ratio %.3f", row.peer.c_str(), row.peer_ms, ratio);
    if (row.peer_memory_mib > 0) std::printf("  peak %.0f MiB", row.peer_memory_mib);
  }
  if (row.product_tflops > 0) {
    std::printf("\n%-10s %s; %.4g TFLOP/s a rank of a matrix product's %.4g: %.0f %%", "",
                row.kernel.c_str(), row.tflops / static_cast<double>(row.ranks), row.product_tflops,
                100 * row.share_of_product());
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace dagpam::launch
