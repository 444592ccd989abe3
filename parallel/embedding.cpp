#include "parallel/embedding.h"

#include <ATen/Parallel.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "parallel/reached_hook.h"

namespace dagpam::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// sum[ids[i], :] += rows[i, :], in the order of i. Threads share out the columns, so that no two
// meet and the order does not depend on their number.
void add_rows(const at::Tensor& sum, const at::Tensor& ids, const at::Tensor& rows) {
  constexpr int64_t kColumns = 64;  // at least, a thread
  const int64_t width = sum.size(1), count = ids.numel();
  auto* const out = sum.mutable_data_ptr<float>();
  const auto* const in = rows.const_data_ptr<float>();
  const auto* const id = ids.const_data_ptr<int64_t>();
  at::parallel_for(0, width, std::max(kColumns, 16384 / std::max<int64_t>(1, count)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = 0; i < count; ++i) {
                       float* const to = out + id[i] * width;
                       const float* const from = in + i * width;
                       for (int64_t c = begin; c < end; ++c) to[c] += from[c];
                     }
                   });
}

struct SummedEmbedding : torch::autograd::Function<SummedEmbedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& table,
                            const at::Tensor& ids) {
    context->save_for_backward({table, ids});
    return at::embedding(table, ids);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &table = saved[0], &ids = saved[1];
    GradientSum* const place = gradient_sum(table);
    if (place != nullptr && table.is_cpu() && table.scalar_type() == at::kFloat) {
      if (!place->begun) place->sum.zero_();
      add_rows(place->sum, ids.contiguous(), grads[0].contiguous());
      place->begun = true;
      return {{}, {}};
    }
    const bool narrow = table.scalar_type() == at::kBFloat16;
    const at::Tensor sums = at::embedding_dense_backward(
        narrow ? grads[0].to(at::kFloat) : grads[0], ids, table.size(0), /*padding_idx=*/-1,
        /*scale_grad_by_freq=*/false);  // [V, C]
    return {sums.to(table.scalar_type()), {}};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids) {
  return SummedEmbedding::apply(table, ids);
}

}  // namespace dagpam::parallel
