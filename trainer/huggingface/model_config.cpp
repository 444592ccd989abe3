#include "trainer/huggingface/model_config.h"

#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "configs/text.h"

namespace dagpam::huggingface {

using configs::AttentionConfig;
using configs::LambdaConfig;
using configs::ModelConfig;
using configs::RunConfig;
using nlohmann::ordered_json;

namespace {

ordered_json id_or_null(int32_t id) { return id < 0 ? ordered_json(nullptr) : ordered_json(id); }

int32_t end_id(const data::Tokenizer& tokenizer) {
  const int32_t special = tokenizer.special_ids().eos;
  return special >= 0 ? special : tokenizer.end_of_text();
}

template <typename Enum>
Enum choice(const JsonFile& file, const std::string& name) {
  const google::protobuf::EnumDescriptor* type = google::protobuf::GetEnumDescriptor<Enum>();
  const auto* value = type->FindValueByName(file.text(name));
  if (value != nullptr) return static_cast<Enum>(value->number());
  std::vector<std::string> names;
  for (int i = 0; i < type->value_count(); ++i) names.push_back(type->value(i)->name());
  file.refuse(name, configs::joined(names));
}

void read_attention(const JsonFile& file, AttentionConfig& attention) {
  attention.set_kind(choice<AttentionConfig::Kind>(file, "attention_kind"));
  LambdaConfig& lambda = *attention.mutable_lambda();
  lambda.set_mode(choice<LambdaConfig::Mode>(file, "lambda_mode"));
  lambda.set_plus(file.number("lambda_plus"));
  lambda.set_minus(file.number("lambda_minus"));
  lambda.set_scope(choice<LambdaConfig::Scope>(file, "lambda_scope"));
  lambda.set_squash(choice<LambdaConfig::Squash>(file, "lambda_squash"));
}

}  // namespace

std::string print_config(const RunConfig& config, const data::Tokenizer& tokenizer) {
  const ModelConfig& m = config.model();
  const AttentionConfig& a = config.attention();
  const data::SpecialIds special = tokenizer.special_ids();
  const ordered_json json{{"architectures", {"DaGPAMForCausalLM"}},
                          {"model_type", "dagpam"},
                          {"auto_map",
                           {{"AutoConfig", "configuration_dagpam.DaGPAMConfig"},
                            {"AutoModelForCausalLM", "modeling_dagpam.DaGPAMForCausalLM"}}},
                          {"dtype", "float32"},
                          {"vocab_size", m.vocab()},
                          {"hidden_size", m.width()},
                          {"num_hidden_layers", m.layers()},
                          {"num_attention_heads", m.heads()},
                          {"num_key_value_heads", m.kv_heads()},
                          {"intermediate_size", m.mlp_width()},
                          {"max_position_embeddings", m.context()},
                          {"attention_kind", AttentionConfig::Kind_Name(a.kind())},
                          {"lambda_mode", LambdaConfig::Mode_Name(a.lambda().mode())},
                          {"lambda_plus", a.lambda().plus()},
                          {"lambda_minus", a.lambda().minus()},
                          {"lambda_scope", LambdaConfig::Scope_Name(a.lambda().scope())},
                          {"lambda_squash", LambdaConfig::Squash_Name(a.lambda().squash())},
                          {"mlp", ModelConfig::Mlp_Name(m.mlp())},
                          {"norm", ModelConfig::Norm_Name(m.norm())},
                          {"norm_position", ModelConfig::NormPosition_Name(m.norm_position())},
                          {"norm_eps", m.norm_eps()},
                          {"attention_residual", m.attention_residual()},
                          {"mlp_residual", m.mlp_residual()},
                          {"positions", ModelConfig::Positions_Name(m.positions())},
                          {"rotary_base", m.rotary_base()},
                          {"use_bias", m.bias()},
                          {"tie_word_embeddings", m.tied_embeddings()},
                          {"dropout", m.dropout()},
                          {"attention_dropout", m.attention_dropout()},
                          {"use_cache", true},
                          {"bos_token_id", id_or_null(special.bos)},
                          {"eos_token_id", id_or_null(end_id(tokenizer))},
                          {"pad_token_id", id_or_null(special.pad)}};
  return json.dump(2) + "\n";
}

std::string print_generation_config(const RunConfig& config, const data::Tokenizer& tokenizer) {
  const data::SpecialIds special = tokenizer.special_ids();
  ordered_json json{{"bos_token_id", id_or_null(special.bos)},
                    {"eos_token_id", id_or_null(end_id(tokenizer))},
                    {"pad_token_id", id_or_null(special.pad)},
                    {"do_sample", false}};
  const int64_t known = tokenizer.vocab_size(), all = config.model().vocab();
  if (known < all) {
    std::vector<int64_t> never(static_cast<size_t>(all - known));
    std::iota(never.begin(), never.end(), known);
    json["suppress_tokens"] = never;
  }
  return json.dump() + "\n";
}

RunConfig read_config(const JsonFile& file) {
  RunConfig config;
  ModelConfig& m = *config.mutable_model();
  m.set_vocab(file.integer("vocab_size"));
  m.set_width(file.integer("hidden_size"));
  m.set_layers(file.integer("num_hidden_layers"));
  m.set_heads(file.integer("num_attention_heads"));
  m.set_kv_heads(file.integer("num_key_value_heads"));
  m.set_mlp_width(file.integer("intermediate_size"));
  m.set_context(file.integer("max_position_embeddings"));
  m.set_mlp(choice<ModelConfig::Mlp>(file, "mlp"));
  m.set_norm(choice<ModelConfig::Norm>(file, "norm"));
  m.set_norm_position(choice<ModelConfig::NormPosition>(file, "norm_position"));
  m.set_norm_eps(file.number("norm_eps"));
  m.set_attention_residual(file.boolean("attention_residual"));
  m.set_mlp_residual(file.boolean("mlp_residual"));
  m.set_positions(choice<ModelConfig::Positions>(file, "positions"));
  m.set_rotary_base(file.number("rotary_base"));
  m.set_bias(file.boolean("use_bias"));
  m.set_tied_embeddings(file.boolean("tie_word_embeddings"));
  m.set_dropout(file.number("dropout"));
  m.set_attention_dropout(file.number("attention_dropout"));
  read_attention(file, *config.mutable_attention());
  return checked_config(config, file.path());
}

RunConfig checked_config(const RunConfig& config, const std::string& path) {
  RunConfig run = config;  // a whole run needs texts and a length too
  run.mutable_data()->add_train()->set_prefix("text");
  run.mutable_train()->set_steps(1);
  try {
    configs::validate(run);
  } catch (const ConfigError& error) {
    throw CheckpointError(path + ": " + error.what());
  }
  return configs::with_defaults(config);
}

}  // namespace dagpam::huggingface
