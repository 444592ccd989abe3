#include "trainer/analysis/analysis.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <utility>

namespace dagpam::trainer {

namespace {

struct CollapseSamples {
  std::vector<double> ratio_1inf, ratio_fro, cosine;  // one a sequence

  // x [1, N, C]; tokens before `first` are left out.
  void add(const at::Tensor& x, int64_t first) {
    const Collapse one = collapse_of(x[0].narrow(0, first, x.size(1) - first));
    ratio_1inf.push_back(one.ratio_1inf);
    ratio_fro.push_back(one.ratio_fro);
    cosine.push_back(one.cosine);
  }
  CollapseSpread spread() const {
    return {spread_of(ratio_1inf), spread_of(ratio_fro), spread_of(cosine)};
  }
};

// Gathers what passes by over the sequences.
class Recorder : public Observer {
 public:
  Recorder(int64_t layers, int64_t first)
      : first_(first),
        streams_(static_cast<size_t>(layers + 1)),
        outputs_(static_cast<size_t>(layers)),
        maps_(static_cast<size_t>(layers)) {}

  void stream(int64_t blocks, const at::Tensor& x) override {
    streams_[static_cast<size_t>(blocks)].add(x, first_);
  }

  void attention(int64_t layer, const attention::SeenWeights& seen,
                 const at::Tensor& output) override {
    outputs_[static_cast<size_t>(layer)].add(output, first_);
    Maps& maps = maps_[static_cast<size_t>(layer)];
    maps.weights.add(seen.weights, seen.visible, first_);
    if (!seen.plus.defined()) return;
    maps.plus.add(seen.plus, seen.visible, first_);
    maps.minus.add(seen.minus, seen.visible, first_);
  }

  void write_to(Analysis& analysis) const {
    analysis.embeddings = streams_[0].spread();
    for (size_t i = 0; i < outputs_.size(); ++i) {
      LayerAnalysis& layer = analysis.layers[i];
      layer.stream = streams_[i + 1].spread();
      layer.attention_output = outputs_[i].spread();
      layer.weights = maps_[i].weights.statistics();
      if (maps_[i].plus.empty()) continue;
      layer.plus = maps_[i].plus.statistics();
      layer.minus = maps_[i].minus.statistics();
    }
  }

 private:
  struct Maps {
    MapSummary weights, plus, minus;
  };
  int64_t first_;
  std::vector<CollapseSamples> streams_, outputs_;
  std::vector<Maps> maps_;
};

// Sums over the sequences the gradients of each layer's projection weights and w_neg.
class GradientSums {
 public:
  explicit GradientSums(const TransformerLm& model) : config_(model.config()) {
    for (int64_t i = 0; i < config_.layers(); ++i) {
      const std::string prefix = "layers." + std::to_string(i) + ".attention.";
      Place place{.qkv = add(model.parameters().find(prefix + "qkv.weight")), .w_neg = {}};
      const auto w_neg = model.parameters().find(prefix + "w_neg");
      if (w_neg != nullptr) place.w_neg = add(w_neg);
      places_.push_back(place);
    }
  }

  void add_gradients_of(const at::Tensor& loss) {
    const auto found = torch::autograd::grad({loss}, weights_);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < found.size(); ++i) sums_[i].add_(found[i]);
  }

  void write_to(Analysis& analysis) const {
    for (size_t i = 0; i < places_.size(); ++i) {
      analysis.layers[i].query_gradient = norm(query_rows(sums_[places_[i].qkv]));
      if (places_[i].w_neg) analysis.layers[i].w_neg_gradient = norm(sums_[*places_[i].w_neg]);
    }
  }

 private:
  struct Place {  // of a layer, in sums_
    size_t qkv;
    std::optional<size_t> w_neg;
  };

  size_t add(const parallel::ParameterPtr& parameter) {
    weights_.push_back(parameter->value);
    sums_.push_back(at::zeros_like(parameter->value).detach());
    return sums_.size() - 1;
  }
  static double norm(const at::Tensor& x) { return x.to(at::kDouble).norm().item<double>(); }

  // qkv [(Hq + 2 Hkv) D, C], its rows by key-value head: the queries that read it, key, value.
  at::Tensor query_rows(const at::Tensor& qkv) const {
    const int64_t kv_heads = config_.kv_heads(), head_width = config_.width() / config_.heads();
    const at::Tensor by_head = qkv.view({kv_heads, -1, head_width, config_.width()});
    return by_head.narrow(1, 0, by_head.size(1) - 2);
  }

  const configs::ModelConfig& config_;
  std::vector<at::Tensor> weights_, sums_;
  std::vector<Place> places_;
};

std::vector<double> numbers_of(const at::Tensor& x) {
  if (!x.defined()) return {};
  const at::Tensor flat = x.detach().to(at::kCPU, at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

}  // namespace

Analysis analyze(const TransformerLm& model, WindowReader& reader,
                 const std::vector<int64_t>& starts, int64_t length,
                 const AnalysisOptions& options) {
  Analysis analysis;
  analysis.sequences = static_cast<int64_t>(starts.size());
  analysis.tokens = length;
  analysis.options = options;
  analysis.layers.resize(static_cast<size_t>(model.config().layers()));
  Recorder recorder(model.config().layers(), options.include_first ? 0 : 1);
  GradientSums gradients(model);
  const double all_tokens = static_cast<double>(analysis.sequences * length);
  for (const int64_t start : starts) {
    auto [input, targets] = reader.read({start}, length);
    input.parts = options.parts;
    input.causal = options.causal;
    {
      const at::NoGradGuard no_grad;
      ForwardInput looked_at = input;
      looked_at.observer = &recorder;
      model.hidden(looked_at);
    }
    const at::AutoGradMode with_grad(true);
    const at::Tensor loss = model.losses(input, targets).sum() / all_tokens;
    analysis.nll += loss.item<double>();
    gradients.add_gradients_of(loss);
  }
  recorder.write_to(analysis);
  gradients.write_to(analysis);
  for (int64_t i = 0; i < model.config().layers(); ++i) {
    const attention::Lambdas lambdas = model.lambdas(i);
    LayerAnalysis& layer = analysis.layers[static_cast<size_t>(i)];
    layer.lambda_plus = numbers_of(lambdas.plus);
    layer.lambda_minus = numbers_of(lambdas.minus);
  }
  return analysis;
}

std::vector<int64_t> spread_starts(int64_t tokens, int64_t count, int64_t length) {
  const int64_t stride = count > 0 ? (tokens - 1) / count : 0;
  std::vector<int64_t> starts;
  if (stride < length) return starts;
  for (int64_t i = 0; i < count; ++i) starts.push_back(i * stride);
  return starts;
}

std::unique_ptr<TransformerLm> copy_model(const Model& model,
                                          const configs::AttentionConfig& attention,
                                          parallel::Communicator& tp, at::ScalarType type) {
  auto copy = std::make_unique<TransformerLm>(model.config(), attention, TensorParallel{tp}, type);
  copy->move_to(tp.device());
  const at::NoGradGuard no_grad;
  const auto& from = model.parameters().all();
  for (size_t i = 0; i < from.size(); ++i) {
    copy->parameters().all()[i]->value.copy_(from[i]->ready());
  }
  return copy;
}

}  // namespace dagpam::trainer
