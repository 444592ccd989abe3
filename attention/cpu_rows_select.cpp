// The choice of row kernels.
#include "attention/cpu_rows.h"
#include "parallel/instruction_set.h"

namespace dagpam::attention::cpu {

template <>
const RowKernels<float>& row_kernels() {
  return parallel::kernels_for(parallel::instruction_set(), portable::kFloatRows, avx2::kFloatRows,
                               avx512::kFloatRows);
}

template <>
const RowKernels<double>& row_kernels() {
  return parallel::kernels_for(parallel::instruction_set(), portable::kDoubleRows,
                               avx2::kDoubleRows, avx512::kDoubleRows);
}

}  // namespace dagpam::attention::cpu
