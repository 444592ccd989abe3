#include "attention/fused.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "attention/hopper/launch.h"

namespace dagpam::attention::fused {
namespace {

using hopper::kQueryTile;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kMeasuredFrom = 512;  // tokens, docs/kernel.md
constexpr int64_t kMostBlocks = 65535;  // of a launch, in its second and third dimension

bool on_16_bytes(const at::Tensor& x) {
  return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
}

// As the copy engine can read it: a unit stride in D, the rest on 16 bytes.
at::Tensor readable(const at::Tensor& x) {
  bool fits = x.stride(3) == 1 && on_16_bytes(x);
  for (int64_t d = 0; d < 3; ++d) fits = fits && x.stride(d) % 8 == 0 && x.stride(d) > 0;
  return fits ? x : x.clone(at::MemoryFormat::Contiguous);
}

at::Tensor dense(const at::Tensor& x) {
  return x.is_contiguous() && on_16_bytes(x) ? x : x.clone(at::MemoryFormat::Contiguous);
}

hopper::Operand operand(const at::Tensor& x) {
  if (!x.defined()) return {};
  return {x.const_data_ptr(), x.size(0),   x.size(1),   x.size(2),
          x.size(3),          x.stride(0), x.stride(1), x.stride(2)};
}

// Tensors by pointers; they must outlive the launch.
struct Inputs {
  at::Tensor q, q_neg, k, v, plus, minus, bounds, w_neg, ranges;
  bool causal = true;

  int64_t tiles() const { return hopper::tiles(q.size(1), kQueryTile); }

  hopper::Problem problem() const {
    hopper::Problem p;
    p.type = q.scalar_type() == at::kBFloat16 ? hopper::Type::kBf16 : hopper::Type::kFp16;
    p.batch = q.size(0);
    p.queries = q.size(1);
    p.heads = q.size(2);
    p.width = q.size(3);
    p.keys = k.size(1);
    p.kv_heads = k.size(2);
    p.q = operand(q);
    p.k = operand(k);
    p.v = operand(v);
    p.q_neg = operand(q_neg);
    p.w_neg = w_neg.defined() ? w_neg.const_data_ptr() : nullptr;
    p.plus = plus.const_data_ptr<float>();
    p.minus = minus.const_data_ptr<float>();
    p.lambda_of_head = plus.numel() > 1;
    p.causal = causal;
    if (bounds.defined()) {
      p.bounds = bounds.const_data_ptr<int32_t>();
      p.bounds_of_batch = bounds.size(1) > 1;
      p.ranges = static_cast<hopper::TileRange*>(ranges.mutable_data_ptr());
    }
    const c10::impl::VirtualGuardImpl device(q.device().type());
    p.stream = device.getStream(q.device()).native_handle();
    return p;
  }
};

class Attend : public torch::autograd::Function<Attend> {
 public:
  // Autograd takes an absent tensor as an optional, not as an undefined one.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q,
                            const std::optional<at::Tensor>& q_neg, const at::Tensor& k,
                            const at::Tensor& v, const at::Tensor& plus, const at::Tensor& minus,
                            const std::optional<at::Tensor>& bounds,
                            const std::optional<at::Tensor>& w_neg, bool causal, bool keeps) {
    Inputs in{readable(q),
              q_neg ? readable(*q_neg) : at::Tensor(),
              readable(k),
              readable(v),
              plus,
              minus,
              bounds ? bounds->contiguous() : at::Tensor(),
              w_neg ? dense(*w_neg) : at::Tensor(),
              at::Tensor(),
              causal};
    const c10::DeviceGuard guard(q.device());
    if (in.bounds.defined()) {
      in.ranges = at::empty({in.bounds.size(1), in.tiles(), 4}, in.bounds.options());
    }
    const at::Tensor y = at::empty(q.sizes(), q.options());
    hopper::ForwardResult result;
    result.y = y.mutable_data_ptr();
    at::Tensor formed, o, lse2;
    if (keeps) {
      o = at::empty({2, q.size(0), q.size(1), q.size(2), q.size(3)}, q.options());
      lse2 = at::empty({2, q.size(0), q.size(2), in.tiles() * kQueryTile},
                       q.options().dtype(at::kFloat));
      result.o = o.mutable_data_ptr();
      result.lse2 = lse2.mutable_data_ptr<float>();
      if (!q_neg) {
        formed = at::empty(q.sizes(), q.options());
        result.q_neg = formed.mutable_data_ptr();
      }
    }
    hopper::forward(in.problem(), result);
    if (keeps) {
      ctx->save_for_backward({in.q, q_neg ? in.q_neg : formed, in.k, in.v, plus, minus, in.bounds,
                              in.w_neg, in.ranges, o, lse2});
      ctx->saved_data["causal"] = causal;
    }
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    TORCH_CHECK(!c10::GradMode::is_enabled(),
                "the fused attention path has first derivatives only: set Options::reference for "
                "others");
    const variable_list saved = ctx->get_saved_variables();
    const Inputs in{saved[0], at::Tensor(), saved[2], saved[3], saved[4],
                    saved[5], saved[6],     saved[7], saved[8], ctx->saved_data["causal"].toBool()};
    const c10::DeviceGuard guard(in.q.device());
    const int64_t batch = in.q.size(0), heads = in.q.size(2), width = in.q.size(3);
    const at::TensorOptions floats = in.q.options().dtype(at::kFloat);
    const at::TensorOptions words = in.q.options().dtype(at::kInt);
    const at::Tensor dy = dense(grads[0]);
    const at::Tensor q_neg = dense(saved[1]), o = saved[9], lse2 = saved[10];
    const at::Tensor rows =
        at::empty({batch, heads, in.tiles(), hopper::kRowWords, kQueryTile}, words);
    const at::Tensor sums = at::zeros({2, batch, heads, in.tiles(), kQueryTile, width}, floats);
    at::Tensor turns;
    if (at::globalContext().deterministicAlgorithms()) {
      turns = at::zeros({batch, heads, in.tiles(), 2}, words);
    }
    const bool mapped = in.w_neg.defined();
    const at::Tensor dq = at::empty(in.q.sizes(), in.q.options());
    at::Tensor dq_neg, dw_runs;
    if (mapped) {
      dw_runs = at::empty({batch * hopper::finish_runs(in.q.size(1)), heads, width, width}, floats);
    } else {
      dq_neg = at::empty_like(dq);
    }
    const at::Tensor dk = at::empty(in.k.sizes(), in.k.options()), dv = at::empty_like(dk);
    hopper::BackwardBuffers buffers;
    buffers.dy = dy.const_data_ptr();
    buffers.q_neg = q_neg.const_data_ptr();
    buffers.o = o.const_data_ptr();
    buffers.lse2 = lse2.const_data_ptr<float>();
    buffers.rows = static_cast<uint32_t*>(rows.mutable_data_ptr());
    buffers.dq_sums = sums.mutable_data_ptr<float>();
    buffers.turns = turns.defined() ? turns.mutable_data_ptr<int32_t>() : nullptr;
    buffers.dq = dq.mutable_data_ptr();
    buffers.dq_neg = mapped ? nullptr : dq_neg.mutable_data_ptr();
    buffers.dw_runs = mapped ? dw_runs.mutable_data_ptr<float>() : nullptr;
    buffers.dk = dk.mutable_data_ptr();
    buffers.dv = dv.mutable_data_ptr();
    hopper::backward(in.problem(), buffers);
    const auto [dplus, dminus] = lambda_gradients(rows, in.plus.numel() == 1);
    return {dq,           dq_neg,      dk,           dv,
            dplus,        dminus,      at::Tensor(), mapped ? dw_runs.sum(0) : at::Tensor(),
            at::Tensor(), at::Tensor()};
  }

