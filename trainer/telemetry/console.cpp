#include "trainer/telemetry/console.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace dagpam::trainer {

namespace {

template <typename... Args>
std::string format(const char* pattern, Args... args) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, pattern, args...);
  return buffer;
}

}  // namespace

std::string format_count(double value) {
  for (const auto& [unit, name] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (value >= unit) return format("%.3g%s", value / unit, name);
  }
  return format("%.3g", value);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  const auto s = static_cast<long long>(std::llround(std::max(seconds, 0.0)));
  if (s < 60) return format("%lld s", s);
  if (s < 3600) return format("%lld:%02lld", s / 60, s % 60);
  return format("%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
}

std::string step_line(const StepMetrics& m, int64_t steps) {
  const double left = static_cast<double>(steps - m.step) * m.step_ms / 1e3;
  return format("step %lld/%lld | loss %.4f | lr %.2e | norm %.3g | %.1f ms | %s tok/s | left %s",
                static_cast<long long>(m.step), static_cast<long long>(steps), m.loss, m.lr,
                m.grad_norm, m.step_ms, format_count(m.tokens_per_s).c_str(),
                format_duration(left).c_str());
}

std::string progress_line(int64_t step, int64_t steps, double step_ms) {
  constexpr int kWidth = 30;
  const double share = steps > 0 ? static_cast<double>(step) / static_cast<double>(steps) : 1;
  std::string bar(kWidth, ' ');
  const auto filled = static_cast<size_t>(share * kWidth);
  std::fill_n(bar.begin(), filled, '=');
  if (filled < bar.size()) bar[filled] = '>';
  const double left = static_cast<double>(steps - step) * step_ms / 1e3;
  return format("[%s] %3.0f %% step %lld/%lld, left %s", bar.c_str(), 100 * share,
                static_cast<long long>(step), static_cast<long long>(steps),
                format_duration(left).c_str());
}

double peak_memory_gib() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1024.0 * 1024.0);  // ru_maxrss is in KiB
}

}  // namespace dagpam::trainer
