#include "launch/report/curve.h"

#include <algorithm>
#include <cmath>

namespace dagpam::launch {

namespace {

// Of the values from `begin` up to `end`.
CurvePoint stretch(const std::vector<int64_t>& steps, const std::vector<double>& values,
                   size_t begin, size_t end) {
  const double middle =
      (static_cast<double>(steps[begin]) + static_cast<double>(steps[end - 1])) / 2;
  CurvePoint point{middle, 0, INFINITY, -INFINITY};
  double finite = 0;
  for (size_t i = begin; i < end; ++i) {
    if (!std::isfinite(values[i])) continue;
    ++finite;
    point.mean += (values[i] - point.mean) / finite;
    point.low = std::min(point.low, values[i]);
    point.high = std::max(point.high, values[i]);
  }
  if (finite == 0) point.mean = point.low = point.high = std::nan("");
  return point;
}

}  // namespace

std::vector<CurvePoint> condense(const std::vector<int64_t>& steps,
                                 const std::vector<double>& values, size_t limit) {
  std::vector<CurvePoint> points;
  const size_t size = steps.size();
  if (size <= limit) {
    for (size_t i = 0; i < size; ++i) points.push_back(stretch(steps, values, i, i + 1));
    return points;
  }
  for (size_t i = 0; i < limit; ++i) {
    points.push_back(stretch(steps, values, size * i / limit, size * (i + 1) / limit));
  }
  points.front().step = static_cast<double>(steps.front());
  points.back().step = static_cast<double>(steps.back());
  return points;
}

std::vector<size_t> spread_places(size_t size, size_t limit) {
  std::vector<size_t> places;
  if (size <= limit) {
    for (size_t i = 0; i < size; ++i) places.push_back(i);
    return places;
  }
  for (size_t i = 0; i < limit; ++i) places.push_back(i * (size - 1) / (limit - 1));
  return places;
}

}  // namespace dagpam::launch
