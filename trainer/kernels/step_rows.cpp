// Compiled once per instruction set, with DAGPAM_ROWS = portable, avx2 or avx512: see
// parallel/instruction_set.h. Everything but the tables has internal linkage.
#include "trainer/kernels/step_rows.h"

#include "trainer/kernels/step_math.h"

namespace dagpam::trainer::kernels::DAGPAM_ROWS {
namespace {

using parallel::rows::narrow;
using parallel::rows::widen;

template <class Real>
NormStats norm(const NormRow<Real>& row) {
  const Real* __restrict__ const x = row.x;
  const Real* __restrict__ const weight = row.weight;
  const Real* __restrict__ const bias = row.bias;
  Real* __restrict__ const y = row.y;
  const int64_t n = row.width;
  const float inverse = 1.0f / static_cast<float>(n);
  float sum = 0;
  if (!row.rms) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += widen(x[i]);
  }
  const float mean = sum * inverse;
  float squares = 0;  // about the mean: no cancellation
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) {
    const float off = widen(x[i]) - mean;
    squares += off * off;
  }
  const float scale = 1.0f / __builtin_sqrtf(squares * inverse + row.eps);
  if (bias == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      narrow((widen(x[i]) - mean) * scale * widen(weight[i]), y[i]);
    }
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      narrow((widen(x[i]) - mean) * scale * widen(weight[i]) + widen(bias[i]), y[i]);
    }
  }
  return {mean, scale};
}

template <class Real, bool kAdd>
void norm_gradient_row(const NormGradientRow<Real>& row) {
  const Real* const dy = row.dy;  // dx may be the same row
  const Real* __restrict__ const x = row.x;
  const Real* __restrict__ const weight = row.weight;
  const Real* __restrict__ const add = row.add;
  float* __restrict__ const dweight = row.dweight;
  const int64_t n = row.width;
  const auto [mean, scale] = row.stats;
  float along = 0, level = 0;  // sums of dy w xhat and dy w
#pragma omp simd reduction(+ : along, level)
  for (int64_t i = 0; i < n; ++i) {
    const float d = widen(dy[i]), normed = (widen(x[i]) - mean) * scale;
    const float slope = d * widen(weight[i]);
    along += slope * normed;
    level += slope;
    dweight[i] += d * normed;
  }
  if (row.db != nullptr) {
    float* __restrict__ const db = row.db;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) db[i] += widen(dy[i]);
  }
  const float inverse = 1.0f / static_cast<float>(n);
  along *= inverse;
  level = row.rms ? 0.0f : level * inverse;
  Real* const dx = row.dx;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float normed = (widen(x[i]) - mean) * scale;
    float d = scale * (widen(dy[i]) * widen(weight[i]) - level - normed * along);
    if constexpr (kAdd) d += widen(add[i]);
    narrow(d, dx[i]);
  }
}

template <class Real>
void norm_gradient(const NormGradientRow<Real>& row) {
  row.add != nullptr ? norm_gradient_row<Real, true>(row) : norm_gradient_row<Real, false>(row);
}

struct Relu {
  static Activated at(float h) { return relu_at(h); }
};
struct Gelu {
  static Activated at(float h) { return gelu_at(h); }
};
struct GeluTanh {
  static Activated at(float h) { return gelu_tanh_at(h); }
};

template <class Act, class Real, bool kBias>
void activation_row(const ActivationRow<Real>& row) {
  const Real* __restrict__ const h = row.h;
  const Real* __restrict__ const bias = row.bias;
  Real* __restrict__ const a = row.a;
#pragma omp simd
  for (int64_t i = 0; i < row.width; ++i) {
    float x = widen(h[i]);
    if constexpr (kBias) x += widen(bias[i]);
    narrow(Act::at(x).value, a[i]);
  }
}

template <class Act, class Real>
void activation(const ActivationRow<Real>& row) {
  row.bias != nullptr ? activation_row<Act, Real, true>(row)
                      : activation_row<Act, Real, false>(row);
}

