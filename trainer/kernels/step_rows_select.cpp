// The choice of row kernels.
#include "parallel/instruction_set.h"
#include "trainer/kernels/step_rows.h"

namespace dagpam::trainer::kernels {

template <>
const StepRows<float>& step_rows() {
  return parallel::kernels_for(parallel::instruction_set(), portable::kFloatRows, avx2::kFloatRows,
                               avx512::kFloatRows);
}

template <>
const StepRows<Bf16>& step_rows() {
  return parallel::kernels_for(parallel::instruction_set(), portable::kBf16Rows, avx2::kBf16Rows,
                               avx512::kBf16Rows);
}

}  // namespace dagpam::trainer::kernels
