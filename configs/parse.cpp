#include "configs/parse.h"

#include <google/protobuf/io/tokenizer.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "configs/diagnose.h"
#include "configs/errors.h"
#include "configs/text.h"

namespace dagpam::configs {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Keeps the first complaint; what follows it is mostly its echo.
class FirstComplaint : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (!text) {
      place = {line, column};
      text = message;
    }
  }
  std::optional<std::string> text;
  Place place;
};

void require_utf8(const std::string& text, const Source& source) {
  const size_t at = find_invalid_utf8(text);
  if (at == std::string::npos) return;
  const size_t line_start = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;  // npos + 1 is 0
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(at);
  const Place place{static_cast<int>(std::count(text.begin(), end, '\n')), 0};
  std::string location = "--set " + source.path;
  if (!source.file.empty()) {
    location = one_line(source.file) + ":" + std::to_string(place.line + 1) + ":" +
               std::to_string(at - line_start + 1);
  }
  throw ConfigError(location + ": byte " + one_line(text.substr(at, 1)) +
                    " is not UTF-8: save the text as UTF-8");
}

// MergeFrom appends to lists; the ones that the text names start empty.
void clear_lists(Message& into, const Written& written) {
  const auto* type = into.GetDescriptor();
  const Reflection& reflection = *into.GetReflection();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (written.GetLocation(field, field->is_repeated() ? 0 : -1).line < 0) continue;
    if (field->is_repeated()) {
      reflection.ClearField(&into, field);
    } else if (field->message_type() != nullptr) {
      clear_lists(*reflection.MutableMessage(&into, field), *written.GetTreeForNested(field, -1));
    }
  }
}

}  // namespace

void parse_text(const std::string& text, const Source& source, Message& out, Written& written) {
  require_utf8(text, source);
  constexpr int kDeepest = 100;  // blocks; without a limit the parser recurses until the stack ends
  FirstComplaint complaint;
  google::protobuf::TextFormat::Parser parser;
  parser.SetRecursionLimit(kDeepest);
  parser.RecordErrorsTo(&complaint);
  parser.WriteLocationsTo(&written);
  if (parser.ParseFromString(text, &out) && !complaint.text) return;
  throw ConfigError(explain({text, source, *out.GetDescriptor(), complaint.place,
                             complaint.text.value_or("no reason given")}));
}

void overlay(Message& into, const Message& from, const Written& written) {
  clear_lists(into, written);
  into.MergeFrom(from);
}

}  // namespace dagpam::configs
