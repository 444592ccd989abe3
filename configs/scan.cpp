#include "configs/scan.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <utility>

namespace dagpam::configs {
namespace {

using google::protobuf::io::Tokenizer;

// The parser has reported already; the second reading is silent.
class Silence : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, int, const std::string&) override {}
};

struct Frame {
  std::string block;
  Place opened;
  bool in_list = false;
};

class Scanner {
 public:
  // One token before the place at which to stop.
  void take(const Tokenizer::Token& token) {
    const Place at{token.line, token.column};
    if (token.type == Tokenizer::TYPE_SYMBOL) {
      take_symbol(token.text, at);
    } else if (frames_.back().in_list || after_colon_) {
      take_value(token.text, at);
    } else {
      field_ = token.text;
      field_at_ = at;
      value_.clear();
    }
  }

  Surroundings result() && {
    Surroundings around;
    for (size_t i = 1; i < frames_.size(); ++i) around.blocks.push_back(frames_[i].block);
    around.block_opened = frames_.back().opened;
    around.field = std::move(field_);
    around.field_at = field_at_;
    around.expects_value = after_colon_ || frames_.back().in_list;
    around.value = std::move(value_);
    around.value_at = value_at_;
    return around;
  }

 private:
  void take_symbol(const std::string& symbol, const Place& at) {
    if (symbol == ":") {
      after_colon_ = true;
      value_.clear();
    } else if (symbol == "{" || symbol == "<") {
      frames_.push_back({std::exchange(field_, ""), field_at_, false});
      after_colon_ = false;
      value_.clear();
    } else if (symbol == "}" || symbol == ">") {
      if (frames_.size() > 1) frames_.pop_back();
      field_.clear();
      after_colon_ = false;
      value_.clear();
    } else if (symbol == "[") {
      frames_.back().in_list = true;
    } else if (symbol == "]") {
      frames_.back().in_list = false;
      after_colon_ = false;
    } else if (symbol == "-") {
      value_ = "-";
      value_at_ = at;
    } else if (!frames_.back().in_list) {  // "," or ";" ends a field
      after_colon_ = false;
    }
  }

  void take_value(const std::string& text, const Place& at) {
    if (value_ == "-") {
      value_ += text;
    } else {
      value_ = text;
      value_at_ = at;
    }
    if (!frames_.back().in_list) after_colon_ = false;
  }

  std::vector<Frame> frames_{Frame{}};
  std::string field_;
  Place field_at_;
  bool after_colon_ = false;
  std::string value_;
  Place value_at_;
};

}  // namespace

Surroundings scan_until(const std::string& text, const Place& stop) {
  Silence silence;
  google::protobuf::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  Tokenizer tokenizer(&stream, &silence);
  tokenizer.set_comment_style(Tokenizer::SH_COMMENT_STYLE);
  tokenizer.set_allow_f_after_float(true);
  tokenizer.set_require_space_after_number(false);
  tokenizer.set_allow_multiline_strings(true);
  const auto before_stop = [&](const Tokenizer::Token& token) {
    return token.line < stop.line || (token.line == stop.line && token.column < stop.column);
  };
  Scanner scanner;
  std::string next;
  while (tokenizer.Next()) {
    const Tokenizer::Token& token = tokenizer.current();
    if (!before_stop(token)) {
      next += token.text;
      if (next != "-") break;
      continue;
    }
    scanner.take(token);
  }
  Surroundings around = std::move(scanner).result();
  around.next = std::move(next);
  return around;
}

}  // namespace dagpam::configs
