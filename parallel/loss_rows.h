// parallel/loss_rows.h: cross-entropy of rows of logits on the CPU, and its gradient in the logits'
// place. One source, compiled for several instruction sets and chosen at run time; knows no torch.
//
// Legend: V symbols of a row (this rank's part of the vocabulary).
#pragma once

#include <cstdint>

#include "parallel/vector_math.h"

namespace dagpam::parallel {

// What the log-sum-exp of a row needs, relative to some largest logit.
struct LossSums {
  float exponentials;  // sum_v exp(z_v - largest)
  float shifted;       // sum_v (z_v - largest); label smoothing alone needs it
};

template <class Real>
struct LossRows {
  const char* name;
  // The largest of z [V]; -infinity for V = 0. NaN where some z is.
  float (*largest)(const Real* z, int64_t v);
  LossSums (*sums)(const Real* z, int64_t v, float largest);
  // z_v <- factor exp(z_v - largest) - shift. The target's own term is the caller's.
  void (*gradient)(Real* z, int64_t v, float largest, float factor, float shift);
};

// The fastest build that this processor runs.
template <class Real>
const LossRows<Real>& loss_rows();

#define DAGPAM_LOSS_ROWS(set)                  \
  namespace set {                              \
  extern const LossRows<float> kFloatLoss;     \
  extern const LossRows<rows::Bf16> kBf16Loss; \
  }
DAGPAM_LOSS_ROWS(portable)
DAGPAM_LOSS_ROWS(avx2)
DAGPAM_LOSS_ROWS(avx512)
#undef DAGPAM_LOSS_ROWS

}  // namespace dagpam::parallel
