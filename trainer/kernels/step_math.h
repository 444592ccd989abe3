// trainer/kernels/step_math.h: activations and their slopes, element by element, as functions that
// CUDA kernels and the CPU's row kernels compile alike (see parallel/vector_math.h).
#pragma once

#include "parallel/vector_math.h"

namespace dagpam::trainer::kernels {

// An activation's value and slope at h; of SWIGLU silu alone, which the gate passes through.
struct Activated {
  float value, slope;
};

DAGPAM_ROW_FUNCTION Activated relu_at(float h) {
  return h <= 0.0f ? Activated{0.0f, 0.0f} : Activated{h, 1.0f};  // NaN stays
}

DAGPAM_ROW_FUNCTION Activated gelu_at(float h) {
  const parallel::rows::Normal n = parallel::rows::normal(h);
  return {h * n.below, n.below + h * n.density};
}

DAGPAM_ROW_FUNCTION Activated silu_at(float h) {
  const float s = parallel::rows::sigmoid(h);
  return {h * s, s + h * s * (1.0f - s)};
}

}  // namespace dagpam::trainer::kernels
