// trainer/kernels/step_rows.h: norms and activations on the CPU, a row at a time. One source,
// compiled for several instruction sets and chosen at run time (parallel/instruction_set.h); knows
// no torch. Arithmetic is float32, results are rounded once to the rows' type.
//
// Legend: C channels of the residual stream, M hidden channels of an MLP.
#pragma once

#include <cstdint>

#include "parallel/vector_math.h"

namespace dagpam::trainer::kernels {

using parallel::rows::Bf16;

// What backward needs of a normed row. RMS norm: mean 0, scale 1 / rms.
struct NormStats {
  float mean, scale;
};

// y <- (x - mean) scale w + b, over C channels.
template <class Real>
struct NormRow {
  const Real* x;       // [C]
  const Real* weight;  // [C]
  const Real* bias;    // [C] or nullptr
  Real* y;             // [C]
  int64_t width;
  float eps;
  bool rms;
};

// dx <- the norm's gradient, plus `add`; weight's and bias's gradients are added up.
template <class Real>
struct NormGradientRow {
  const Real* dy;       // [C]
  const Real* x;        // [C]
  const Real* weight;   // [C]
  const Real* add;      // [C], what else flows into x, or nullptr
  Real* dx;             // [C], may be dy
  float *dweight, *db;  // [C]; db may be nullptr
  int64_t width;
  NormStats stats;
  bool rms;
};

// a <- act(h + b), or for a gated one silu(g + c) (h + b).
template <class Real>
struct ActivationRow {
  const Real* h;                 // [M]
  const Real* bias;              // [M] or nullptr
  const Real *gate, *gate_bias;  // [M], of SWIGLU; gate_bias may be nullptr
  Real* a;                       // [M]
  int64_t width;
};

// From da to the gradients of h and g, and a once more.
template <class Real>
struct ActivationGradientRow {
  ActivationRow<Real> forward;  // forward.a: out
  Real* da;                     // [M] in: da, out: dh
  Real* dgate;                  // [M] out, of SWIGLU
  float *dbias, *dgate_bias;    // [M] added up, where not nullptr
};

template <class Real>
struct StepRows {
  const char* name;
  NormStats (*norm)(const NormRow<Real>& row);
  void (*norm_gradient)(const NormGradientRow<Real>& row);
  void (*relu)(const ActivationRow<Real>& row);
  void (*gelu)(const ActivationRow<Real>& row);  // x Phi(x), Phi exact to float32
  void (*gelu_tanh)(const ActivationRow<Real>& row);
  void (*swiglu)(const ActivationRow<Real>& row);
  void (*relu_gradient)(const ActivationGradientRow<Real>& row);
  void (*gelu_gradient)(const ActivationGradientRow<Real>& row);
  void (*gelu_tanh_gradient)(const ActivationGradientRow<Real>& row);
  void (*swiglu_gradient)(const ActivationGradientRow<Real>& row);
  void (*add)(const Real* x, const Real* y, Real* sum, int64_t n);  // sum <- x + y
};

// The fastest build that this processor runs.
template <class Real>
const StepRows<Real>& step_rows();

#define DAGPAM_STEP_ROWS(set)              \
  namespace set {                          \
  extern const StepRows<float> kFloatRows; \
  extern const StepRows<Bf16> kBf16Rows;   \
  }
DAGPAM_STEP_ROWS(portable)
DAGPAM_STEP_ROWS(avx2)
DAGPAM_STEP_ROWS(avx512)
#undef DAGPAM_STEP_ROWS

}  // namespace dagpam::trainer::kernels
