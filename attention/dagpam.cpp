// DAGPAM: "dual attention" with generalised probabilities (Heo and Choi 2024, arXiv 2410.15578),
// two softmaxes over the same keys and values:
//   P+ = softmax(Q K^T / sqrt D),   Q- = ReLU(Q) W_neg,   P- = softmax(Q- K^T / sqrt D),
//   Y = ((1 + l+) P+ - l- P-) V.
// The weights lie in [-l-, 1 + l+] and each row sums to 1 + l+ - l-. With rotary positions Q- is
// made of the un-rotated Q; then Q, Q- and K are rotated, so both score maps stay relative.
#include "attention/variant.h"

namespace dagpam::attention {
namespace {

class Dagpam : public Attention {
 public:
  Dagpam(const Options& options, parallel::ParameterPtr w_neg, std::function<Lambdas()> lambdas)
      : options_(options), w_neg_(std::move(w_neg)), lambdas_(std::move(lambdas)) {}

  at::Tensor forward(const Inputs& in) override {
    const Call call(options_, in);
    return call.attend_mapped(w_neg_->ready(), in.lambdas != nullptr ? *in.lambdas : lambdas());
  }

  Lambdas lambdas() const override { return lambdas_(); }

 private:
  Options options_;
  parallel::ParameterPtr w_neg_;  // [H, D, D]
  std::function<Lambdas()> lambdas_;
};

}  // namespace

std::unique_ptr<Attention> make_dagpam(const Options& options, const std::string& prefix,
                                       parallel::ParameterList& parameters,
                                       std::function<Lambdas()> lambdas) {
  TORCH_CHECK(lambdas != nullptr, prefix, ": a DAGPAM layer needs its lambdas");
  return std::make_unique<Dagpam>(options, declare_query_map(options, prefix, parameters),
                                  std::move(lambdas));
}

}  // namespace dagpam::attention
