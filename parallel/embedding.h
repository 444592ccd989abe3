// parallel/embedding.h: rows of a table, with a gradient that is summed in float32.
#pragma once

#include <ATen/core/Tensor.h>

namespace dagpam::parallel {

// table [V, C], ids [...] int64 in [0, V) -> [..., C]. LibTorch sums the gradient of a bfloat16
// table in bfloat16, where a frequent id's sum stops growing; here each row is summed in float32
// and rounded once. Where the table's gradient is summed in one place (reached_hook.h), backward
// on the CPU adds the rows of `ids` there and touches no others.
at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids);

}  // namespace dagpam::parallel
