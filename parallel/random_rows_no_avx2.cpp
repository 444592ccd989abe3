// In place of random_rows_avx2.cpp on processors of another family.
#include "parallel/random_rows.h"

namespace dagpam::parallel::detail {

const RowKernels* avx2_row_kernels() { return nullptr; }

}  // namespace dagpam::parallel::detail
