// launch/bench/measure_rates.h: seconds of the pieces that steps are made of, on this machine.
#pragma once

#include <functional>

#include "configs/cluster.pb.h"
#include "parallel/communicator.h"

namespace dagpam::launch {

// Times work on all ranks of a group at once. All ranks call alike.
class RankTimer {
 public:
  RankTimer(parallel::Communicator& world, int64_t rounds) : world_(world), rounds_(rounds) {}

  // Seconds of a call: the fastest round, of the slowest rank. `work` may be called often; it must
  // not talk.
  double seconds(const std::function<void()>& work) const;

  // The same of calls that talk: all ranks make the same number.
  double seconds_of_talk(const std::function<void()>& work, int64_t calls) const;

 private:
  double slowest(double seconds) const;

  parallel::Communicator& world_;
  int64_t rounds_;
};

// How far products were from what MatmulRates says of them.
struct ProductFit {
  double worst = 0;  // largest |measured / fitted - 1|
  int points = 0;
};

// Products of float32 over a range of sizes, forward and both gradients.
ProductFit measure_products(const RankTimer& timer, configs::MatmulRates& rates);

// Copies, norms, the MLP's activation, the loss, the optimizer.
void measure_loops(const RankTimer& timer, configs::DeviceRates& rates);

// Softmax attention and daGPAM's second map, heads of 32 and 64.
void measure_attention(const RankTimer& timer, configs::DeviceRates& rates);

// From steps of two made-up models, what the rates of pieces do not have: what starting an operator
// takes, by one so small that it does little else; what computing in a step takes over its pieces
// alone, by one of middle size. After all others, of which `cluster` has the rates.
void measure_steps(const RankTimer& timer, configs::ClusterConfig& cluster);

}  // namespace dagpam::launch
