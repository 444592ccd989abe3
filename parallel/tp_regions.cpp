#include "parallel/tp_regions.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace dagpam::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Communicator& group_of(const AutogradContext* context) {
  return *reinterpret_cast<Communicator*>(context->saved_data.at("tp").toInt());
}

void keep_group(AutogradContext* context, Communicator* tp) {
  context->saved_data["tp"] = static_cast<int64_t>(reinterpret_cast<intptr_t>(tp));
}

// The type in which numbers of `type` are summed over ranks.
at::ScalarType sum_type(at::ScalarType type) { return type == at::kBFloat16 ? at::kFloat : type; }

bool sums_in_place(const at::Tensor& x) {
  return x.is_contiguous() && sum_type(x.scalar_type()) == x.scalar_type();
}

at::Tensor all_reduced(const at::Tensor& x, Communicator& tp) {
  at::Tensor sum = x.to(x.options().dtype(sum_type(x.scalar_type())), /*non_blocking=*/false,
                        /*copy=*/true, at::MemoryFormat::Contiguous);
  tp.all_reduce(sum);
  return sum.to(x.scalar_type());
}

// In x's own memory where nobody else can see it.
at::Tensor all_reduced_gradient(const at::Tensor& x, Communicator& tp) {
  const bool ours = x.use_count() == 1 && x.storage().use_count() == 1;
  if (!ours || !sums_in_place(x)) return all_reduced(x, tp);
  at::Tensor sum = x;
  tp.all_reduce(sum);
  return sum;
}

// [B, T / P, C] -> [B, T, C]
at::Tensor gathered(const at::Tensor& x, Communicator& tp) {
  const int64_t batch = x.size(0), tokens = x.size(1), width = x.size(2), ranks = tp.size();
  const at::Tensor parts = at::empty({ranks * batch, tokens, width}, x.options());
  at::Tensor out = parts;
  tp.all_gather(out, x.contiguous());
  return parts.view({ranks, batch, tokens, width})
      .transpose(0, 1)  // [B, P, T / P, C]
      .reshape({batch, ranks * tokens, width});
}

// [B, T, C] -> [B, T / P, C]
at::Tensor scattered(const at::Tensor& x, Communicator& tp) {
  const int64_t batch = x.size(0), width = x.size(2), ranks = tp.size(), tokens = x.size(1) / ranks;
  const at::Tensor parts = x.reshape({batch, ranks, tokens, width})
                               .transpose(0, 1)  // [P, B, T / P, C]
                               .reshape({ranks * batch, tokens, width})
                               .to(sum_type(x.scalar_type()));
  at::Tensor own = at::empty({batch, tokens, width}, parts.options());
  tp.reduce_scatter(own, parts);
  return own.to(x.scalar_type());
}

struct CopyToTp : torch::autograd::Function<CopyToTp> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Communicator* tp) {
    keep_group(context, tp);
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {all_reduced_gradient(grads[0], group_of(context)), {}};
  }
};

struct ReduceFromTp : torch::autograd::Function<ReduceFromTp> {
  static at::Tensor forward(AutogradContext* context, at::Tensor x, Communicator* tp) {
    if (!sums_in_place(x)) return all_reduced(x, *tp);
    context->mark_dirty({x});
    tp->all_reduce(x);
    return x;
  }
  static variable_list backward(AutogradContext*, const variable_list& grads) {
    return {grads[0], {}};
  }
};

struct GatherTokens : torch::autograd::Function<GatherTokens> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Communicator* tp) {
    keep_group(context, tp);
    return gathered(x, *tp);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {scattered(grads[0], group_of(context)), {}};
  }
};

struct ReduceScatterTokens : torch::autograd::Function<ReduceScatterTokens> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Communicator* tp) {
    keep_group(context, tp);
    return scattered(x, *tp);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {gathered(grads[0], group_of(context)), {}};
  }
};

void check_stream(const char* region, const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 3, region, " takes [B, T, C], not ", x.sizes());
}

}  // namespace

at::Tensor copy_to_tp(const at::Tensor& x, Communicator& tp) {
  return tp.size() == 1 ? x : CopyToTp::apply(x, &tp);
}

at::Tensor reduce_from_tp(at::Tensor x, Communicator& tp) {
  return tp.size() == 1 ? x : ReduceFromTp::apply(std::move(x), &tp);
}

at::Tensor gather_tokens(const at::Tensor& x, Communicator& tp) {
  check_stream("gather_tokens", x);
  return tp.size() == 1 ? x : GatherTokens::apply(x, &tp);
}

at::Tensor reduce_scatter_tokens(const at::Tensor& x, Communicator& tp) {
  check_stream("reduce_scatter_tokens", x);
  TORCH_CHECK(x.size(1) % tp.size() == 0, "reduce_scatter_tokens: ", x.size(1),
              " tokens do not divide over ", tp.size(), " ranks");
  return tp.size() == 1 ? x : ReduceScatterTokens::apply(x, &tp);
}

}  // namespace dagpam::parallel