 private:
  // dl+ = sum d+, dl- = -sum d-, by head.
  static std::pair<at::Tensor, at::Tensor> lambda_gradients(const at::Tensor& rows, bool one) {
    const at::Tensor dots = rows.view(at::kFloat)
                                .narrow(3, hopper::kDotPlus, 2)
                                .sum(at::IntArrayRef({0, 2, 4}));  // [H, 2]
    const at::Tensor sums = one ? dots.sum(0, /*keepdim=*/true) : dots;
    return {sums.select(1, 0), sums.select(1, 1).neg()};
  }
};

}  // namespace

bool measured_faster(int64_t width, int64_t queries, int64_t keys) {
  return (width == 64 || width == 128) && queries >= kMeasuredFrom && keys >= kMeasuredFrom;
}

std::string refusal(const at::Tensor& q, const at::Tensor& k) {
  if (!hopper::built()) return "this program was built without CUDA";
  if (!q.is_cuda()) return "the fused kernel is for GPUs";
  if (q.scalar_type() != at::kBFloat16 && q.scalar_type() != at::kHalf) {
    return std::string("the fused kernel takes bfloat16 and float16, not ") +
           toString(q.scalar_type());
  }
  if (q.size(3) != 64 && q.size(3) != 128) {
    return "the fused kernel has head widths 64 and 128, not " + std::to_string(q.size(3));
  }
  if (q.numel() == 0 || k.numel() == 0) return "the fused kernel takes no empty tensors";
  if (q.size(0) > kMostBlocks || q.size(2) > kMostBlocks ||
      hopper::tiles(q.size(1), kQueryTile) > kMostBlocks) {
    return "the fused kernel takes at most 65535 sequences, heads and tiles of 64 queries";
  }
  const int architecture = hopper::architecture(q.device().index());
  if (architecture != 90) {
    return "the fused kernel is for compute capability 9.0, this GPU has " +
           std::to_string(architecture / 10) + "." + std::to_string(architecture % 10);
  }
  return "";
}

at::Tensor attend(const Maps& maps, bool causal, const at::Tensor& w_neg) {
  const std::string reason = refusal(maps.q, maps.k);
  TORCH_CHECK(reason.empty(), reason);
  TORCH_CHECK(maps.q_neg.defined() != w_neg.defined(), "either q_neg or w_neg is given");
  const auto given = [](const at::Tensor& x) {
    return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
  };
  bool keeps = false;
  for (const at::Tensor* x :
       {&maps.q, &maps.q_neg, &maps.k, &maps.v, &maps.plus, &maps.minus, &w_neg}) {
    keeps = keeps || (x->defined() && x->requires_grad());
  }
  return Attend::apply(maps.q, given(maps.q_neg), maps.k, maps.v,
                       maps.plus.to(at::kFloat).contiguous(),
                       maps.minus.to(at::kFloat).contiguous(), given(maps.bounds), given(w_neg),
                       causal, keeps && c10::GradMode::is_enabled());
}

}  // namespace dagpam::attention::fused
