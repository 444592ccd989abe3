// A small run and a cluster with round numbers, to plan with.
#pragma once

#include <string>
#include <vector>

#include "configs/cluster.h"
#include "configs/run_config.h"
#include "trainer/planning/assumed_run.h"

namespace dagpam::trainer::planning {

inline RunPlan small_run(const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all{
      "model.layers=4",   "model.width=256", "model.heads=8",         "model.context=128",
      "model.vocab=1000", "train.steps=100", "train.global_batch=64", "data.train.0.prefix=none"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return assumed_run(configs::load({}, all));
}

inline RunPlan small_run(const Layout& layout, const std::vector<std::string>& overrides = {}) {
  return with_layout(small_run(overrides), layout);
}

// 1 TFLOP/s, 100 GB/s of memory, links of 10 and 1 GB/s without latency, 4 ranks a node.
inline configs::ClusterConfig round_cluster(const std::string& more = "") {
  return configs::parse_cluster(
      R"(name: "round" gpus: true nodes: 2 ranks_per_node: 4 memory_gib: 16
         device {
           fp32 { peak_tflops: 2 sustained_tflops: 1 }
           bf16 { peak_tflops: 4 sustained_tflops: 2 }
           memory_gbs: 100
           attention { head_width: 32 forward_tflops: 1 backward_tflops: 1 }
         }
         node_link { bandwidth_gbs: 10 }
         network { bandwidth_gbs: 1 }
         storage { write_gbs: 1 host_copy_gbs: 10 } )" +
          more,
      "round.textproto");
}

}  // namespace dagpam::trainer::planning
