#include "attention/variant.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "attention/composed.h"
#include "attention/fast.h"
#include "attention/fused.h"
#include "attention/notes.h"
#include "attention/reference.h"

namespace dagpam::attention {
namespace {

void check_tensors(const Options& options, const at::Tensor& q, const at::Tensor& k,
                   const at::Tensor& v) {
  TORCH_CHECK(q.dim() == 4 && q.size(2) == query_heads(options) && q.size(3) == options.head_width,
              "q is ", q.sizes(), ", expected [B, N, ", query_heads(options), ", ",
              options.head_width, "]");
  TORCH_CHECK(k.dim() == 4 && k.size(0) == q.size(0) && k.size(2) == options.kv_heads &&
                  k.size(3) == options.head_width,
              "k is ", k.sizes(), ", expected [", q.size(0), ", M, ", options.kv_heads, ", ",
              options.head_width, "]");
  TORCH_CHECK(v.sizes() == k.sizes(), "v is ", v.sizes(), ", expected ", k.sizes(), " as k");
  TORCH_CHECK(k.options().type_equal(q.options()) && v.options().type_equal(q.options()) &&
                  k.device() == q.device() && v.device() == q.device(),
              "q, k and v are ", q.toString(), ", ", k.toString(), " and ", v.toString(),
              ", expected one type and device");
}

void check_rotary(const Rotary& rotary, const at::Tensor& q, const at::Tensor& k) {
  const int64_t batch = q.size(0), queries = q.size(1), half = q.size(3) / 2;
  TORCH_CHECK(q.size(3) % 2 == 0, "rotary positions need an even head width, got ", q.size(3));
  TORCH_CHECK(k.size(1) == queries, "rotary positions need as many new keys as queries, got ",
              k.size(1), " and ", queries);
  for (const at::Tensor* table : {&rotary.cos, &rotary.sin}) {
    const at::IntArrayRef sizes = table->sizes();
    const std::vector<int64_t> shared{queries, half}, own{batch, queries, half};
    TORCH_CHECK(sizes.equals(shared) || sizes.equals(own), "a rotary table is ", sizes,
                ", expected ", shared, " or ", own);
  }
}

void check_lambdas(const Lambdas& lambdas, int64_t heads) {
  for (const at::Tensor* lambda : {&lambdas.plus, &lambdas.minus}) {
    TORCH_CHECK(lambda->dim() == 1 && (lambda->size(0) == 1 || lambda->size(0) == heads),
                "a lambda is ", lambda->sizes(), ", expected [1] or [", heads, "]");
  }
}

void check_dropout(const WeightDropout& dropout, int64_t batch) {
  TORCH_CHECK(dropout.p >= 0 && dropout.p < 1, "dropout.p is ", dropout.p, ", expected [0, 1)");
  TORCH_CHECK(dropout.samples.defined() && dropout.samples.scalar_type() == at::kLong &&
                  dropout.samples.dim() == 1 && dropout.samples.size(0) == batch,
              "dropout.samples must be int64 [", batch, "]");
}

// Whether the fused kernels serve the call. Where they were asked for and do not, says why.
bool takes_fused(const Options& options, const Call& call) {
  if (call.reference || options.gpu == GpuPath::kComposed) return false;
  const bool asked = options.gpu == GpuPath::kFused;
  if (!asked && !fused::measured_faster(options.head_width, call.q.size(1), call.k.size(1))) {
    return false;
  }
  std::string reason;
  if (options.kind != Kind::kDagpam) {
    reason = "the fused kernel is daGPAM's";
  } else if (call.dropout != nullptr) {
    reason = "the fused kernel has no dropout on weights";
  } else if (call.cache != nullptr) {
    reason = "the fused kernel is not for generation";
  } else {
    reason = fused::refusal(call.q, call.k);
  }
  if (reason.empty()) {
    note("the fused kernel serves heads of width " + std::to_string(options.head_width));
    return true;
  }
  if (asked) {
    const char* const other = call.fast ? "the CPU kernels serve"
                              : call.composed && call.dropout == nullptr
                                  ? "LibTorch's attention serves"
                                  : "the plain path serves";
    note("path FUSED is not taken: " + reason + "; " + other);
  }
  return false;
}

}  // namespace

Call::Call(const Options& options, const Inputs& in)
    : q(in.q),
      k(in.k),
      v(in.v),
      visibility(in.visibility),
      rotary(in.rotary),
      dropout(in.dropout != nullptr && in.dropout->p == 0 ? nullptr : in.dropout),
      cache(in.cache),
      seen(in.seen) {
  check_tensors(options, q, k, v);
  if (rotary != nullptr) check_rotary(*rotary, q, k);
  if (dropout != nullptr) check_dropout(*dropout, q.size(0));
  TORCH_CHECK(dropout == nullptr || cache == nullptr,
              "dropout and a key-value cache exclude each other");
  TORCH_CHECK(seen == nullptr || (dropout == nullptr && !c10::GradMode::is_enabled()),
              "weights are looked at without gradients and without dropout");
  reference = options.reference || seen != nullptr;
  const bool softmax = options.kind == Kind::kSoftmax || options.kind == Kind::kSoftmaxWide ||
                       options.kind == Kind::kDagpam || options.kind == Kind::kDiff ||
                       options.kind == Kind::kDiff2;
  fast = softmax && !reference && q.device().is_cpu() &&
         (q.scalar_type() == at::kFloat || q.scalar_type() == at::kDouble);
  composed = softmax && !reference && !q.device().is_cpu();
  fused = takes_fused(options, *this);
}

at::Tensor Call::map_queries(const at::Tensor& x, const at::Tensor& w, bool residual) const {
  const at::Tensor same = w.to(x.scalar_type());
  if (fast) return fast::map_queries(x, same, residual);
  if (composed) return composed::map_queries(x, same, residual);
  const at::Tensor mapped = reference::map_queries(x, same);
  return residual ? x.add(mapped) : mapped;
}

at::Tensor Call::rotated(const at::Tensor& x) const {
  if (rotary == nullptr) return x;
  return fast ? fast::rotate(x, *rotary) : reference::rotate(x, *rotary);
}

at::Tensor Call::attend_mapped(const at::Tensor& w, const Lambdas& lambdas) const {
  if (fused && rotary == nullptr) {
    check_lambdas(lambdas, q.size(2));
    return fused::attend({q, at::Tensor(), k, v, lambdas.plus, lambdas.minus, given_bounds()},
                         visibility.causal, w.to(q.scalar_type()));
  }
  const at::Tensor q_neg = map_queries(q, w, /*residual=*/false);
  return attend(rotated(q), rotated(q_neg), lambdas);
}

// Of a sight that the fused kernels do not know by themselves; else undefined.
at::Tensor Call::given_bounds() const {
  if (!visibility.begin.defined() && !visibility.end.defined()) return {};
  return device_key_bounds(visibility, q.size(0), q.size(1), k.size(1), q.device());
}

at::Tensor Call::bounds(int64_t keys) const {
  return q.is_cpu() ? key_bounds(visibility, q.size(0), q.size(1), keys)
                    : device_key_bounds(visibility, q.size(0), q.size(1), keys, q.device());
}

// One map, its new keys at their positions and behind the cached ones.
Maps Call::placed(const at::Tensor& q_rotated) const {
  Maps maps;
  maps.q = q_rotated;
  maps.k = rotated(k);
  maps.v = v;
  if (cache != nullptr) {
    append(*cache, maps.k, v);
    maps.k = cache->k.narrow(1, 0, cache->length);
    maps.v = cache->v.narrow(1, 0, cache->length);
  }
  return maps;
}

at::Tensor Call::attend_weighted(const std::vector<at::Tensor>& own,
                                 const Weighting& weighting) const {
  Maps maps = placed(rotated(q));
  maps.bounds = bounds(maps.k.size(1));
  return attention::attend_weighted(maps, dropout, own, weighting, {reference, seen});
}

void Call::check_gate(const at::Tensor& gate) const {
  const std::vector<int64_t> expected{q.size(0), q.size(1), q.size(2) / 2};
  TORCH_CHECK(gate.defined() && gate.sizes().equals(expected) &&
                  gate.scalar_type() == q.scalar_type() && gate.device() == q.device(),
              "the gate is ", gate.defined() ? gate.toString() : "missing", " ",
              gate.defined() ? gate.sizes() : at::IntArrayRef(), ", expected ", expected,
              " of the queries' type and device");
}

at::Tensor Call::attend(const at::Tensor& q_rotated, const at::Tensor& q_neg_rotated,
                        const Lambdas& lambdas) const {
  Maps maps = placed(q_rotated);
  maps.q_neg = q_neg_rotated;
  if (q_neg_rotated.defined()) {
    check_lambdas(lambdas, q.size(2));
    if (fused) {
      maps.plus = lambdas.plus;
      maps.minus = lambdas.minus;
      maps.bounds = given_bounds();
      return fused::attend(maps, visibility.causal, at::Tensor());
    }
    // The composed path combines in float32.
    const bool wide = composed && dropout == nullptr && q.scalar_type() != at::kDouble;
    const at::TensorOptions options = wide ? q.options().dtype(at::kFloat) : q.options();
    maps.plus = lambdas.plus.to(options);
    maps.minus = lambdas.minus.to(options);
  }
  return answer(std::move(maps));
}

at::Tensor Call::answer(Maps maps) const {
  const int64_t batch = q.size(0), queries = q.size(1), keys = maps.k.size(1);
  if (composed && dropout == nullptr) {
    const composed::Sight sight = composed::sight_of(visibility, queries, keys);
    if (sight == composed::Sight::kBounds) {
      maps.bounds = device_key_bounds(visibility, batch, queries, keys, q.device());
    }
    return composed::attend(maps, sight);
  }
  maps.bounds = bounds(keys);
  if (fast) return fast::attend(maps, dropout);
  const reference::Answer plain = reference::attend(maps, dropout);
  if (seen != nullptr) *seen = {plain.weights, plain.plus, plain.minus, plain.visible};
  return plain.y.contiguous();
}

void append(KeyValueCache& cache, const at::Tensor& k, const at::Tensor& v) {
  TORCH_CHECK(!c10::GradMode::is_enabled() || !(k.requires_grad() || v.requires_grad()),
              "a key-value cache is for generation: run it without gradients");
  const int64_t needed = cache.length + k.size(1);
  const int64_t room = cache.k.defined() ? cache.k.size(1) : 0;
  if (cache.k.defined()) {
    TORCH_CHECK(cache.k.size(0) == k.size(0) && cache.k.size(2) == k.size(2) &&
                    cache.k.size(3) == k.size(3),
                "the cache holds keys ", cache.k.sizes(), ", the new ones are ", k.sizes());
  }
  if (needed > room) {
    for (at::Tensor* held : {&cache.k, &cache.v}) {
      const at::Tensor wider =
          at::empty({k.size(0), std::max(needed, 2 * room), k.size(2), k.size(3)},
                    k.options().requires_grad(false));
      if (cache.length > 0) {
        wider.narrow(1, 0, cache.length).copy_(held->narrow(1, 0, cache.length));
      }
      *held = wider;
    }
  }
  cache.k.narrow(1, cache.length, k.size(1)).copy_(k);
  cache.v.narrow(1, cache.length, v.size(1)).copy_(v);
  cache.length = needed;
}

parallel::ParameterPtr declare_query_map(const Options& options, const std::string& prefix,
                                         parallel::ParameterList& parameters) {
  const double deviation = 1 / std::sqrt(static_cast<double>(options.head_width));
  const int64_t heads = options.heads * parameters.tp_size();
  return parameters.add(prefix + "w_neg", {heads, options.head_width, options.head_width},
                        parallel::Init::normal(deviation), {.cut_dim = 0});
}

namespace {

class Weighted : public Attention {
 public:
  Weighted(const Options& options, std::vector<parallel::ParameterPtr> own, Weighting weighting)
      : options_(options), own_(std::move(own)), weighting_(std::move(weighting)) {}

  at::Tensor forward(const Inputs& in) override {
    const Call call(options_, in);
    std::vector<at::Tensor> own;
    for (const auto& parameter : own_) own.push_back(parameter->ready());
    return call.attend_weighted(own, weighting_);
  }

 private:
  Options options_;
  std::vector<parallel::ParameterPtr> own_;
  Weighting weighting_;
};

}  // namespace

std::unique_ptr<Attention> make_weighted(const Options& options,
                                         std::vector<parallel::ParameterPtr> own,
                                         Weighting weighting) {
  return std::make_unique<Weighted>(options, std::move(own), std::move(weighting));
}

}  // namespace dagpam::attention
