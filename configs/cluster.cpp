#include "configs/cluster.h"

#include <google/protobuf/text_format.h>

#include <array>
#include <set>

#include "configs/errors.h"
#include "configs/parse.h"
#include "configs/ranges.h"
#include "configs/text.h"

namespace dagpam::configs {
namespace {

constexpr const char* kRate = "give a rate above 0, in the unit that configs/cluster.proto says";
constexpr const char* kMicroseconds = "give microseconds, as in 5";
constexpr const char* kGib = "give GiB, as in 80";

// Ten times the fastest and a tenth of the slowest machine that one would plan for: further off is
// a slip of the unit (GFLOP/s for TFLOP/s, bytes for GB, seconds for microseconds).
constexpr double kTflops = 20000, kGbs = 100000, kLinkGbs = 10000, kMostUs = 1e6;
constexpr std::array<Range, 40> kRanges = {{
    {"nodes", 1, 1 << 20, false, false, "give the number of nodes, as in 1"},
    {"ranks_per_node", 1, 4096, false, false, "give the GPUs or processes of a node, as in 8"},
    {"memory_gib", 0.01, 65536, false, false, kGib},
    {"reserve_gib", 0, 65536, false, false, kGib},
    {"device.fp32.peak_tflops", 1e-4, kTflops, false, false, kRate},
    {"device.fp32.sustained_tflops", 1e-4, kTflops, false, false, kRate},
    {"device.fp32.half_size", 0, 1e5, false, false, "give rows or columns, as in 64"},
    {"device.bf16.peak_tflops", 1e-4, kTflops, false, false, kRate},
    {"device.bf16.sustained_tflops", 1e-4, kTflops, false, false, kRate},
    {"device.bf16.half_size", 0, 1e5, false, false, "give rows or columns, as in 64"},
    {"device.memory_gbs", 0.1, kGbs, false, false, kRate},
    {"device.norm_gbs", 0.01, kGbs, false, false, kRate},
    {"device.activation_gbs", 0.01, kGbs, false, false, kRate},
    {"device.loss_gbs", 0.01, kGbs, false, false, kRate},
    {"device.update_gbs", 0.01, kGbs, false, false, kRate},
    {"device.operator_us", 0, 1e4, false, false, kMicroseconds},
    {"device.kernel_us", 0, 1e4, false, false, kMicroseconds},
    {"device.in_step", 0.1, 10, false, false, "give a ratio of times, as in 1"},
    {"device.attention.head_width", 1, 4096, false, false, "give the width of a head, as in 64"},
    {"device.attention.forward_tflops", 1e-4, kTflops, false, false, kRate},
    {"device.attention.backward_tflops", 1e-4, kTflops, false, false, kRate},
    {"device.attention.half_tokens", 0, 1e6, false, false, "give tokens, as in 200"},
    {"device.attention.second_map", 0, 10, false, false, "give a ratio of times, as in 1"},
    {"node_link.bandwidth_gbs", 1e-3, kLinkGbs, false, false, kRate},
    {"node_link.all_reduce_gbs", 1e-3, kLinkGbs, false, false, kRate},
    {"node_link.bucket_gbs", 1e-3, kLinkGbs, false, false, kRate},
    {"node_link.call_us", 0, kMostUs, false, false, kMicroseconds},
    {"node_link.hop_us", 0, kMostUs, false, false, kMicroseconds},
    {"node_link.overlap_loss", 0, 1, false, false, "give a share, as in 0.1"},
    {"network.bandwidth_gbs", 1e-3, kLinkGbs, false, false, kRate},
    {"network.all_reduce_gbs", 1e-3, kLinkGbs, false, false, kRate},
    {"network.bucket_gbs", 1e-3, kLinkGbs, false, false, kRate},
    {"network.call_us", 0, kMostUs, false, false, kMicroseconds},
    {"network.hop_us", 0, kMostUs, false, false, kMicroseconds},
    {"network.overlap_loss", 0, 1, false, false, "give a share, as in 0.1"},
    {"storage.write_gbs", 1e-3, kGbs, false, false, kRate},
    {"storage.host_copy_gbs", 1e-3, kGbs, false, false, kRate},
    {"price_per_rank_hour", 0, 1e5, false, false, "give the price of a rank for an hour, as in 2"},
    {"known_error.step_percent", 0, 1000, false, false, "give per cent, as in 12"},
    {"known_error.memory_percent", 0, 1000, false, false, "give per cent, as in 3"},
}};

[[noreturn]] void fail(const std::string& file, const std::string& problem) {
  throw ConfigError(one_line(file) + ": " + problem);
}

void need(bool there, const std::string& file, const char* field, const char* remedy) {
  if (!there) fail(file, std::string(field) + ": missing: " + remedy);
}

void check_matmuls(const MatmulRates& rates, const std::string& file, const std::string& path) {
  need(rates.has_sustained_tflops(), file, (path + ".sustained_tflops").c_str(),
       "give the TFLOP/s of large products");
  if (rates.has_peak_tflops() && rates.sustained_tflops() > rates.peak_tflops()) {
    fail(file, path + ".sustained_tflops: " + shown(rates.sustained_tflops()) + " is more than " +
                   path + ".peak_tflops " + shown(rates.peak_tflops()) +
                   ": give the dense peak, and both in TFLOP/s");
  }
}

void check_link(const LinkRates& link, const std::string& file, const std::string& path) {
  need(link.has_bandwidth_gbs(), file, (path + ".bandwidth_gbs").c_str(), "give GB/s of a rank");
}

void check_attention(const DeviceRates& device, const std::string& file) {
  need(device.attention_size() > 0, file, "device.attention",
       "give the rates of attention for a width of heads");
  std::set<int64_t> widths;
  for (int i = 0; i < device.attention_size(); ++i) {
    const AttentionRates& rates = device.attention(i);
    const std::string path = "device.attention." + std::to_string(i);
    need(rates.has_head_width(), file, (path + ".head_width").c_str(), "give a width, as in 64");
    need(rates.has_forward_tflops(), file, (path + ".forward_tflops").c_str(), kRate);
    need(rates.has_backward_tflops(), file, (path + ".backward_tflops").c_str(), kRate);
    if (!widths.insert(rates.head_width()).second) {
      fail(file, path + ".head_width: " + std::to_string(rates.head_width()) +
                     " stands there twice: drop one of the two");
    }
  }
}

void check_memory(const ClusterConfig& cluster, const std::string& file) {
  need(cluster.has_memory_gib(), file, "memory_gib", kGib);
  if (cluster.reserve_gib() < cluster.memory_gib()) return;
  fail(file, "reserve_gib: " + shown(cluster.reserve_gib()) + " leaves nothing of memory_gib " +
                 shown(cluster.memory_gib()) + ": give less");
}

void check(const ClusterConfig& cluster, const std::string& file) {
  try {
    check_fields(cluster, kRanges);
  } catch (const ConfigError& error) {
    fail(file, error.what());
  }
  need(!cluster.name().empty(), file, "name", "say what the cluster is called");
  check_memory(cluster, file);
  need(cluster.has_device(), file, "device", "give the rates of a rank");
  const DeviceRates& device = cluster.device();
  need(device.has_memory_gbs(), file, "device.memory_gbs", "give GB/s of a rank's memory");
  need(device.has_fp32() || device.has_bf16(), file, "device.bf16",
       "give the rates of matrix products, of bf16, fp32 or both");
  if (device.has_fp32()) check_matmuls(device.fp32(), file, "device.fp32");
  if (device.has_bf16()) check_matmuls(device.bf16(), file, "device.bf16");
  check_attention(device, file);
  if (cluster.ranks_per_node() > 1) {
    need(cluster.has_node_link(), file, "node_link", "a node has several ranks: say how they talk");
  }
  if (cluster.nodes() > 1) {
    need(cluster.has_network(), file, "network", "there are several nodes: say how they talk");
  }
  if (cluster.has_node_link()) check_link(cluster.node_link(), file, "node_link");
  if (cluster.has_network()) check_link(cluster.network(), file, "network");
  if (cluster.has_storage()) {
    need(cluster.storage().has_write_gbs(), file, "storage.write_gbs", kRate);
    need(cluster.storage().has_host_copy_gbs(), file, "storage.host_copy_gbs", kRate);
  }
}

void settle(LinkRates& link) {
  if (!link.has_all_reduce_gbs()) link.set_all_reduce_gbs(link.bandwidth_gbs());
  if (!link.has_bucket_gbs()) link.set_bucket_gbs(link.all_reduce_gbs());
}

// The rates that follow others where they are left out.
void settle(ClusterConfig& cluster) {
  DeviceRates& device = *cluster.mutable_device();
  if (!device.has_norm_gbs()) device.set_norm_gbs(device.memory_gbs());
  if (!device.has_activation_gbs()) device.set_activation_gbs(device.memory_gbs());
  if (!device.has_loss_gbs()) device.set_loss_gbs(device.memory_gbs());
  if (!device.has_update_gbs()) device.set_update_gbs(device.memory_gbs());
  if (cluster.has_node_link()) settle(*cluster.mutable_node_link());
  if (cluster.has_network()) settle(*cluster.mutable_network());
}

}  // namespace

ClusterConfig parse_cluster(const std::string& text, const std::string& file) {
  ClusterConfig cluster;
  Written written;
  parse_text(text, {file, ""}, cluster, written);
  check(cluster, file);
  settle(cluster);
  return cluster;
}

ClusterConfig load_cluster(const std::string& file) {
  return parse_cluster(read_config_file(file, "--cluster"), file);
}

std::string print(const ClusterConfig& cluster) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  if (!printer.PrintToString(cluster, &text)) throw IoError("cluster: could not be printed");
  return text;
}

}  // namespace dagpam::configs
