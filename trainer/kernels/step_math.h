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

// GELU with a tanh in the place of the error function (Hendrycks and Gimpel 2016), as in GPT-2:
// h / 2 (1 + tanh u) = h sigmoid(x), x = 2 u = 2 sqrt(2 / pi) (h + 0.044715 h^3). The sigmoid's
// slope is made of exp(-|x|): 1 - sigmoid(x) would lose it where h is large, and dx / dh is too.
DAGPAM_ROW_FUNCTION Activated gelu_tanh_at(float h) {
  constexpr float kTwice = 1.5957691216057308f, kCube = 0.044715f;  // 2 sqrt(2 / pi)
  constexpr float kFar = 1e4f;  // where exp(-|x|) is 0, so that no product of it is infinite
  const float square = h * h < kFar ? h * h : kFar;
  const float x = kTwice * h * (1.0f + kCube * square);
  const float tail = parallel::rows::exponential(x < 0.0f ? x : -x);
  const float t = parallel::rows::reciprocal(1.0f + tail);
  const float s = x < 0.0f ? tail * t : t;
  const float inner = kTwice * (1.0f + 3.0f * kCube * square);  // dx / dh
  return {h * s, s + h * (tail * t * t) * inner};
}

DAGPAM_ROW_FUNCTION Activated silu_at(float h) {
  const float s = parallel::rows::sigmoid(h);
  return {h * s, s + h * s * (1.0f - s)};
}

}  // namespace dagpam::trainer::kernels
