#include "configs/kinds.h"

#include "configs/errors.h"

namespace dagpam::configs {
namespace {

struct Misplaced {
  bool given;
  const char* path;
  const char* remedy;
};

void refuse(const std::vector<Misplaced>& fields, ModelConfig::Kind kind) {
  for (const Misplaced& field : fields) {
    if (!field.given) continue;
    throw ConfigError(std::string(field.path) + ": is not for model.kind " +
                      ModelConfig::Kind_Name(kind) + ": " + field.remedy);
  }
}

}  // namespace

std::vector<std::pair<std::string, const AttentionConfig*>> attentions(const RunConfig& config) {
  std::vector<std::pair<std::string, const AttentionConfig*>> all{
      {"attention", &config.attention()}};
  if (config.model().kind() == ModelConfig::ENCODER_DECODER) {
    all.emplace_back("encoder_attention", &config.encoder_attention());
    all.emplace_back("cross_attention", &config.cross_attention());
  }
  return all;
}

void check_kind(const RunConfig& config) {
  const ModelConfig& model = config.model();
  const TrainConfig& train = config.train();
  const DataConfig& data = config.data();
  constexpr const char* kOfPairs = "leave it out, or choose kind ENCODER_DECODER";
  if (model.kind() == ModelConfig::DECODER) {
    return refuse({{config.has_encoder_attention(), "encoder_attention", kOfPairs},
                   {config.has_cross_attention(), "cross_attention", kOfPairs},
                   {model.has_encoder_layers(), "model.encoder_layers", kOfPairs},
                   {model.has_shared_embeddings(), "model.shared_embeddings", kOfPairs},
                   {train.has_batch_tokens(), "train.batch_tokens",
                    "set train.global_batch, in sequences, or choose kind ENCODER_DECODER"},
                   {train.has_micro_tokens(), "train.micro_tokens",
                    "set train.micro_batch, in sequences, or choose kind ENCODER_DECODER"}},
                  model.kind());
  }
  refuse({{train.has_global_batch(), "train.global_batch",
           "sentence pairs differ in length: set train.batch_tokens, as in 4096"},
          {train.has_micro_batch(), "train.micro_batch",
           "set train.micro_tokens, as in 1024, or leave it out"},
          {train.has_tokens(), "train.tokens", "set train.steps or train.epochs"},
          {config.parallel().sequence_parallel(), "parallel.sequence_parallel",
           "sentence pairs differ in length: leave it false"},
          {data.reset_positions(), "data.reset_positions", "a pair is one text: leave it false"},
          {data.reset_attention(), "data.reset_attention", "a pair is one text: leave it false"},
          {data.train_size() > 1, "data.train",
           "give one pair set; join the files before `dagpam data pairs`"}},
         model.kind());
}

}  // namespace dagpam::configs
