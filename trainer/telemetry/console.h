// trainer/telemetry/console.h: numbers as people read them. Torch-free.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/telemetry/metrics.h"

namespace dagpam::trainer {

std::string format_count(double value);       // 812, 4.35k, 12.1M
std::string format_duration(double seconds);  // 12 s, 3:05, 1:02:05

// "step 100/800 | loss 2.3456 | lr 1.00e-03 | norm 0.52 | 45.1 ms | 8.1k tok/s | left 0:45"
std::string step_line(const StepMetrics& metrics, int64_t steps);

// "[=====>     ] 45 % step 360/800, left 1:05"
std::string progress_line(int64_t step, int64_t steps, double step_ms);

double peak_memory_gib();  // largest resident size of this process so far

}  // namespace dagpam::trainer
