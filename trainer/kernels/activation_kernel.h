// trainer/kernels/activation_kernel.h: launches step_math.h on a GPU. For
// device_activation_cuda.cpp.
#pragma once

#include <cstdint>

#include "parallel/column_tiles.h"
#include "trainer/kernels/step_math.h"

namespace dagpam::trainer::kernels {

enum class KernelActivation { kRelu, kGelu, kGeluTanh, kSwiglu };

// Rows of `width` elements in the GPU's memory, as fused_mlp.h has them; absent ones are null.
template <class Real>
struct ActivationProblem {
  const Real *h, *bias, *gate, *gate_bias;
  Real* a;
  Real *da, *dgate;  // of the gradient: da in, dh out
  int64_t rows, width;
  // Of the gradient, [tiles.parts, width]: sums of dh and dgate over each part's rows. Null where
  // there are no biases.
  float *bias_parts = nullptr, *gate_bias_parts = nullptr;
};

// How the GPU's threads share the problem: by packs where all that is read and written starts at 16
// bytes in every row, else by single elements.
template <class Real>
parallel::ColumnTiles activation_tiles(const ActivationProblem<Real>& p) {
  constexpr int kWidest = parallel::rows::kWidestPack<Real>;
  bool packs = p.width % kWidest == 0;
  const Real* const all[] = {p.h, p.bias, p.gate, p.gate_bias, p.a, p.da, p.dgate};
  for (const Real* x : all) {
    packs = packs && parallel::rows::starts_pack(x);
  }
  return parallel::column_tiles(p.rows, p.width, packs ? kWidest : 1);
}

template <KernelActivation kKind>
DAGPAM_ROW_FUNCTION Activated activated_at(float x) {
  return kKind == KernelActivation::kRelu       ? relu_at(x)
         : kKind == KernelActivation::kGelu     ? gelu_at(x)
         : kKind == KernelActivation::kGeluTanh ? gelu_tanh_at(x)
                                                : silu_at(x);
}

// What a thread keeps of its columns from row to row.
template <class Real, int kPack>
struct ActivationColumns {
  parallel::rows::Pack<Real, kPack> bias = {}, gate_bias = {};  // 0 where there is none
  float sums[kPack] = {}, gate_sums[kPack] = {};                // of dh and dgate
};

template <int kPack, class Real>
DAGPAM_ROW_FUNCTION ActivationColumns<Real, kPack> activation_columns(
    const ActivationProblem<Real>& p, int64_t column) {
  ActivationColumns<Real, kPack> own;
  if (p.bias != nullptr) own.bias = parallel::rows::load_pack<kPack>(p.bias + column);
  if (p.gate_bias != nullptr) {
    own.gate_bias = parallel::rows::load_pack<kPack>(p.gate_bias + column);
  }
  return own;
}

// The pack at element `at` and those below it every `step` elements, kRows of them; all are read
// before the first is written. Forward, or with the gradient.
template <KernelActivation kKind, bool kGradient, int kRows, int kPack, class Real>
DAGPAM_ROW_FUNCTION void activation_packs(const ActivationProblem<Real>& p, int64_t at,
                                          int64_t step, ActivationColumns<Real, kPack>* own) {
  using parallel::rows::load_pack;
  using parallel::rows::store_pack;
  using parallel::rows::widen;
  constexpr bool kGated = kKind == KernelActivation::kSwiglu;
  parallel::rows::Pack<Real, kPack> h[kRows], gate[kRows], da[kRows];
  for (int k = 0; k < kRows; ++k) {
    h[k] = load_pack<kPack>(p.h + at + k * step);
    if (kGated) gate[k] = load_pack<kPack>(p.gate + at + k * step);
    if (kGradient) da[k] = load_pack<kPack>(p.da + at + k * step);
  }
  for (int k = 0; k < kRows; ++k) {
    float a[kPack], dh[kPack], dgate[kPack];
    for (int i = 0; i < kPack; ++i) {
      const float x = widen(h[k].x[i]) + widen(own->bias.x[i]);
      const float d = kGradient ? widen(da[k].x[i]) : 0.0f;
      if (kGated) {
        const Activated act = activated_at<kKind>(widen(gate[k].x[i]) + widen(own->gate_bias.x[i]));
        a[i] = act.value * x;
        dh[i] = d * act.value;
        dgate[i] = d * x * act.slope;
      } else {
        const Activated act = activated_at<kKind>(x);
        a[i] = act.value;
        dh[i] = d * act.slope;
      }
      if (kGradient) own->sums[i] += dh[i];
      if (kGradient && kGated) own->gate_sums[i] += dgate[i];
    }
    store_pack(a, p.a + at + k * step);
    if (kGradient) store_pack(dh, p.da + at + k * step);
    if (kGradient && kGated) store_pack(dgate, p.dgate + at + k * step);
  }
}

// A thread's rows in their order; tests run it on the host.
template <KernelActivation kKind, bool kGradient, int kPack, class Real>
DAGPAM_ROW_FUNCTION void activation_part(const ActivationProblem<Real>& p,
                                         const parallel::TileThread& thread,
                                         ActivationColumns<Real, kPack>* own) {
  constexpr int kAtOnce = kGradient || kKind == KernelActivation::kSwiglu ? 2 : 4;
  const int64_t step = thread.step * p.width;
  int64_t row = thread.first, at = row * p.width + thread.column;
  for (; row + (kAtOnce - 1) * thread.step < p.rows; row += kAtOnce * thread.step) {
    activation_packs<kKind, kGradient, kAtOnce>(p, at, step, own);
    at += kAtOnce * step;
  }
  for (; row < p.rows; row += thread.step, at += step) {
    activation_packs<kKind, kGradient, 1>(p, at, step, own);
  }
}

// `tiles` are activation_tiles of the problem, `stream` is a cudaStream_t. Returns the launch's
// cudaError_t.
int launch_activation(KernelActivation kind, bool gradient, const parallel::ColumnTiles& tiles,
                      const ActivationProblem<float>& problem, void* stream);
int launch_activation(KernelActivation kind, bool gradient, const parallel::ColumnTiles& tiles,
                      const ActivationProblem<parallel::rows::Bf16>& problem, void* stream);

}  // namespace dagpam::trainer::kernels
