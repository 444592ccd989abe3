#include "trainer/analysis/sentence_maps.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "configs/errors.h"

namespace dagpam::trainer {

namespace {

using Json = nlohmann::ordered_json;

// The number that six digits of it name: a shorter file, and pictures show no more.
double rounded(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", x);
  return std::strtod(text, nullptr);
}

Json matrix_of(const at::Tensor& map) {  // [N, M]
  const at::Tensor wide = map.to(at::kCPU, at::kDouble).contiguous();
  const double* next = wide.const_data_ptr<double>();
  Json rows = Json::array();
  for (int64_t n = 0; n < wide.size(0); ++n) {
    Json row = Json::array();
    for (int64_t m = 0; m < wide.size(1); ++m, ++next) {
      row.push_back(std::isfinite(*next) ? Json(rounded(*next)) : Json(nullptr));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

class MapCollector : public Observer {
 public:
  void stream(int64_t, const at::Tensor&) override {}
  void attention(int64_t layer, const attention::SeenWeights& seen, const at::Tensor&) override {
    const bool two = seen.plus.defined();
    for (int64_t head = 0; head < seen.weights.size(1); ++head) {
      maps.push_back({{"layer", layer + 1},
                      {"head", head},
                      {"weights", matrix_of(seen.weights[0][head])},
                      {"plus", two ? matrix_of(seen.plus[0][head]) : Json(nullptr)},
                      {"minus", two ? matrix_of(seen.minus[0][head]) : Json(nullptr)}});
    }
  }

  Json maps = Json::array();
};

void check_size(const TransformerLm& model, const configs::AttentionConfig& attention,
                int64_t tokens) {
  const configs::ModelConfig& config = model.config();
  if (tokens == 0) throw ConfigError("--maps: empty: give a sentence of at least one symbol");
  if (tokens > config.context()) {
    throw ConfigError("--maps: a sentence of " + std::to_string(tokens) +
                      " tokens is longer than the model's context of " +
                      std::to_string(config.context()) + ": give a shorter one");
  }
  const bool two = attention.kind() == configs::AttentionConfig::DAGPAM ||
                   attention.kind() == configs::AttentionConfig::DIFF ||
                   attention.kind() == configs::AttentionConfig::DIFF2;
  const int64_t maps = config.layers() * config.heads() * (two ? 3 : 1);
  if (tokens * tokens <= kMostMapNumbers / maps) return;
  const auto most = static_cast<int64_t>(std::sqrt(static_cast<double>(kMostMapNumbers / maps)));
  throw ConfigError("--maps: a sentence of " + std::to_string(tokens) + " tokens makes " +
                    std::to_string(maps) + " maps of " + std::to_string(tokens) + " x " +
                    std::to_string(tokens) + ", more than " + std::to_string(kMostMapNumbers) +
                    " numbers: give at most " + std::to_string(most) + " tokens");
}

}  // namespace

Json sentence_maps(const TransformerLm& model, const configs::AttentionConfig& attention,
                   const data::Tokenizer& tokenizer, const std::string& sentence) {
  std::vector<int32_t> ids;
  tokenizer.encode_prompt(sentence, ids);
  const auto tokens = static_cast<int64_t>(ids.size());
  check_size(model, attention, tokens);
  MapCollector collector;
  ForwardInput input;
  input.tokens = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong)
                     .view({1, tokens})
                     .to(model.parameters().all().front()->value.device());
  input.observer = &collector;
  const at::NoGradGuard no_grad;
  model.hidden(input);
  Json texts = Json::array();
  for (const int32_t id : ids) texts.push_back(tokenizer.decode(std::vector<int32_t>{id}));
  return {{"sentence", sentence},
          {"attention", configs::AttentionConfig::Kind_Name(attention.kind())},
          {"layers", model.config().layers()},
          {"heads", model.config().heads()},
          {"tokens", std::move(texts)},
          {"maps", std::move(collector.maps)}};
}

}  // namespace dagpam::trainer
