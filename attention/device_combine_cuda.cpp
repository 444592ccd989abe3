// device_combine.h with CUDA in the build.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <initializer_list>

#include "attention/combine_kernel.h"
#include "attention/device_combine.h"

namespace dagpam::attention {
namespace {

void check(int result, const char* what) {
  TORCH_CHECK(result == cudaSuccess, what, ": ",
              cudaGetErrorString(static_cast<cudaError_t>(result)));
}

void* stream_of(const at::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
}

const Bits16* bits_of(const at::Tensor& x) {
  return reinterpret_cast<const Bits16*>(x.const_data_ptr());
}
Bits16* bits_of(at::Tensor& x) { return reinterpret_cast<Bits16*>(x.mutable_data_ptr()); }

// 16 bytes at once where all that is read and written starts at a multiple of them; else 1.
int pack_of(const CombineShape& s, const at::Tensor& both,
            std::initializer_list<const at::Tensor*> others) {
  const int pack = both.scalar_type() == at::kFloat ? 4 : 8;
  for (const int64_t step : {s.width, s.batch_step, s.query_step, s.head_step}) {
    if (step % pack != 0) return 1;
  }
  const auto aligned = [](const at::Tensor& x) {
    return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
  };
  for (const at::Tensor* other : others) {
    if (!aligned(*other)) return 1;
  }
  return aligned(both) ? pack : 1;
}

}  // namespace

at::Tensor device_combine(const CombineShape& shape, const at::Tensor& both, const at::Tensor& plus,
                          const at::Tensor& minus) {
  const c10::cuda::CUDAGuard guard(both.device());
  at::Tensor y = at::empty({shape.batch, shape.queries, shape.heads, shape.width}, both.options());
  const int pack = pack_of(shape, both, {&y});
  const auto *p = plus.const_data_ptr<float>(), *m = minus.const_data_ptr<float>();
  check(both.scalar_type() == at::kFloat
            ? launch_combine(shape, pack, p, m, both.const_data_ptr<float>(),
                             y.mutable_data_ptr<float>(), stream_of(y))
            : launch_combine(shape, pack, p, m, bits_of(both), bits_of(y), stream_of(y)),
        "combination of daGPAM's maps");
  return y;
}

at::Tensor device_combine_backward(const CombineShape& shape, const at::Tensor& both,
                                   const at::Tensor& plus, const at::Tensor& minus,
                                   const at::Tensor& dy, at::Tensor& sums) {
  const c10::cuda::CUDAGuard guard(both.device());
  at::Tensor d_both =
      at::empty({shape.batch, shape.queries, 2 * shape.heads, shape.width}, both.options());
  at::Tensor parts = at::empty({shape.heads, combine_parts(shape), 2}, plus.options()).zero_();
  const int pack = pack_of(shape, both, {&dy, &d_both});
  const auto *p = plus.const_data_ptr<float>(), *m = minus.const_data_ptr<float>();
  auto* const out = parts.mutable_data_ptr<float>();
  check(both.scalar_type() == at::kFloat
            ? launch_combine_backward(shape, pack, p, m, both.const_data_ptr<float>(),
                                      dy.const_data_ptr<float>(), d_both.mutable_data_ptr<float>(),
                                      out, stream_of(dy))
            : launch_combine_backward(shape, pack, p, m, bits_of(both), bits_of(dy),
                                      bits_of(d_both), out, stream_of(dy)),
        "gradients of daGPAM's combination");
  sums = parts.sum(1);  // [H, 2]
  return d_both;
}

}  // namespace dagpam::attention
