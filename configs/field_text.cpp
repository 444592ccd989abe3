#include "configs/field_text.h"

#include <google/protobuf/text_format.h>

#include <charconv>
#include <string_view>

namespace dagpam::configs {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

std::string value_text(const Message& message, const FieldDescriptor* field, int index) {
  TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintFieldValueToString(message, field, index, &text);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    text = text.substr(1, text.size() - 2);
  }
  while (text.ends_with(' ')) text.pop_back();
  return field->message_type() == nullptr ? text : "{ " + text + " }";
}

std::string whole_text(const Message& message, const FieldDescriptor* field) {
  const auto& reflection = *message.GetReflection();
  if (!field->is_repeated()) {
    const bool known = reflection.HasField(message, field) || field->has_default_value();
    return known ? value_text(message, field, -1) : "";
  }
  std::string text;
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    text += (i == 0 ? "" : ", ") + value_text(message, field, i);
  }
  return text;
}

// Takes the part before the next dot off `path`.
std::string_view next_part(std::string_view& path) {
  const size_t dot = path.find('.');
  const std::string_view part = path.substr(0, dot);
  path.remove_prefix(dot == std::string_view::npos ? path.size() : dot + 1);
  return part;
}

}  // namespace

std::string field_text(const RunConfig& config, const std::string& path) {
  const Message* message = &config;
  std::string_view left = path;
  while (true) {
    const std::string name(next_part(left));
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(name);
    if (field == nullptr) return "";
    if (left.empty()) return whole_text(*message, field);
    if (field->message_type() == nullptr) return "";
    const auto& reflection = *message->GetReflection();
    if (!field->is_repeated()) {
      message = &reflection.GetMessage(*message, field);
      continue;
    }
    const std::string_view entry = next_part(left);
    int index = -1;
    std::from_chars(entry.data(), entry.data() + entry.size(), index);
    if (index < 0 || index >= reflection.FieldSize(*message, field) || left.empty()) return "";
    message = &reflection.GetRepeatedMessage(*message, field, index);
  }
}

}  // namespace dagpam::configs
