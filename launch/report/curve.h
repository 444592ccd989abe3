// launch/report/curve.h: a curve of any length in a bounded number of points. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dagpam::launch {

// A stretch of a curve: mean, smallest and largest of its finite values, at the middle of its
// steps. Mean and bounds are NaN where it has none.
struct CurvePoint {
  double step = 0, mean = 0, low = 0, high = 0;
};

// `steps` rise. At most `limit` (>= 2) points, each for as many neighbours; the first and the last
// stand at the curve's ends. A curve that is no longer stays as it is.
std::vector<CurvePoint> condense(const std::vector<int64_t>& steps,
                                 const std::vector<double>& values, size_t limit);

// Places of at most `limit` (>= 2) of `size` points, evenly, first and last among them.
std::vector<size_t> spread_places(size_t size, size_t limit);

}  // namespace dagpam::launch
