#include "trainer/model/token_losses.h"

#include "parallel/vocabulary_loss.h"

namespace dagpam::trainer {

at::Tensor token_losses(const at::Tensor& hidden, const at::Tensor& targets, int64_t first,
                        double smoothing, const parallel::VocabularyTable& output,
                        parallel::Communicator& tp) {
  const int64_t batch = targets.size(0), scored = targets.size(1) - first;
  const at::Tensor scores = output.logits(hidden.narrow(1, first, scored));  // [B, scored, Vr]
  parallel::VocabularyLossOptions options;
  options.vocab = output.vocab();
  options.first = output.first();
  options.smoothing = smoothing;
  // Nobody else reads these logits: backward makes their gradient where they lie.
  return parallel::fused_vocabulary_cross_entropy(
             scores.flatten(0, 1), targets.narrow(1, first, scored).reshape({-1}), options, tp)
      .view({batch, scored});
}

}  // namespace dagpam::trainer
