#include "trainer/planning/work_time.h"

#include <algorithm>
#include <cmath>

#include "configs/errors.h"

namespace dagpam::trainer::planning {

using configs::AttentionRates;
using configs::ClusterConfig;

namespace {

constexpr double kTera = 1e12, kGb = 1e9, kMicrosecond = 1e-6;

const AttentionRates& nearest(const configs::DeviceRates& device, int64_t head_width) {
  const auto distance = [&](const AttentionRates& rates) {
    return std::abs(std::log2(static_cast<double>(rates.head_width())) -
                    std::log2(static_cast<double>(head_width)));
  };
  return *std::min_element(
      device.attention().begin(), device.attention().end(),
      [&](const AttentionRates& a, const AttentionRates& b) { return distance(a) < distance(b); });
}

}  // namespace

double WorkTime::seconds(bool gpus) const { return gpus ? std::max(device, host) : device + host; }

WorkTime& WorkTime::operator+=(const WorkTime& other) {
  device += other.device;
  host += other.host;
  for (size_t i = 0; i < parts.size(); ++i) parts[i] += other.parts[i];
  return *this;
}

WorkTime WorkTime::operator*(double times) const {
  WorkTime all = *this;
  all.device *= times;
  all.host *= times;
  for (double& part : all.parts) part *= times;
  return all;
}

const configs::MatmulRates& product_rates(const ClusterConfig& cluster,
                                          const configs::TrainConfig& train) {
  const configs::DeviceRates& device = cluster.device();
  const bool narrow = train.precision() == configs::TrainConfig::BF16;
  if (narrow ? device.has_bf16() : device.has_fp32()) return narrow ? device.bf16() : device.fp32();
  throw ConfigError("train.precision: " + configs::TrainConfig::Precision_Name(train.precision()) +
                    ", but cluster " + cluster.name() + " has no device." +
                    (narrow ? "bf16" : "fp32") + ": give its rates, or choose the other precision");
}

WorkTimer::WorkTimer(const ClusterConfig& cluster, const configs::RunConfig& run)
    : cluster_(cluster),
      device_(cluster.device()),
      products_(product_rates(cluster, run.train())),
      attention_(nearest(device_, run.model().width() / run.model().heads())),
      context_(static_cast<double>(run.model().context())),
      kernel_(cluster.gpus() ? kMicrosecond * device_.kernel_us() : 0),
      maps_twice_(1 + attention_.second_map()) {}

// As configs/cluster.proto says. A GPU loads while it computes; on a CPU operands come out of
// memory first, since other operators ran in between.
double WorkTimer::product_seconds(const Operator& op) const {
  const double half = products_.half_size();
  const double compute = 2 * op.m * op.n * op.k / (kTera * products_.sustained_tflops()) *
                         (1 + half / op.m) * (1 + half / op.n) * (1 + half / op.k);
  const double memory = op.bytes / (kGb * device_.memory_gbs());
  return cluster_.gpus() ? std::max(compute, memory) : compute + memory;
}

double WorkTimer::attention_seconds(const Operator& op) const {
  const double tflops = op.backward ? attention_.backward_tflops() : attention_.forward_tflops();
  const double slower = 1 + attention_.half_tokens() / context_;
  return op.operations / (kTera * tflops) * slower * (op.maps > 1 ? maps_twice_ : 1);
}

double WorkTimer::device_seconds(const Operator& op) const {
  switch (op.rate) {
    case Rate::kProduct:
      return product_seconds(op);
    case Rate::kAttention:
      return attention_seconds(op);
    case Rate::kMemory:
      return op.bytes / (kGb * device_.memory_gbs());
    case Rate::kNorm:
      return op.bytes / (kGb * device_.norm_gbs());
    case Rate::kActivation:
      return op.bytes / (kGb * device_.activation_gbs());
    case Rate::kLoss:
      return op.bytes / (kGb * device_.loss_gbs());
    case Rate::kUpdate:
      return op.bytes / (kGb * device_.update_gbs());
  }
  return 0;
}

WorkTime WorkTimer::time_of(const std::vector<Operator>& operators) const {
  WorkTime all;
  for (const Operator& op : operators) {
    const double started = op.times * op.operators;
    // What moves nothing is the host's alone.
    const double kernels = op.rate == Rate::kMemory && op.bytes == 0 ? 0 : started;
    const double device = device_.in_step() * op.times * device_seconds(op) + kernels * kernel_;
    all.device += device;
    all.parts[static_cast<size_t>(op.part)] += device;
    all.host += started * kMicrosecond * device_.operator_us();
  }
  return all;
}

}  // namespace dagpam::trainer::planning