template <class Act, class Real, bool kBias>
void activation_gradient_row(const ActivationGradientRow<Real>& row) {
  const Real* __restrict__ const h = row.forward.h;
  const Real* __restrict__ const bias = row.forward.bias;
  Real* __restrict__ const a = row.forward.a;
  Real* __restrict__ const da = row.da;
  float* __restrict__ const dbias = row.dbias;
#pragma omp simd
  for (int64_t i = 0; i < row.forward.width; ++i) {
    float x = widen(h[i]);
    if constexpr (kBias) x += widen(bias[i]);
    const Activated act = Act::at(x);
    narrow(act.value, a[i]);
    const float d = widen(da[i]) * act.slope;
    if constexpr (kBias) dbias[i] += d;
    narrow(d, da[i]);
  }
}

template <class Act, class Real>
void activation_gradient(const ActivationGradientRow<Real>& row) {
  row.forward.bias != nullptr ? activation_gradient_row<Act, Real, true>(row)
                              : activation_gradient_row<Act, Real, false>(row);
}

template <class Real, bool kBias>
void swiglu_row(const ActivationRow<Real>& row) {
  const Real* __restrict__ const h = row.h;
  const Real* __restrict__ const gate = row.gate;
  const Real* __restrict__ const bias = row.bias;
  const Real* __restrict__ const gate_bias = row.gate_bias;
  Real* __restrict__ const a = row.a;
#pragma omp simd
  for (int64_t i = 0; i < row.width; ++i) {
    float x = widen(h[i]), g = widen(gate[i]);
    if constexpr (kBias) x += widen(bias[i]), g += widen(gate_bias[i]);
    narrow(silu_at(g).value * x, a[i]);
  }
}

template <class Real>
void swiglu(const ActivationRow<Real>& row) {
  row.bias != nullptr ? swiglu_row<Real, true>(row) : swiglu_row<Real, false>(row);
}

template <class Real, bool kBias>
void swiglu_gradient_row(const ActivationGradientRow<Real>& row) {
  const Real* __restrict__ const h = row.forward.h;
  const Real* __restrict__ const gate = row.forward.gate;
  const Real* __restrict__ const bias = row.forward.bias;
  const Real* __restrict__ const gate_bias = row.forward.gate_bias;
  Real* __restrict__ const a = row.forward.a;
  Real* __restrict__ const da = row.da;
  Real* __restrict__ const dgate = row.dgate;
  float* __restrict__ const dbias = row.dbias;
  float* __restrict__ const dgate_bias = row.dgate_bias;
#pragma omp simd
  for (int64_t i = 0; i < row.forward.width; ++i) {
    float x = widen(h[i]), g = widen(gate[i]);
    if constexpr (kBias) x += widen(bias[i]), g += widen(gate_bias[i]);
    const Activated act = silu_at(g);
    narrow(act.value * x, a[i]);
    const float d = widen(da[i]), dh = d * act.value, dg = d * x * act.slope;
    if constexpr (kBias) dbias[i] += dh, dgate_bias[i] += dg;
    narrow(dh, da[i]);
    narrow(dg, dgate[i]);
  }
}

template <class Real>
void swiglu_gradient(const ActivationGradientRow<Real>& row) {
  row.forward.bias != nullptr ? swiglu_gradient_row<Real, true>(row)
                              : swiglu_gradient_row<Real, false>(row);
}

template <class Real>
void add(const Real* x, const Real* y, Real* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) narrow(widen(x[i]) + widen(y[i]), sum[i]);
}

#define DAGPAM_QUOTE(x) #x
#define DAGPAM_NAME(x) DAGPAM_QUOTE(x)

template <class Real>
constexpr StepRows<Real> make_rows() {
  return {DAGPAM_NAME(DAGPAM_ROWS),
          norm<Real>,
          norm_gradient<Real>,
          activation<Relu, Real>,
          activation<Gelu, Real>,
          activation<GeluTanh, Real>,
          swiglu<Real>,
          activation_gradient<Relu, Real>,
          activation_gradient<Gelu, Real>,
          activation_gradient<GeluTanh, Real>,
          swiglu_gradient<Real>,
          add<Real>};
}

}  // namespace

extern const StepRows<float> kFloatRows = make_rows<float>();
extern const StepRows<Bf16> kBf16Rows = make_rows<Bf16>();

}  // namespace dagpam::trainer::kernels::DAGPAM_ROWS
