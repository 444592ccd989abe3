#include "data/json_text.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "configs/errors.h"
#include "configs/text.h"
#include "data/strict_json.h"
#include "data/utf8.h"

namespace dagpam::data {
namespace {

using nlohmann::json;

constexpr int kDeepest = 64;

// What the parser calls: keeps the one string, watches depth and the keys at the top.
class Finder final : public nlohmann::json_sax<json> {
 public:
  Finder(const std::string& key, std::string& text) : key_(key), text_(text) {}

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("true or false"); }
  bool number_integer(number_integer_t) override { return value("a number"); }
  bool number_unsigned(number_unsigned_t) override { return value("a number"); }
  bool number_float(number_float_t, const string_t&) override { return value("a number"); }
  bool binary(binary_t&) override { return value("bytes"); }
  bool string(string_t& found) override {
    if (!wanted_) return value("a string");
    text_ = std::move(found);
    wanted_ = false;
    found_ = true;
    return true;
  }
  bool start_object(std::size_t) override { return value("an object") && enter(); }
  bool start_array(std::size_t) override { return value("an array") && enter(); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    if (depth_ != 1) return true;
    if (!keys_.insert(name).second) {
      return fail("JSON key " + quote_for_message(name) + " appears twice");
    }
    wanted_ = name == key_;
    return true;
  }
  bool parse_error(std::size_t byte, const std::string&, const json::exception&) override {
    return fail("bad JSON at byte " + std::to_string(byte) + " of the line");
  }

  // What is wrong; empty: nothing.
  std::string problem() const {
    if (!problem_.empty()) return problem_;
    return found_ ? "" : "field " + quote_for_message(key_) + " is missing";
  }

 private:
  bool value(const char* kind) {
    if (depth_ == 0 && std::string_view(kind) != "an object") {
      return fail(std::string("is ") + kind + ", expected a JSON object");
    }
    if (wanted_) {
      return fail("field " + quote_for_message(key_) + " is " + kind + ", expected a string");
    }
    return true;
  }
  bool enter() {
    if (++depth_ <= kDeepest) return true;
    return fail("JSON nested deeper than " + std::to_string(kDeepest));
  }
  bool leave() {
    --depth_;
    return true;
  }
  bool fail(const std::string& problem) {
    problem_ = problem;
    return false;
  }

  const std::string& key_;
  std::string& text_;
  std::set<std::string> keys_;
  std::string problem_;
  int depth_ = 0;
  bool wanted_ = false, found_ = false;
};

}  // namespace

void read_json_text(std::string_view line, const std::string& key, const std::string& source,
                    std::string& text) {
  Finder finder(key, text);
  json::sax_parse(line, &finder);
  const std::string problem = finder.problem();
  if (!problem.empty()) throw DataError(source + ": " + problem);
}

}  // namespace dagpam::data
