#include "trainer/huggingface/gpt2_weights.h"

#include <array>
#include <utility>

#include "configs/errors.h"
#include "trainer/huggingface/model_config.h"

namespace dagpam::huggingface {

using configs::AttentionConfig;
using configs::ModelConfig;
using configs::RunConfig;

namespace {

// from [rows, columns] -> to [columns, rows].
auto transposed(int64_t rows, int64_t columns) {
  return [=](std::span<const float> from, std::span<float> to) {
    const auto in = static_cast<size_t>(rows), out = static_cast<size_t>(columns);
    for (size_t r = 0; r < in; ++r) {
      for (size_t c = 0; c < out; ++c) to[c * in + r] = from[r * out + c];
    }
  };
}

// from [rows, 3 C], the columns by part (queries, keys, values) and head -> to [3 C, rows], by head
// and part. A bias has one row.
auto by_head(int64_t rows, int64_t heads, int64_t width) {
  return [=](std::span<const float> from, std::span<float> to) {
    const auto in = static_cast<size_t>(rows), all = static_cast<size_t>(width);
    const auto each = static_cast<size_t>(width / heads);
    for (size_t r = 0; r < in; ++r) {
      for (size_t column = 0; column < 3 * all; ++column) {
        const size_t part = column / all, head = column % all / each, channel = column % each;
        to[((head * 3 + part) * each + channel) * in + r] = from[r * 3 * all + column];
      }
    }
  };
}

ModelConfig::Mlp read_activation(const JsonFile& file) {
  const std::string name = file.text("activation_function");
  for (const char* tanh : {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"}) {
    if (name == tanh) return ModelConfig::GELU_TANH;
  }
  if (name == "gelu") return ModelConfig::GELU;
  if (name == "relu") return ModelConfig::RELU;
  file.refuse("activation_function", "gelu_new, gelu_pytorch_tanh, gelu_fast, gelu or relu");
}

// A field that must be as GPT-2 has it, where it is there.
void require(const JsonFile& file, const std::string& name, bool value) {
  if (file.has(name) && file.boolean(name) != value) {
    file.refuse(name, value ? "true: no model here computes otherwise"
                            : "false: no model here computes so");
  }
}

double rate(const JsonFile& file, const std::string& name) {
  return file.has(name) ? file.number(name) : 0.1;
}

}  // namespace

RunConfig read_gpt2_config(const JsonFile& file, AttentionConfig::Kind kind) {
  require(file, "scale_attn_weights", true);
  require(file, "scale_attn_by_inverse_layer_idx", false);
  require(file, "add_cross_attention", false);
  RunConfig config;
  ModelConfig& m = *config.mutable_model();
  m.set_vocab(file.integer("vocab_size"));
  m.set_width(file.integer("n_embd"));
  m.set_layers(file.integer("n_layer"));
  m.set_heads(file.integer("n_head"));
  m.set_context(file.integer("n_positions"));
  if (file.has("n_inner")) m.set_mlp_width(file.integer("n_inner"));
  m.set_mlp(read_activation(file));
  m.set_norm_eps(file.number("layer_norm_epsilon"));
  m.set_tied_embeddings(!file.has("tie_word_embeddings") || file.boolean("tie_word_embeddings"));
  m.set_dropout(rate(file, "resid_pdrop"));
  m.set_attention_dropout(rate(file, "attn_pdrop"));
  config.mutable_attention()->set_kind(kind);
  if (kind == AttentionConfig::DAGPAM) {
    config.mutable_attention()->mutable_lambda()->set_plus(0);
    config.mutable_attention()->mutable_lambda()->set_minus(0);
  }
  return checked_config(config, file.path());
}

WeightSources gpt2_sources(const ModelConfig& m, const WeightFiles& files) {
  const int64_t width = m.width(), hidden = m.mlp_width();
  const std::string whole =
      files.tensors().contains("transformer.wte.weight") ? "transformer." : "";
  WeightSources sources;
  const auto vector = [&](const std::string& ours, const std::string& theirs, int64_t size) {
    sources[ours] = {whole + theirs, {size}};
  };
  const auto matrix = [&](const std::string& ours, const std::string& theirs, int64_t in,
                          int64_t out) {
    sources[ours + "weight"] = {whole + theirs + "weight", {in, out}, transposed(in, out)};
    vector(ours + "bias", theirs + "bias", out);
  };
  const auto norm = [&](const std::string& ours, const std::string& theirs) {
    vector(ours + "weight", theirs + "weight", width);
    vector(ours + "bias", theirs + "bias", width);
  };
  sources["embedding.token.weight"] = {whole + "wte.weight", {m.vocab(), width}};
  sources["embedding.position.weight"] = {whole + "wpe.weight", {m.context(), width}};
  for (int64_t i = 0; i < m.layers(); ++i) {
    const std::string ours = "layers." + std::to_string(i) + ".";
    const std::string theirs = "h." + std::to_string(i) + ".";
    norm(ours + "attention_norm.", theirs + "ln_1.");
    sources[ours + "attention.qkv.weight"] = {whole + theirs + "attn.c_attn.weight",
                                              {width, 3 * width},
                                              by_head(width, m.heads(), width)};
    sources[ours + "attention.qkv.bias"] = {
        whole + theirs + "attn.c_attn.bias", {3 * width}, by_head(1, m.heads(), width)};
    matrix(ours + "attention.out.", theirs + "attn.c_proj.", width, width);
    norm(ours + "mlp_norm.", theirs + "ln_2.");
    matrix(ours + "mlp.up.", theirs + "mlp.c_fc.", width, hidden);
    matrix(ours + "mlp.down.", theirs + "mlp.c_proj.", hidden, width);
  }
  norm("norm.", "ln_f.");
  if (!m.tied_embeddings()) sources["output.weight"] = {"lm_head.weight", {m.vocab(), width}};
  return sources;
}

bool is_gpt2_buffer(const std::string& tensor) {
  return tensor.ends_with(".attn.bias") || tensor.ends_with(".attn.masked_bias");
}

}  // namespace dagpam::huggingface
