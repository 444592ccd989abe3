// SOFTMAX: Y = softmax(Q K^T / sqrt D) V (Vaswani et al. 2017).
#include "attention/variant.h"

namespace dagpam::attention {
namespace {

class Softmax : public Attention {
 public:
  explicit Softmax(const Options& options) : options_(options) {}

  at::Tensor forward(const Inputs& in) override {
    const Call call(options_, in);
    return call.attend(call.rotated(in.q), {}, {});
  }

 private:
  Options options_;
};

}  // namespace

std::unique_ptr<Attention> make_softmax(const Options& options) {
  return std::make_unique<Softmax>(options);
}

}  // namespace dagpam::attention
