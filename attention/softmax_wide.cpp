// SOFTMAX_WIDE: softmax attention with as many extra parameters as daGPAM spends, the
// parameter-matched control: Q <- Q + ReLU(Q) W_neg, one D x D matrix a head.
#include "attention/variant.h"

namespace dagpam::attention {
namespace {

class SoftmaxWide : public Attention {
 public:
  SoftmaxWide(const Options& options, parallel::ParameterPtr w_neg)
      : options_(options), w_neg_(std::move(w_neg)) {}

  at::Tensor forward(const Inputs& in) override {
    const Call call(options_, in);
    return call.attend(call.rotated(call.map_queries(in.q, w_neg_->ready(), /*residual=*/true)), {},
                       {});
  }

 private:
  Options options_;
  parallel::ParameterPtr w_neg_;  // [H, D, D]
};

}  // namespace

std::unique_ptr<Attention> make_softmax_wide(const Options& options, const std::string& prefix,
                                             parallel::ParameterList& parameters) {
  return std::make_unique<SoftmaxWide>(options, declare_query_map(options, prefix, parameters));
}

}  // namespace dagpam::attention
