// SOFTMAX: Y = softmax(Q K^T / sqrt D) V (Vaswani et al. 2017).
#include "attention/variant.h"

namespace dagpam::attention {
namespace {

class Softmax : public Attention {
 public:
  explicit Softmax(const Options& options) : options_(options) {}

  at::Tensor forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const Visibility& visibility, const Rotary* rotary,
                     const WeightDropout* dropout, KeyValueCache* cache, const Lambdas*) override {
    const Call call(options_, q, k, v, visibility, rotary, dropout, cache);
    return call.attend(call.rotated(q), {}, {});
  }

 private:
  Options options_;
};

}  // namespace

std::unique_ptr<Attention> make_softmax(const Options& options) {
  return std::make_unique<Softmax>(options);
}

}  // namespace dagpam::attention
