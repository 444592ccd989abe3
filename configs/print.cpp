// A config as text, its digest, and where two of them differ.
#include <google/protobuf/text_format.h>
#include <xxhash.h>

#include "configs/errors.h"
#include "configs/run_config.h"

namespace dagpam::configs {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The text of one field's value, which is the same for equal values alone.
std::string value_text(const Message& message, const FieldDescriptor* field) {
  google::protobuf::TextFormat::Printer printer;
  std::string text;
  if (!field->is_repeated()) {
    printer.PrintFieldValueToString(message, field, -1, &text);
    return text;
  }
  for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
    std::string entry;
    printer.PrintFieldValueToString(message, field, i, &entry);
    text += entry + ",";
  }
  return text;
}

// Unset fields count as their default, where the schema has one.
bool same_value(const Message& a, const Message& b, const FieldDescriptor* field) {
  if (!field->is_repeated() && !field->has_default_value()) {
    const bool in_a = a.GetReflection()->HasField(a, field);
    if (in_a != b.GetReflection()->HasField(b, field)) return false;
    if (!in_a) return true;
  }
  return value_text(a, field) == value_text(b, field);
}

void compare(const Message& a, const Message& b, const std::string& prefix,
             std::vector<std::string>& paths) {
  const auto& in_a = *a.GetReflection();
  const auto& in_b = *b.GetReflection();
  const auto* type = a.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    const std::string path = prefix + field->name();
    if (field->message_type() == nullptr) {
      if (!same_value(a, b, field)) paths.push_back(path);
    } else if (!field->is_repeated()) {
      compare(in_a.GetMessage(a, field), in_b.GetMessage(b, field), path + ".", paths);
    } else if (in_a.FieldSize(a, field) != in_b.FieldSize(b, field)) {
      paths.push_back(path);
    } else {
      for (int j = 0; j < in_a.FieldSize(a, field); ++j) {
        compare(in_a.GetRepeatedMessage(a, field, j), in_b.GetRepeatedMessage(b, field, j),
                path + "." + std::to_string(j) + ".", paths);
      }
    }
  }
}

}  // namespace

std::string print(const RunConfig& config) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  if (!printer.PrintToString(config, &text)) throw IoError("config: could not be printed");
  return text;
}

std::string digest(const RunConfig& config) {
  const std::string text = print(config);
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(text.data(), text.size()));
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : canonical.digest) {
    hex += kDigits[byte >> 4U];
    hex += kDigits[byte & 0xFU];
  }
  return hex;
}

std::vector<std::string> differing_fields(const RunConfig& a, const RunConfig& b) {
  std::vector<std::string> paths;
  compare(a, b, "", paths);
  return paths;
}

}  // namespace dagpam::configs
