// The choice of row kernels on x86-64 processors.
#include "attention/cpu_rows.h"

namespace dagpam::attention::cpu {
namespace {

template <typename T>
const RowKernels<T>& choose(const RowKernels<T>& portable, const RowKernels<T>& avx2,
                            const RowKernels<T>& avx512) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return portable;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  return wide ? avx512 : avx2;
}

}  // namespace

template <>
const RowKernels<float>& row_kernels() {
  static const RowKernels<float>& chosen =
      choose(portable::kFloatRows, avx2::kFloatRows, avx512::kFloatRows);
  return chosen;
}

template <>
const RowKernels<double>& row_kernels() {
  static const RowKernels<double>& chosen =
      choose(portable::kDoubleRows, avx2::kDoubleRows, avx512::kDoubleRows);
  return chosen;
}

}  // namespace dagpam::attention::cpu
