// trainer/kernels/typed_data.h: from tensors to what kernels take. For .cpp files of this folder.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/vector_math.h"

namespace dagpam::trainer::kernels {

using parallel::rows::Bf16;

// Whether there are row kernels for this tensor.
inline bool has_rows(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

template <class Real>
Real* data_of(const at::Tensor& x);
template <>
inline float* data_of(const at::Tensor& x) {
  return x.defined() ? x.mutable_data_ptr<float>() : nullptr;
}
template <>
inline Bf16* data_of(const at::Tensor& x) {
  return x.defined() ? reinterpret_cast<Bf16*>(x.mutable_data_ptr<c10::BFloat16>()) : nullptr;
}

// Calls work(Real()) with the type of x's elements.
template <class Work>
void typed(const at::Tensor& x, Work work) {
  x.scalar_type() == at::kFloat ? work(float()) : work(Bf16());
}

// Rows of `width` elements that one task takes.
inline int64_t rows_a_task(int64_t width) { return 16384 / (width < 1 ? 1 : width) + 1; }

}  // namespace dagpam::trainer::kernels
