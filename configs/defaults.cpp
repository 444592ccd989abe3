// Every field that a config leaves out.
#include <limits>
#include <utility>

#include "configs/checked.h"
#include "configs/run_config.h"

namespace dagpam::configs {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

void set_default(Message& message, const FieldDescriptor* field) {
  const auto& reflection = *message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, field, field->default_value_int64());
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, field, field->default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&message, field, field->default_value_double());
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, field, field->default_value_bool());
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnum(&message, field, field->default_value_enum());
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(&message, field, field->default_value_string());
    default:
      return;
  }
}

// The defaults that stand in the schema, in this message and the ones below it.
void fill(Message& message) {
  const auto& reflection = *message.GetReflection();
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (field->message_type() == nullptr) {
      const bool unset = !field->is_repeated() && !reflection.HasField(message, field);
      if (unset && field->has_default_value()) set_default(message, field);
    } else if (field->is_repeated()) {
      for (int j = 0; j < reflection.FieldSize(message, field); ++j) {
        fill(*reflection.MutableRepeatedMessage(&message, field, j));
      }
    } else {
      fill(*reflection.MutableMessage(&message, field));
    }
  }
}

// What the encoder's and the cross-attention leave out is as in `attention`.
void settle_attentions(RunConfig& config) {
  for (auto* const other : {config.mutable_encoder_attention(), config.mutable_cross_attention()}) {
    AttentionConfig whole = config.attention();
    whole.MergeFrom(*other);
    *other = std::move(whole);
  }
}

// Of the fields that the other kind of model has alone, none but those that were given: validate()
// refuses these.
void drop_fields_of_other_kind(const RunConfig& given, RunConfig& full) {
  ModelConfig& model = *full.mutable_model();
  TrainConfig& train = *full.mutable_train();
  if (model.kind() == ModelConfig::ENCODER_DECODER) {
    if (!given.train().has_global_batch()) train.clear_global_batch();
    return;
  }
  if (!given.has_encoder_attention()) full.clear_encoder_attention();
  if (!given.has_cross_attention()) full.clear_cross_attention();
  if (!given.model().has_shared_embeddings()) model.clear_shared_embeddings();
  if (!given.train().has_batch_tokens()) train.clear_batch_tokens();
  if (!given.train().has_micro_tokens()) train.clear_micro_tokens();
}

}  // namespace

RunConfig with_defaults(const RunConfig& config) {
  RunConfig full = config;
  if (full.model().kind() == ModelConfig::ENCODER_DECODER) settle_attentions(full);
  fill(full);
  ModelConfig& model = *full.mutable_model();
  if (!model.has_kv_heads()) model.set_kv_heads(model.heads());
  if (!model.has_mlp_width()) {
    // validate() refuses a width for which this does not fit.
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    model.set_mlp_width(checked_multiply(4, model.width()).value_or(kMost));
  }
  const bool pairs = model.kind() == ModelConfig::ENCODER_DECODER;
  if (pairs && !model.has_encoder_layers()) model.set_encoder_layers(model.layers());
  drop_fields_of_other_kind(config, full);
  auto& betas = *full.mutable_optimizer()->mutable_betas();
  if (betas.empty()) {
    betas.Add(0.9);
    betas.Add(0.95);
  }
  // An overlay cannot take a field back, so an empty prefix says that there is no such text.
  DataConfig& data = *full.mutable_data();
  if (data.valid().empty()) data.clear_valid();
  if (data.test().empty()) data.clear_test();
  return full;
}

}  // namespace dagpam::configs
