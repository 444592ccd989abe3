#include "configs/suggest.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "configs/run.pb.h"
#include "configs/text.h"

namespace dagpam::configs {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

// What the same thing is called elsewhere.
constexpr std::array<std::pair<std::string_view, std::string_view>, 36> kOtherNames = {{
    {"n_layer", "model.layers"},
    {"n_layers", "model.layers"},
    {"num_layers", "model.layers"},
    {"num_hidden_layers", "model.layers"},
    {"depth", "model.layers"},
    {"d_model", "model.width"},
    {"dim", "model.width"},
    {"n_embd", "model.width"},
    {"hidden_size", "model.width"},
    {"embed_dim", "model.width"},
    {"n_head", "model.heads"},
    {"n_heads", "model.heads"},
    {"num_heads", "model.heads"},
    {"num_attention_heads", "model.heads"},
    {"num_key_value_heads", "model.kv_heads"},
    {"num_kv_heads", "model.kv_heads"},
    {"d_ff", "model.mlp_width"},
    {"ffn_hidden_size", "model.mlp_width"},
    {"intermediate_size", "model.mlp_width"},
    {"block_size", "model.context"},
    {"seq_len", "model.context"},
    {"seq_length", "model.context"},
    {"sequence_length", "model.context"},
    {"vocab_size", "model.vocab"},
    {"rope_theta", "model.rotary_base"},
    {"learning_rate", "optimizer.lr"},
    {"grad_clip", "optimizer.clip_norm"},
    {"max_grad_norm", "optimizer.clip_norm"},
    {"beta1", "optimizer.betas"},
    {"beta2", "optimizer.betas"},
    {"warmup_iters", "schedule.warmup_steps"},
    {"batch_size", "train.global_batch"},
    {"global_batch_size", "train.global_batch"},
    {"micro_batch_size", "train.micro_batch"},
    {"max_iters", "train.steps"},
    {"max_steps", "train.steps"},
}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string normalised(const std::string& name) {
  std::string out;
  for (const char c : name) out += c == '-' ? '_' : lower(c);
  return out;
}

std::vector<std::string> field_names(const Descriptor& type) {
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(type.field_count()));
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

// Paths at which a field called `name` stands, anywhere in a config. The schema does not nest in
// itself.
void find_paths(const Descriptor& type, const std::string& prefix, const std::string& name,
                std::vector<std::string>& found) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string path = prefix + field.name();
    if (field.name() == name) found.push_back(path);
    if (field.message_type() != nullptr) find_paths(*field.message_type(), path + ".", name, found);
  }
}

std::optional<std::string> usual_name(const std::string& name) {
  for (const auto& [other, path] : kOtherNames) {
    if (other == name) return std::string(path);
  }
  return std::nullopt;
}

}  // namespace

size_t edit_distance(const std::string& a, const std::string& b) {
  const size_t width = b.size() + 1;
  std::vector<size_t> two_up(width);
  std::vector<size_t> up(width);
  std::vector<size_t> row(width);
  for (size_t j = 0; j < width; ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(two_up, up);
    std::swap(up, row);
    row[0] = i;
    for (size_t j = 1; j < width; ++j) {
      const bool same = lower(a[i - 1]) == lower(b[j - 1]);
      row[j] = std::min({up[j] + 1, row[j - 1] + 1, up[j - 1] + (same ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                           lower(a[i - 2]) == lower(b[j - 1]);
      if (swapped) row[j] = std::min(row[j], two_up[j - 2] + 1);
    }
  }
  return row.back();
}

std::optional<std::string> closest(const std::string& name,
                                   const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 64;  // nobody slips into a longer name; also bounds the work
  if (name.empty() || name.size() > kLongest) return std::nullopt;
  const std::string wanted = normalised(name);
  const size_t allowed = std::max<size_t>(1, std::min<size_t>(3, wanted.size() / 3));
  std::optional<std::string> best;
  size_t best_distance = allowed + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(wanted, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  if (best) return best;
  // A word cut short or drawn out: "warmup" for warmup_steps, "layers_count" for layers.
  constexpr size_t kTelling = 4;
  for (const std::string& candidate : candidates) {
    const std::string shown_name = normalised(candidate);
    const size_t common = std::min(shown_name.size(), wanted.size());
    if (common >= kTelling && shown_name.compare(0, common, wanted, 0, common) == 0) {
      return candidate;
    }
  }
  return std::nullopt;
}

std::string suggest_field(const Descriptor& parent, const std::string& path,
                          const std::string& name) {
  const bool of_run = parent.file() == RunConfig::descriptor()->file();
  const auto usual = of_run ? usual_name(normalised(name)) : std::nullopt;
  if (usual) return "did you mean " + *usual + "?";
  const std::string dotted = path.empty() ? "" : path + ".";
  const std::vector<std::string> siblings = field_names(parent);
  const auto near = closest(name, siblings);
  std::vector<std::string> meant;
  if (of_run) find_paths(*RunConfig::descriptor(), "", normalised(name), meant);
  if (near) {
    std::erase(meant, dotted + *near);
    meant.insert(meant.begin(), dotted + *near);
  }
  std::string question = meant.empty() ? "" : "did you mean " + joined(meant) + "?";
  if (near) return question;
  const std::string where = !path.empty() ? path : of_run ? "a config" : "it";
  return question + (meant.empty() ? "" : " ") + where + " has the fields " +
         joined(siblings, " and ");
}

std::vector<std::string> value_names(const EnumDescriptor& type) {
  std::vector<std::string> names;
  names.reserve(static_cast<size_t>(type.value_count()));
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return names;
}

std::string suggest_value(const EnumDescriptor& type, const std::string& name) {
  const auto near = closest(name, value_names(type));
  return near ? "did you mean " + *near + "?" : "choose one of them";
}

}  // namespace dagpam::configs
