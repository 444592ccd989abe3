// trainer/optim/schedule.h: the learning rate of each step.
#pragma once

#include <cstdint>

#include "configs/run.pb.h"

namespace dagpam::trainer {

// Rate of step s (counted from 0), with peak p, warm-up W, end E = decay_steps, final rate f =
// final_ratio p:
//   warm-up, s < W: p (s + 1) / (W + 1)
//   COSINE    f + (p - f) (1 + cos(pi x)) / 2,  x = (s - W) / (E - W)
//   LINEAR    p + (f - p) x
//   CONSTANT  p
//   INV_SQRT  p sqrt((W + 1) / (s + 1))  (Vaswani et al. 2017)
//   WSD       p until E (1 - decay_fraction), then linear to f at E  (Hu et al. 2024)
// After E: f (COSINE, LINEAR, WSD).
class Schedule {
 public:
  // schedule.decay_steps must be set.
  Schedule(const configs::ScheduleConfig& config, double peak) : config_(config), peak_(peak) {}
  double rate(int64_t step) const;

 private:
  configs::ScheduleConfig config_;
  double peak_;
};

}  // namespace dagpam::trainer
