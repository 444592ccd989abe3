// COG: Cog attention (Lv et al. 2024, "More Expressive Attention with Negative Weights", arXiv
// 2411.07176): A = sign(s) softmax(|s|), s = Q K^T / sqrt D, over the visible keys. Absolute
// weights of a row sum to 1. The sign has no gradient. A model's first and last layer stay SOFTMAX:
// whoever makes the layers sees to that.
#include <ATen/TensorOperators.h>

#include "attention/reference.h"
#include "attention/variant.h"
#include "attention/weighting.h"

namespace dagpam::attention {
namespace {

at::Tensor weights(const Scores& scores) {
  const at::Tensor s = scores.scaled();
  return s.detach().sign() * reference::visible_softmax(s.abs(), scores.visible);
}

class Cog : public Attention {
 public:
  explicit Cog(const Options& options) : options_(options) {}

  at::Tensor forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const Visibility& visibility, const Rotary* rotary,
                     const WeightDropout* dropout, KeyValueCache* cache, const Lambdas*) override {
    const Call call(options_, q, k, v, visibility, rotary, dropout, cache);
    return call.attend_weighted({}, weights);
  }

 private:
  Options options_;
};

}  // namespace

std::unique_ptr<Attention> make_cog(const Options& options) {
  return std::make_unique<Cog>(options);
}

}  // namespace dagpam::attention
