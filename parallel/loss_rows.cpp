// Compiled once per instruction set, with DAGPAM_ROWS = portable, avx2 or avx512: see
// instruction_set.h. Everything but the tables has internal linkage.
#include "parallel/loss_rows.h"

namespace dagpam::parallel::DAGPAM_ROWS {
namespace {

template <class Real>
float largest(const Real* z, int64_t v) {
  float most = -__builtin_inff();
  float odd = 0;  // NaN where some logit is: comparisons with NaN would lose it
#pragma omp simd reduction(max : most) reduction(+ : odd)
  for (int64_t i = 0; i < v; ++i) {
    const float x = rows::widen(z[i]);
    most = x > most ? x : most;
    odd += x != x ? x : 0.0f;
  }
  return odd != odd ? odd : most;
}

template <class Real>
LossSums sums(const Real* z, int64_t v, float most) {
  float exponentials = 0, shifted = 0;
#pragma omp simd reduction(+ : exponentials, shifted)
  for (int64_t i = 0; i < v; ++i) {
    const float x = rows::widen(z[i]) - most;
    exponentials += rows::exponential(x);
    shifted += x;
  }
  return {exponentials, shifted};
}

template <class Real>
void gradient(Real* z, int64_t v, float most, float factor, float shift) {
#pragma omp simd
  for (int64_t i = 0; i < v; ++i) {
    rows::narrow(factor * rows::exponential(rows::widen(z[i]) - most) - shift, z[i]);
  }
}

#define DAGPAM_QUOTE(x) #x
#define DAGPAM_NAME(x) DAGPAM_QUOTE(x)

}  // namespace

extern const LossRows<float> kFloatLoss = {DAGPAM_NAME(DAGPAM_ROWS), largest<float>, sums<float>,
                                           gradient<float>};
extern const LossRows<rows::Bf16> kBf16Loss = {DAGPAM_NAME(DAGPAM_ROWS), largest<rows::Bf16>,
                                               sums<rows::Bf16>, gradient<rows::Bf16>};

}  // namespace dagpam::parallel::DAGPAM_ROWS
