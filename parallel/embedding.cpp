#include "parallel/embedding.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dagpam::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct WideSumEmbedding : torch::autograd::Function<WideSumEmbedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& table,
                            const at::Tensor& ids) {
    context->save_for_backward({ids});
    context->saved_data["rows"] = table.size(0);
    return at::embedding(table, ids);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const at::Tensor ids = context->get_saved_variables()[0];
    const at::Tensor sums = at::embedding_dense_backward(
        grads[0].to(at::kFloat), ids, context->saved_data["rows"].toInt(), /*padding_idx=*/-1,
        /*scale_grad_by_freq=*/false);  // [V, C]
    return {sums.to(grads[0].scalar_type()), {}};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids) {
  return table.scalar_type() == at::kBFloat16 ? WideSumEmbedding::apply(table, ids)
                                              : at::embedding(table, ids);
}

}  // namespace dagpam::parallel
