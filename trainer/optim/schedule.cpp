#include "trainer/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dagpam::trainer {

using configs::ScheduleConfig;

double Schedule::rate(int64_t step) const {
  const auto s = static_cast<double>(step);
  const auto warmup = static_cast<double>(config_.warmup_steps());
  const auto end = static_cast<double>(config_.decay_steps());
  const double final_rate = peak_ * config_.final_ratio();
  if (s < warmup) return peak_ * (s + 1) / (warmup + 1);

  const auto progress_from = [&](double start) {
    return end > start ? std::clamp((s - start) / (end - start), 0.0, 1.0) : 1.0;
  };
  switch (config_.kind()) {
    case ScheduleConfig::COSINE:
      return final_rate +
             (peak_ - final_rate) * 0.5 * (1 + std::cos(std::numbers::pi * progress_from(warmup)));
    case ScheduleConfig::LINEAR:
      return peak_ + (final_rate - peak_) * progress_from(warmup);
    case ScheduleConfig::CONSTANT:
      return peak_;
    case ScheduleConfig::INV_SQRT:
      return peak_ * std::sqrt((warmup + 1) / (s + 1));
    case ScheduleConfig::WSD: {
      const double start = std::max(warmup, end * (1 - config_.decay_fraction()));
      return s < start ? peak_ : peak_ + (final_rate - peak_) * progress_from(start);
    }
  }
  return peak_;
}

}  // namespace dagpam::trainer
