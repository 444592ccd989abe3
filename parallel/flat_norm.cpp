#include "parallel/flat_norm.h"

#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>

namespace dagpam::parallel {

at::Tensor flat_norm(const at::Tensor& flat) {
  constexpr int64_t kRow = 1024;
  const int64_t n = flat.numel(), whole = n / kRow * kRow;
  if (whole == 0) return at::linalg_vector_norm(flat);
  at::Tensor rows = at::linalg_vector_norm(flat.narrow(0, 0, whole).view({-1, kRow}), 2, 1);
  if (whole < n) {
    const at::Tensor rest = at::linalg_vector_norm(flat.narrow(0, whole, n - whole));
    rows = at::cat({rows, rest.view({1})});
  }
  // Of more than some millions of rows: the same again.
  return rows.numel() <= kRow ? at::linalg_vector_norm(rows) : flat_norm(rows);
}

std::vector<at::Tensor> flat_norms(const std::vector<at::Tensor>& flat) {
  const auto on_gpu = [](const at::Tensor& one) { return one.is_cuda() && one.numel() > 0; };
  if (!flat.empty() && std::all_of(flat.begin(), flat.end(), on_gpu)) {
    return at::_foreach_norm(flat, 2);
  }
  std::vector<at::Tensor> norms;
  for (const at::Tensor& one : flat) norms.push_back(flat_norm(one));
  return norms;
}

}  // namespace dagpam::parallel
