#include "data/strict_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "configs/errors.h"
#include "configs/text.h"
#include "data/utf8.h"

namespace dagpam::data {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 8;

// Watches the parser: depth, and the keys of each open object.
class Guard {
 public:
  explicit Guard(const std::string& source) : source_(source) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    if (depth > kMaxDepth) {
      throw DataError(source_ + ": JSON nested deeper than " + std::to_string(kMaxDepth));
    }
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw DataError(source_ + ": JSON key " + quote_for_message(key) + " appears twice");
      }
    }
    return true;
  }

 private:
  const std::string& source_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

std::string quote_for_message(std::string_view text) {
  constexpr size_t kMost = 40;
  size_t end = 0;
  while (end < text.size() && end < kMost) {
    end += static_cast<size_t>(std::max(1, decode_code_point(text, end).length));
  }
  const std::string quoted =
      json(std::string(text.substr(0, end))).dump(-1, ' ', false, json::error_handler_t::replace);
  // JSON escapes less than a terminal takes: DEL and the controls past U+0080 stay.
  const std::string line = configs::one_line(quoted, quoted.size() * 4);
  return end < text.size() ? line + "..." : line;
}

json parse_object(std::string_view text, const std::string& source) {
  require_utf8(text, source);
  Guard guard(source);
  json object;
  try {
    object = json::parse(text, [&guard](int depth, json::parse_event_t event, json& parsed) {
      return guard(depth, event, parsed);
    });
  } catch (const json::parse_error& error) {
    throw DataError(source + ": bad JSON at byte " + std::to_string(error.byte));
  } catch (const json::exception& error) {
    throw DataError(source + ": bad JSON: " + error.what());
  }
  if (!object.is_object()) throw DataError(source + ": expected a JSON object");
  return object;
}

const json& any_field(const json& object, const std::string& name, const std::string& source) {
  const auto found = object.find(name);
  if (found == object.end()) throw DataError(source + ": field '" + name + "' is missing");
  return *found;
}

std::string string_field(const json& object, const std::string& name, const std::string& source) {
  const json& value = any_field(object, name, source);
  if (!value.is_string()) throw DataError(source + ": field '" + name + "': expected a string");
  return value.get<std::string>();
}

std::vector<std::string> strings_field(const json& object, const std::string& name,
                                       const std::string& source) {
  const json& value = any_field(object, name, source);
  const bool good = value.is_array() && std::all_of(value.begin(), value.end(),
                                                    [](const json& v) { return v.is_string(); });
  if (!good) throw DataError(source + ": field '" + name + "': expected an array of strings");
  return value.get<std::vector<std::string>>();
}

void require_only(const json& object, const std::vector<std::string>& names,
                  const std::string& source) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(names.begin(), names.end(), key) == names.end()) {
      throw DataError(source + ": unknown field " + quote_for_message(key));
    }
  }
}

}  // namespace dagpam::data
