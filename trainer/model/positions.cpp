#include "trainer/model/positions.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>

#include <cmath>

namespace dagpam::trainer {

at::Tensor sinusoidal_table(int64_t length, int64_t width) {
  at::Tensor table = at::empty({length, width}, at::kFloat);  // [T, C]
  auto* out = table.data_ptr<float>();
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      const double exponent = static_cast<double>(c / 2 * 2) / static_cast<double>(width);
      const double angle = static_cast<double>(t) * std::pow(10000.0, -exponent);
      *out++ = static_cast<float>(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

attention::Rotary rotary_table(int64_t length, int64_t head_width, double base) {
  const int64_t half = head_width / 2;
  attention::Rotary table{at::empty({length, half}, at::kFloat),
                          at::empty({length, half}, at::kFloat)};
  auto* cosines = table.cos.data_ptr<float>();
  auto* sines = table.sin.data_ptr<float>();
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(head_width);
      const double angle = static_cast<double>(t) * std::pow(base, -exponent);
      *cosines++ = static_cast<float>(std::cos(angle));
      *sines++ = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

attention::Rotary rotary_at(const attention::Rotary& table, const at::Tensor& positions) {
  const auto rows = [&](const at::Tensor& source) {
    std::vector<int64_t> shape = positions.sizes().vec();
    shape.push_back(source.size(1));
    return at::index_select(source, 0, positions.reshape({-1})).view(shape);
  };
  return {rows(table.cos), rows(table.sin)};
}

}  // namespace dagpam::trainer
