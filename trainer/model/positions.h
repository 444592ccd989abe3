// trainer/model/positions.h: tables of the position kinds that have no trained parameters.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "attention/attention.h"

namespace dagpam::trainer {

// Sinusoids of Vaswani et al. 2017, [length, width] float32: sines in even channels, cosines in odd
// ones.
at::Tensor sinusoidal_table(int64_t length, int64_t width);

// cos and sin of position * base^(-2i/D), each [length, D / 2] float32 (Su et al. 2021).
attention::Rotary rotary_table(int64_t length, int64_t head_width, double base);

// Rows of a table: positions [N] or [B, N] -> table rows [N, D / 2] or [B, N, D / 2].
attention::Rotary rotary_at(const attention::Rotary& table, const at::Tensor& positions);

}  // namespace dagpam::trainer
