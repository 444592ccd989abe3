#include "parallel/vocabulary_loss.h"

#include <ATen/ops/amax.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <vector>

namespace dagpam::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// [R], over the group; -inf nowhere, since every vocabulary has a symbol somewhere.
at::Tensor largest_logit(const at::Tensor& logits, Communicator& tp) {
  at::Tensor largest =
      logits.size(1) > 0
          ? at::amax(logits, 1)
          : at::full({logits.size(0)}, -std::numeric_limits<double>::infinity(), logits.options());
  tp.all_reduce(largest, ReduceOp::kMax);
  return largest;
}

struct VocabularyLoss : torch::autograd::Function<VocabularyLoss> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits,
                            const at::Tensor& targets, const VocabularyLossOptions& options,
                            Communicator* tp) {
    const int64_t rows = logits.size(1);
    const bool smooth = options.smoothing > 0;
    const at::Tensor shifted = at::sub(logits, largest_logit(logits, *tp).unsqueeze(1));  // [R, Vr]
    const at::Tensor counts = targets.ne(options.ignored);                                // [R]
    const at::Tensor own = targets.sub(options.first);                                    // [R]
    const at::Tensor here = own.ge(0).logical_and(own.lt(rows));                          // [R]
    const at::Tensor at_target =
        rows > 0 ? shifted.gather(1, own.masked_fill(here.logical_not(), 0).unsqueeze(1))
                       .squeeze(1)
                       .masked_fill(here.logical_not(), 0)
                 : at::zeros_like(targets, logits.options());  // [R]
    const at::Tensor exponentials = shifted.exp();             // [R, Vr]
    std::vector<at::Tensor> terms{exponentials.sum(1), at_target};
    if (smooth) terms.push_back(shifted.sum(1));
    at::Tensor sums = at::stack(terms);  // [2 or 3, R]
    tp->all_reduce(sums);
    at::Tensor loss = sums[0].log().sub(sums[1], 1 - options.smoothing);  // [R]
    if (smooth) loss = loss.sub(sums[2], options.smoothing / static_cast<double>(options.vocab));

    // What backward needs, with tokens that count nothing already at weight 0.
    const at::Tensor weight = counts.to(logits.scalar_type());  // [R]
    context->save_for_backward({exponentials.mul_(weight.div(sums[0]).unsqueeze(1)), own,
                                here.logical_and(counts), weight});
    context->saved_data["smoothing"] = options.smoothing;
    context->saved_data["vocab"] = options.vocab;
    return loss.mul(weight);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& probabilities = saved[0];  // [R, Vr]
    const double smoothing = context->saved_data["smoothing"].toDouble();
    const auto vocab = static_cast<double>(context->saved_data["vocab"].toInt());
    at::Tensor gradient = probabilities.clone();
    if (gradient.size(1) > 0) {
      const at::Tensor hit = saved[2].to(gradient.scalar_type()).mul(smoothing - 1);  // [R]
      gradient.scatter_add_(1, saved[1].masked_fill(saved[2].logical_not(), 0).unsqueeze(1),
                            hit.unsqueeze(1));
      if (smoothing > 0) gradient.sub_(saved[3].unsqueeze(1), smoothing / vocab);
    }
    return {gradient.mul_(grads[0].unsqueeze(1)), {}, {}, {}};
  }
};

}  // namespace

at::Tensor vocabulary_cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                                    const VocabularyLossOptions& options, Communicator& tp) {
  TORCH_CHECK(logits.dim() == 2 && targets.dim() == 1 && targets.size(0) == logits.size(0),
              "vocabulary_cross_entropy takes [R, Vr] and [R], not ", logits.sizes(), " and ",
              targets.sizes());
  TORCH_CHECK(options.smoothing >= 0 && options.smoothing < 1, "label smoothing ",
              options.smoothing, " is outside [0, 1)");
  if (tp.size() == 1) {
    return at::cross_entropy_loss(logits, targets, /*weight=*/{}, at::Reduction::None,
                                  options.ignored, options.smoothing);
  }
  return VocabularyLoss::apply(logits, targets, options, &tp);
}

}  // namespace dagpam::parallel
