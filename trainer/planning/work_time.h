// trainer/planning/work_time.h: seconds of what a rank computes, from the rates of its cluster.
#pragma once

#include <array>
#include <vector>

#include "configs/cluster.pb.h"
#include "configs/run.pb.h"
#include "trainer/planning/work.h"

namespace dagpam::trainer::planning {

// Seconds of a list of operators.
struct WorkTime {
  double device = 0;                   // computing and moving
  double host = 0;                     // starting operators
  std::array<double, kParts> parts{};  // of `device`

  // A CPU does both in turn; the host of a GPU runs ahead of it.
  double seconds(bool gpus) const;
  WorkTime& operator+=(const WorkTime& other);
  WorkTime operator*(double times) const;
};

// The rates of products of the config's precision. Throws ConfigError where the cluster has none.
const configs::MatmulRates& product_rates(const configs::ClusterConfig& cluster,
                                          const configs::TrainConfig& train);

class WorkTimer {
 public:
  // For heads of this width: the cluster's rates of the nearest one. Both must outlive this. Throws
  // as product_rates.
  WorkTimer(const configs::ClusterConfig& cluster, const configs::RunConfig& run);

  WorkTime time_of(const std::vector<Operator>& operators) const;

 private:
  double device_seconds(const Operator& op) const;
  double product_seconds(const Operator& op) const;
  double attention_seconds(const Operator& op) const;

  const configs::ClusterConfig& cluster_;
  const configs::DeviceRates& device_;
  const configs::MatmulRates& products_;
  const configs::AttentionRates& attention_;
  double context_, kernel_, maps_twice_;
};

}  // namespace dagpam::trainer::planning
