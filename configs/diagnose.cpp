#include "configs/diagnose.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "configs/suggest.h"
#include "configs/text.h"

namespace dagpam::configs {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// The schema's side of the surroundings.
struct Target {
  const Descriptor* block = nullptr;       // innermost open block
  std::string block_path;                  // dotted, "" for the whole config
  const FieldDescriptor* field = nullptr;  // null: the block has no such field
  std::string path;                        // of the field
};

Target find_target(const Refusal& refusal, const Surroundings& around) {
  Target target;
  target.block = &refusal.root;
  target.block_path = refusal.source.path;
  for (const std::string& name : around.blocks) {
    const FieldDescriptor* field = target.block->FindFieldByName(name);
    if (field == nullptr || field->message_type() == nullptr) break;
    target.block = field->message_type();
    target.block_path += (target.block_path.empty() ? "" : ".") + name;
  }
  target.field = target.block->FindFieldByName(around.field);
  target.path = target.block_path;
  if (!around.field.empty()) {
    target.path += (target.path.empty() ? "" : ".") + one_line(around.field, 60);
  }
  return target;
}

std::string in_quotes(const std::string& text) { return "'" + one_line(text, 60) + "'"; }

// An example of a value, as the schema's default has it.
std::string example(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      return std::to_string(field.has_default_value() ? field.default_value_int64() : 16);
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return shown(field.is_repeated() ? 0.9 : field.default_value_double());
    case FieldDescriptor::CPPTYPE_BOOL:
      return field.default_value_bool() ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return field.default_value_enum()->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return "\"data/text\"";
    default:
      return "{}";
  }
}

std::string assignment(const FieldDescriptor& field) {
  if (field.message_type() == nullptr) return field.name() + ": " + example(field);
  const FieldDescriptor& first = *field.message_type()->field(0);
  return field.name() + " { " + first.name() + ": " + example(first) + " }";
}

// 1e9 and 4.0 are whole numbers to a person.
std::string whole_number_remedy(const FieldDescriptor& field, const std::string& value) {
  char* end = nullptr;
  const double number = std::strtod(value.c_str(), &end);
  constexpr double kExact = 9007199254740992.0;  // 2^53
  const bool whole = end == value.c_str() + value.size() && std::abs(number) <= kExact &&
                     number == std::floor(number);
  if (whole && value.find_first_of(".eE") != std::string::npos) {
    return "write " + std::to_string(static_cast<int64_t>(number));
  }
  return "write digits, as in " + assignment(field);
}

