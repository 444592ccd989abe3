// DIFF2: the second version of the Differential Transformer (2026): two maps a head over the same
// keys and values, each with queries of its own, the second one behind a gate of token and head:
//   Y = (softmax(Q1 K^T / sqrt D) - sigmoid(gate) softmax(Q2 K^T / sqrt D)) V.
// The row sum is 1 - sigmoid(gate). Dropout falls on each map's weights apart, as on those of two
// heads.
//
// Legend: B batch, N queries, H heads, D head width.
#include <ATen/TensorOperators.h>
#include <ATen/ops/sigmoid.h>

#include "attention/variant.h"

namespace dagpam::attention {
namespace {

class Diff2 : public Attention {
 public:
  explicit Diff2(const Options& options) : options_(options) {}

  at::Tensor forward(const Inputs& in) override {
    Inputs maps = in;
    WeightDropout dropout;
    if (in.dropout != nullptr) {
      dropout = *in.dropout;
      dropout.head_offset *= 2;
      maps.dropout = &dropout;
    }
    const Call call(options_, maps);
    call.check_gate(in.gate);
    const at::Tensor y =
        call.attend(call.rotated(maps.q), {}, {})
            .view({in.q.size(0), in.q.size(1), options_.heads, 2, options_.head_width});
    const at::Tensor share = at::sigmoid(in.gate).unsqueeze(3);  // [B, N, H, 1]
    if (in.seen != nullptr) {
      SeenWeights& seen = *in.seen;
      const at::Tensor both = seen.weights.unflatten(1, {options_.heads, 2});  // [B, H, 2, N, M]
      seen.plus = both.select(2, 0);
      seen.minus = both.select(2, 1);
      seen.weights = seen.plus - share.transpose(1, 2) * seen.minus;
    }
    return y.select(3, 0) - share * y.select(3, 1);
  }

 private:
  Options options_;
};

}  // namespace

std::unique_ptr<Attention> make_diff2(const Options& options) {
  return std::make_unique<Diff2>(options);
}

}  // namespace dagpam::attention
