#include "launch/bench/attention_contenders.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <memory>

#include "attention/composed.h"
#include "attention/cpu_rows.h"
#include "attention/fused.h"

namespace dagpam::launch {

namespace {

using attention::Kind;
using Inputs = AttentionInputs;

constexpr int64_t kPlainTokens = 512;  // the plain path keeps several matrices of T x T a head

// While it lives, scaled_dot_product_attention has these kernels to choose from.
class Pinned {
 public:
  explicit Pinned(Library library) {
    if (library != Library::kAny) set(library, false);
  }
  ~Pinned() { set(Library::kAny, true); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  static void set(Library only, bool all) {
    at::Context& context = at::globalContext();
    context.setSDPUseFlash(all || only == Library::kFlash);
    context.setSDPUseCuDNN(all || only == Library::kCudnn);
    context.setSDPUseMemEfficient(all || only == Library::kEfficient);
    context.setSDPUseMath(all);
  }
};

at::Tensor library_attention(const at::Tensor& q, const Inputs& in, bool causal) {
  return at::scaled_dot_product_attention(q.transpose(1, 2), in.k.transpose(1, 2),
                                          in.v.transpose(1, 2), {}, 0.0, causal)
      .transpose(1, 2);  // [B, T, H, D]
}

at::Tensor mapped(const Inputs& in) {  // ReLU(Q) W_neg
  return at::matmul(at::relu(in.q).transpose(1, 2), in.w_neg).transpose(1, 2);
}

at::Tensor two_calls(const Inputs& in, bool causal) {
  const at::Tensor plus = in.plus.view({-1, 1}), minus = in.minus.view({-1, 1});
  return (1 + plus) * library_attention(in.q, in, causal) -
         minus * library_attention(mapped(in), in, causal);
}

at::Tensor grouped_call(const Inputs& in, bool causal) {
  attention::Maps maps;
  maps.q = in.q;
  maps.q_neg = mapped(in);
  maps.k = in.k;
  maps.v = in.v;
  maps.plus = in.plus;
  maps.minus = in.minus;
  return attention::composed::attend(
      maps, causal ? attention::composed::Sight::kCausal : attention::composed::Sight::kAll);
}

bool has_query_map(Kind kind) { return kind == Kind::kDagpam || kind == Kind::kSoftmaxWide; }
bool has_kernels(Kind kind) {
  return has_query_map(kind) || kind == Kind::kSoftmax || kind == Kind::kDiff ||
         kind == Kind::kDiff2;
}

// Which road through the program's own layer.
struct Road {
  std::string name, kernel;
  bool reference = false;
  attention::GpuPath gpu = attention::GpuPath::kAuto;
};

// The program's own layer. It reads the map and the lambdas of whatever inputs it is given.
AttentionContender own(const AttentionShape& shape, const Road& road) {
  struct Layer {
    parallel::ParameterList parameters;
    attention::Lambdas lambdas;
    std::unique_ptr<attention::Attention> attention;
  };
  auto layer = std::make_shared<Layer>();
  attention::Options options;
  options.kind = shape.kind;
  options.heads = options.kv_heads = shape.heads;
  options.head_width = shape.width;
  options.reference = road.reference;
  options.gpu = road.gpu;
  layer->attention = attention::make_attention(options, "", layer->parameters,
                                               [held = layer.get()] { return held->lambdas; });
  layer->parameters.initialise(1);  // DIFF's own; the others are the inputs' below
  AttentionContender contender;
  contender.name = road.name;
  contender.kernel = road.kernel;
  contender.forward = [layer, shape](const Inputs& in) {
    layer->lambdas = {in.plus, in.minus};
    const std::pair<const char*, at::Tensor> own[] = {
        {"w_neg", in.w_neg}, {"gain", in.plus}, {"bias", in.minus}};
    for (const auto& [name, value] : own) {
      if (layer->parameters.find(name)) layer->parameters.find(name)->value = value;
    }
    attention::Visibility visibility;
    visibility.causal = shape.causal;
    const bool two = shape.kind == Kind::kDiff2;
    const at::Tensor q = two ? at::stack({in.q, in.q2}, 3).flatten(2, 3) : in.q;
    return layer->attention->forward({q, in.k, in.v, visibility, two ? in.gate : at::Tensor()});
  };
  return contender;
}

// On a GPU the fused kernels where they serve the shape, whatever the program itself would take.
Road own_road(const AttentionShape& shape, const std::string& name) {
  if (!has_kernels(shape.kind)) return {name, "LibTorch's operators"};
  if (shape.device.is_cpu()) {
    return {name, std::string("cpu ") + attention::cpu::row_kernels<float>().name + ", threads " +
                      std::to_string(at::get_num_threads())};
  }
  const at::Tensor q = at::empty({1, 1, shape.heads, shape.width},
                                 at::TensorOptions(shape.device).dtype(shape.type));
  if (shape.kind != Kind::kDagpam || !attention::fused::refusal(q, q).empty()) {
    return {name, "composed, the library's choice", false, attention::GpuPath::kComposed};
  }
  return {name, "hopper fused", false, attention::GpuPath::kFused};
}

at::Generator generator_of(at::Device device, uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(device).clone();
  generator.set_current_seed(seed);
  return generator;
}

// A peer made of LibTorch's attention: on a GPU one for each of its kernels.
void add_library(std::vector<AttentionContender>& to, const AttentionShape& shape,
                 const std::string& name, bool same,
                 const std::function<at::Tensor(const Inputs&)>& forward) {
  if (shape.device.is_cpu()) {
    to.push_back({name, "aten cpu flash", same, Library::kAny, forward});
    return;
  }
  to.push_back({name + ", flash", "aten flash", same, Library::kFlash, forward});
  to.push_back({name + ", cudnn", "cudnn", same, Library::kCudnn, forward});
  to.push_back({name + ", efficient", "aten efficient", same, Library::kEfficient, forward});
}

}  // namespace

AttentionInputs::AttentionInputs(const AttentionShape& shape, uint64_t seed) {
  // Drawn where they are used: a processor takes seconds for what a GPU reads in a millisecond.
  const at::Generator generator = generator_of(shape.device, seed);
  const at::TensorOptions floats = at::TensorOptions(shape.device).dtype(at::kFloat);
  const auto leaf = [&](const at::Tensor& x) { return x.to(shape.type).requires_grad_(); };
  const std::vector<int64_t> rows{shape.batch, shape.tokens, shape.heads, shape.width};
  const auto normal = [&](at::IntArrayRef sizes) { return at::randn(sizes, generator, floats); };
  q = leaf(normal(rows));
  k = leaf(normal(rows));
  v = leaf(normal(rows));
  w_neg = leaf(normal({shape.heads, shape.width, shape.width}) /
               std::sqrt(static_cast<double>(shape.width)));
  plus = leaf(at::rand({shape.heads}, generator, floats) + 0.5);
  minus = leaf(at::rand({shape.heads}, generator, floats) + 0.5);
  dy = normal(rows).to(shape.type);
  q2 = leaf(normal(rows));
  gate = leaf(normal({shape.batch, shape.tokens, shape.heads}));
}

std::vector<at::Tensor> AttentionInputs::leaves(Kind kind) const {
  std::vector<at::Tensor> out{q, k, v};
  if (has_query_map(kind)) out.push_back(w_neg);
  if (kind == Kind::kDagpam || kind == Kind::kNap) out.insert(out.end(), {plus, minus});
  if (kind == Kind::kDiff2) out.insert(out.end(), {q2, gate});
  return out;
}

std::vector<AttentionContender> attention_contenders(const AttentionShape& shape) {
  const bool causal = shape.causal;
  const auto plain = [causal](const Inputs& in) { return library_attention(in.q, in, causal); };
  std::vector<AttentionContender> all{own(shape, own_road(shape, "dagpam"))};
  switch (shape.kind) {
    case Kind::kDagpam:
      add_library(all, shape, "two SDPA calls", true,
                  [causal](const Inputs& in) { return two_calls(in, causal); });
      add_library(all, shape, "one grouped SDPA call", true,
                  [causal](const Inputs& in) { return grouped_call(in, causal); });
      add_library(all, shape, "plain SDPA", false, plain);
      break;
    case Kind::kSoftmaxWide:
      add_library(all, shape, "SDPA of the mapped queries", true, [causal](const Inputs& in) {
        return library_attention(in.q + mapped(in), in, causal);
      });
      break;
    case Kind::kSoftmax:
      add_library(all, shape, "plain SDPA", true, plain);
      break;
    case Kind::kDiff2:
      add_library(all, shape, "two SDPA calls", true, [causal](const Inputs& in) {
        return library_attention(in.q, in, causal) -
               at::sigmoid(in.gate).unsqueeze(3) * library_attention(in.q2, in, causal);
      });
      add_library(all, shape, "plain SDPA", false, plain);
      break;
    case Kind::kDiff:
    case Kind::kNon:
    case Kind::kNap:
    case Kind::kCoda:
    case Kind::kCog:
      add_library(all, shape, "plain SDPA", false, plain);
      break;
  }
  if (shape.tokens <= kPlainTokens) all.push_back(own(shape, {"plain path", "reference", true}));
  all.push_back(own(shape, own_road(shape, "itself")));
  return all;
}

AttentionOutcome run_contender(const AttentionContender& contender, const AttentionShape& shape,
                               const AttentionInputs& inputs) {
  const Pinned pinned(contender.library);
  AttentionOutcome out;
  out.y = contender.forward(inputs);
  out.gradients = torch::autograd::grad(
      {out.y}, inputs.leaves(contender.same ? shape.kind : Kind::kSoftmax), {inputs.dy});
  return out;
}

double attention_flops(const AttentionShape& shape) {
  const auto d = static_cast<double>(shape.width), t = static_cast<double>(shape.tokens);
  const double heads = static_cast<double>(shape.batch) * static_cast<double>(shape.heads);
  const double pairs = heads * (shape.causal ? t * (t + 1) / 2 : t * t);
  const bool two = shape.kind == Kind::kDagpam || shape.kind == Kind::kDiff2;
  const double products = two ? 12 : 7;
  const double map = has_query_map(shape.kind) ? 6 * d * d * heads * t : 0;
  return 2 * products * d * pairs + map;
}

double attention_bytes(const AttentionShape& shape) {
  const double tensor =
      static_cast<double>(shape.batch * shape.tokens * shape.heads * shape.width) *
      static_cast<double>(c10::elementSize(shape.type));
  return (shape.kind == Kind::kDagpam ? 14 : 12) * tensor;
}

}  // namespace dagpam::launch