std::string wrong_type(const FieldDescriptor& field, const std::string& value) {
  const bool missing = value.empty() || value == "}";
  const std::string found = missing ? "a missing value" : in_quotes(value);
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT64:
      return found + " is not a whole number: " + whole_number_remedy(field, value);
    case FieldDescriptor::CPPTYPE_UINT64:
      return found + " is not a whole number of 0 or more: " + whole_number_remedy(field, value);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return found + " is not a number: write one, as in " + assignment(field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return found + " is neither true nor false: write one of them, as in " + assignment(field);
    case FieldDescriptor::CPPTYPE_STRING:
      return found + " is not a quoted text: write one, as in " + assignment(field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return found + " is none of " + joined(value_names(*field.enum_type())) + ": " +
             suggest_value(*field.enum_type(), value);
    default:
      return found + " is not a block: write " + assignment(field);
  }
}

// Complaints of protobuf's text parser and tokenizer that are recognised by their words; the others
// are quoted.
enum class Complaint {
  kUnknownField,
  kGivenTwice,
  kOtherOfOneof,
  kBadValue,
  kTooLarge,
  kOpenQuote,
  kControlCharacter,
  kOther
};

Complaint classify(const std::string& text) {
  const auto says = [&](const char* words) { return text.find(words) != std::string::npos; };
  if (says("has no field named")) return Complaint::kUnknownField;
  if (says("specified multiple times")) return Complaint::kGivenTwice;
  if (says("is specified along with field")) return Complaint::kOtherOfOneof;
  if (says("end of string") || says("cross line boundaries")) return Complaint::kOpenQuote;
  if (says("control characters")) return Complaint::kControlCharacter;
  if (says("out of range")) return Complaint::kTooLarge;
  if (says("Unknown enumeration value") || says("Invalid value for boolean")) {
    return Complaint::kBadValue;
  }
  return Complaint::kOther;
}

std::string oneof_names(const FieldDescriptor& field) {
  std::vector<std::string> names;
  const auto* oneof = field.real_containing_oneof();
  for (int i = 0; oneof != nullptr && i < oneof->field_count(); ++i) {
    names.push_back(oneof->field(i)->name());
  }
  return joined(names);
}

struct Explanation {
  Place place;
  std::string text;
};

// No field, or a sign where it does not belong.
Explanation explain_syntax(const Refusal& refusal, const Surroundings& around,
                           const Target& target) {
  if (around.next.empty() && !around.blocks.empty()) {
    return {around.block_opened,
            "the block " + target.block_path + " is open where the text ends: add a closing }"};
  }
  const bool value_next = around.expects_value && target.field != nullptr;
  if (value_next && around.next != "[" && around.next != "]") {
    return {refusal.place, wrong_type(*target.field, around.next)};
  }
  if (target.field != nullptr && around.next == "{" && target.field->message_type() == nullptr) {
    return {refusal.place,
            "'{' opens a block, but this is one value: write " + assignment(*target.field)};
  }
  if (target.field != nullptr && around.value.empty() && !around.next.empty()) {
    return {refusal.place, "cannot read " + in_quotes(around.next) + " after " +
                               in_quotes(around.field) + ": write " + assignment(*target.field)};
  }
  const std::string found = around.next.empty() ? "the end of the text" : in_quotes(around.next);
  return {refusal.place, "cannot read " + found + " (" + one_line(refusal.complaint) +
                             "): write `field: value` or `block { ... }`"};
}

Explanation explain_at(const Refusal& refusal, const Surroundings& around, const Target& target) {
  const Complaint complaint = classify(refusal.complaint);
  if (complaint == Complaint::kOpenQuote) {
    return {refusal.place, "a quoted text has no end on its line: add the closing quote"};
  }
  if (complaint == Complaint::kControlCharacter) {
    return {refusal.place, "there is a control character: write plain text"};
  }
  if (complaint == Complaint::kUnknownField) {
    return {around.field_at, "unknown field " + in_quotes(around.field) + ": " +
                                 suggest_field(*target.block, target.block_path, around.field)};
  }
  if (target.field == nullptr) return explain_syntax(refusal, around, target);
  switch (complaint) {
    case Complaint::kGivenTwice:
      return {around.field_at, in_quotes(around.field) + " is given a second time: keep one"};
    case Complaint::kOtherOfOneof:
      return {around.field_at, in_quotes(around.field) + " stands beside another one of " +
                                   oneof_names(*target.field) + ": keep one"};
    case Complaint::kBadValue:
      return {around.value_at, wrong_type(*target.field, around.value)};
    case Complaint::kTooLarge: {
      if (target.field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
        return {refusal.place, wrong_type(*target.field, around.next)};
      }
      // The sign is read before the number that does not fit.
      const std::string value = around.value == "-" ? "-" + around.next : around.next;
      return {refusal.place, in_quotes(value) + " does not fit into 64 bits: write a smaller " +
                                 "number, as in " + assignment(*target.field)};
    }
    default:
      return explain_syntax(refusal, around, target);
  }
}

}  // namespace

std::string where(const std::string& text, const Source& source, const Place& place,
                  const std::string& path) {
  if (source.file.empty()) return "--set " + path;
  size_t at = 0;
  for (int line = 0; line < place.line && at != std::string::npos; ++line) {
    at = text.find('\n', at);
    if (at != std::string::npos) ++at;
  }
  int character = 0;
  for (int column = 0; column < place.column && at < text.size(); ++at) {
    constexpr int kTab = 8;
    column += text[at] == '\t' ? kTab - column % kTab : 1;
    if ((static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80) ++character;
  }
  const std::string field = path.empty() ? "" : ": " + path;
  return one_line(source.file) + ":" + std::to_string(place.line + 1) + ":" +
         std::to_string(character + 1) + field;
}

std::string explain(const Refusal& refusal) {
  const Surroundings around = scan_until(refusal.text, refusal.place);
  const Target target = find_target(refusal, around);
  const Explanation explanation = explain_at(refusal, around, target);
  return where(refusal.text, refusal.source, explanation.place, target.path) + ": " +
         explanation.text;
}

}  // namespace dagpam::configs
