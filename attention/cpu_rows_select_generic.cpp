// Row kernels on processors for which there is only the portable build.
#include "attention/cpu_rows.h"

namespace dagpam::attention::cpu {

template <>
const RowKernels<float>& row_kernels() {
  return portable::kFloatRows;
}

template <>
const RowKernels<double>& row_kernels() {
  return portable::kDoubleRows;
}

}  // namespace dagpam::attention::cpu
