// NON: no normalisation (Richter and Wattenhofer 2020, "Normalized Attention Without Probability
// Cage", arXiv 2005.09561): A = Q K^T / sqrt D on the visible keys. Divided by the square root of
// their number, so that answers keep their size along the row: that is ours.
#include <ATen/TensorOperators.h>

#include "attention/variant.h"
#include "attention/weighting.h"

namespace dagpam::attention {
namespace {

at::Tensor weights(const Scores& scores) { return scores.scaled() / scores.visible_count().sqrt(); }

class Non : public Attention {
 public:
  explicit Non(const Options& options) : options_(options) {}

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

std::unique_ptr<Attention> make_non(const Options& options) {
  return std::make_unique<Non>(options);
}

}  // namespace dagpam::attention
