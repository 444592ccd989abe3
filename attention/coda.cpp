// CODA: compositional de-attention (Tay et al. 2019, "Compositional De-Attention Networks"):
//   A = tanh(Q K^T / sqrt D) 2 sigmoid(-|q - k|_1 / sqrt D),
// a sign and size between -1 and 1, gated by how alike query and key are. No softmax: row sums are
// free.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tanh.h>

#include <cmath>

#include "attention/variant.h"
#include "attention/weighting.h"

namespace dagpam::attention {
namespace {

at::Tensor weights(const Scores& scores) {
  const double scale = 1 / std::sqrt(static_cast<double>(scores.q.size(-1)));
  const at::Tensor distance = at::cdist(scores.q.contiguous(), scores.k.contiguous(), 1);
  return at::tanh(scores.scaled()) * at::sigmoid(distance * -scale) * 2;
}

class Coda : public Attention {
 public:
  explicit Coda(const Options& options) : options_(options) {}

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

std::unique_ptr<Attention> make_coda(const Options& options) {
  return std::make_unique<Coda>(options);
}

}  // namespace dagpam::attention
