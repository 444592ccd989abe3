// `field.path=value` from the command line.
#include <google/protobuf/message.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <vector>

#include "configs/errors.h"
#include "configs/parse.h"
#include "configs/run_config.h"
#include "configs/suggest.h"
#include "configs/text.h"

namespace dagpam::configs {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

[[noreturn]] void fail(const std::string& path, const std::string& problem) {
  throw ConfigError("--set " + one_line(path) + ": " + problem);
}

std::string trimmed(const std::string& text) {
  constexpr const char* kBlank = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> names;
  size_t begin = 0;
  for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', begin)) {
    names.push_back(path.substr(begin, dot - begin));
    begin = dot + 1;
  }
  names.push_back(path.substr(begin));
  return names;
}

// The field that a path names, and the message that holds it (made where it was unset).
struct Target {
  Message* holder;
  const FieldDescriptor* field;
  std::string holder_path;
};

// Entry `index` of a list; the one after the last is appended.
Message* list_entry(Message& holder, const FieldDescriptor* list, const std::string& path,
                    const std::string& index) {
  const auto& reflection = *holder.GetReflection();
  const int size = reflection.FieldSize(holder, list);
  int position = -1;
  const char* end = index.data() + index.size();
  const auto [stop, error] = std::from_chars(index.data(), end, position);
  if (error != std::errc() || stop != end || position < 0 || position > size) {
    fail(path + "." + index, "'" + one_line(index) + "' is no entry of a list of " +
                                 std::to_string(size) + ": write a number from 0 to " +
                                 std::to_string(size) + ", as in " + path + ".0." +
                                 list->message_type()->field(0)->name() + "=...");
  }
  if (position == size) return reflection.AddMessage(&holder, list);
  return reflection.MutableRepeatedMessage(&holder, list, position);
}

Target find_target(RunConfig& config, const std::string& path) {
  const std::vector<std::string> names = split_path(path);
  Message* holder = &config;
  std::string holder_path;
  for (size_t i = 0;; ++i) {
    const FieldDescriptor* field = holder->GetDescriptor()->FindFieldByName(names[i]);
    if (field == nullptr) {
      fail(path, "unknown field '" + one_line(names[i], 60) +
                     "': " + suggest_field(*holder->GetDescriptor(), holder_path, names[i]));
    }
    if (i + 1 == names.size()) return {holder, field, holder_path};
    holder_path += (holder_path.empty() ? "" : ".") + names[i];
    if (field->message_type() == nullptr) {
      const char* shape = field->is_repeated() ? "a list" : "one value";
      const char* form = field->is_repeated() ? "=[...]" : "=VALUE";
      fail(path,
           "'" + names[i] + "' is " + shape + " and has no fields: write " + holder_path + form);
    }
    if (field->is_repeated()) {
      holder = list_entry(*holder, field, holder_path, names[i + 1]);
      holder_path += "." + names[++i];
      if (i + 1 == names.size()) fail(path, "is a whole entry: name one of its fields");
    } else {
      holder = holder->GetReflection()->MutableMessage(holder, field);
    }
  }
}

// The assignment as text format. Strings need no quotes on a command line, lists and blocks no
// brackets.
std::string as_text(const FieldDescriptor& field, const std::string& value) {
  if (field.is_repeated()) {
    const bool bracketed = value.starts_with("[");
    return field.name() + ": " + (bracketed ? value : "[" + value + "]");
  }
  if (field.message_type() != nullptr) {
    const bool braced = value.starts_with("{");
    return field.name() + " " + (braced ? value : "{" + value + "}");
  }
  return field.name() + ": " + value;
}

bool is_quoted(const std::string& value) {
  return value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
         value.front() == value.back();
}

}  // namespace

void apply_override(RunConfig& config, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos) {
    fail("'" + assignment + "'", "no '=' in it: write field.path=value, as in model.layers=12");
  }
  const std::string path = trimmed(assignment.substr(0, equals));
  const std::string value = trimmed(assignment.substr(equals + 1));
  if (path.empty()) {
    fail("'" + assignment + "'",
         "no field before '=': write field.path=value, as in model.layers=12");
  }
  if (find_invalid_utf8(assignment) != std::string::npos) {
    fail(path, "'" + one_line(value) + "' is not UTF-8: write it as UTF-8");
  }
  RunConfig changed = config;  // an error leaves the config as it was
  const Target target = find_target(changed, path);
  const FieldDescriptor& field = *target.field;
  const bool text = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && !field.is_repeated();
  if (text && !is_quoted(value)) {
    target.holder->GetReflection()->SetString(target.holder, &field, value);
    config.Swap(&changed);
    return;
  }
  if (value.empty()) fail(path, "no value after '=': write one, as in model.layers=12");

  const std::unique_ptr<Message> part(target.holder->New());
  Written written;
  parse_text(as_text(field, value), {"", target.holder_path}, *part, written);
  std::vector<const FieldDescriptor*> named;
  part->GetReflection()->ListFields(*part, &named);
  const auto foreign = std::find_if(named.begin(), named.end(),
                                    [&](const FieldDescriptor* other) { return other != &field; });
  if (foreign != named.end()) {
    fail(path, "'" + one_line(value) + "' sets " + (*foreign)->name() +
                   " too: write one --set for each field");
  }
  overlay(*target.holder, *part, written);
  config.Swap(&changed);
}

}  // namespace dagpam::configs
