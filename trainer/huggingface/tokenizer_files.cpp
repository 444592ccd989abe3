#include "trainer/huggingface/tokenizer_files.h"

#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "data/base64.h"
#include "data/gpt2_files.h"
#include "data/gpt2_tokenizer.h"
#include "data/utf8.h"
#include "data/word_tokenizer.h"

namespace dagpam::huggingface {

using nlohmann::json;

namespace {

// Unicode's White_Space but the line end, as data::is_whitespace has it, in a class of a pattern.
constexpr char kBlanks[] =
    "[\\x{9}\\x{b}-\\x{d} \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}]+";

std::string utf8(char32_t point) {
  std::string text;
  data::append_code_point(point, text);
  return text;
}

json pattern(const char* text) { return {{"Regex", text}}; }

json split(json by, const char* behavior) {
  return {{"type", "Split"}, {"pattern", std::move(by)}, {"behavior", behavior}, {"invert", false}};
}

json byte_level(bool words) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", words}};
}

json bpe(json vocabulary, json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

json word_level(json vocabulary) {
  // A text with what the vocabulary lacks is an error where the unknown word is not in it either.
  return {{"type", "WordLevel"}, {"vocab", std::move(vocabulary)}, {"unk_token", "<unk>"}};
}

// The parts of tokenizer.json that differ by kind.
struct Parts {
  json normalizer = nullptr, pre_tokenizer = nullptr, decoder = nullptr, model;
};

std::string print(Parts parts) {
  const json all{{"version", "1.0"},
                 {"truncation", nullptr},
                 {"padding", nullptr},
                 {"added_tokens", json::array()},
                 {"normalizer", std::move(parts.normalizer)},
                 {"pre_tokenizer", std::move(parts.pre_tokenizer)},
                 {"post_processor", nullptr},
                 {"decoder", std::move(parts.decoder)},
                 {"model", std::move(parts.model)}};
  return all.dump() + "\n";
}

Parts byte_parts() {
  json vocabulary = json::object();
  const auto alphabet = data::gpt2_byte_alphabet();
  for (size_t byte = 0; byte < alphabet.size(); ++byte) vocabulary[utf8(alphabet[byte])] = byte;
  return {nullptr, byte_level(false), byte_level(false), bpe(std::move(vocabulary), json::array())};
}

Parts gpt2_parts(const json& description) {
  json vocabulary = json::object(), merges = json::array();
  for (const auto& token : description.at("tokens")) {
    const size_t id = vocabulary.size();
    vocabulary[token.get<std::string>()] = id;
  }
  for (const auto& merge : description.at("merges")) {
    const auto text = merge.get<std::string>();
    const size_t space = text.find(' ');
    merges.push_back(json::array({text.substr(0, space), text.substr(space + 1)}));
  }
  return {nullptr, byte_level(true), byte_level(true),
          bpe(std::move(vocabulary), std::move(merges))};
}

Parts char_parts(const json& description) {
  const auto characters = description.at("characters").get<std::string>();
  json vocabulary = json::object();
  for (size_t i = 0; i < characters.size();) {
    const auto length = static_cast<size_t>(data::decode_code_point(characters, i).length);
    const size_t id = vocabulary.size();
    vocabulary[characters.substr(i, length)] = id;
    i += length;
  }
  return {nullptr,
          split(pattern("[\\s\\S]"), "Isolated"),
          {{"type", "Fuse"}},
          word_level(std::move(vocabulary))};
}

Parts word_parts(const json& description) {
  json vocabulary = json::object();
  for (const auto& word : description.at("words")) {
    const size_t id = vocabulary.size();
    vocabulary[word.get<std::string>()] = id;
  }
  const auto replace = [](json what, const char* with) -> json {
    return {{"type", "Replace"}, {"pattern", std::move(what)}, {"content", with}};
  };
  // No word holds a line end, so that prefix never occurs: each word but the first gets a space.
  const json spaces{{"type", "WordPiece"}, {"prefix", "\n"}, {"cleanup", false}};
  const json steps = json::array(
      {spaces, {{"type", "Fuse"}}, replace(pattern(" ?(?<![^ ])<eos>(?![^ ]) ?"), "\n")});
  return {replace({{"String", "\n"}}, " <eos> "),
          split(pattern(kBlanks), "Removed"),
          {{"type", "Sequence"}, {"decoders", steps}},
          word_level(std::move(vocabulary))};
}

json tokenizer_config(int64_t context) {
  return {{"tokenizer_class", "PreTrainedTokenizerFast"},
          {"model_max_length", context},
          {"padding_side", "left"},
          {"clean_up_tokenization_spaces", false},
          // A special token that is spelt out in a text is text.
          {"split_special_tokens", true}};
}

}  // namespace

std::vector<TextFile> tokenizer_files(const std::string& tokenizer_json, int64_t context) {
  const json description = json::parse(tokenizer_json);
  const auto kind = description.at("kind").get<std::string>();
  json config = tokenizer_config(context);
  if (kind == "spm") {
    config.erase("tokenizer_class");
    const auto model = data::from_base64(description.at("model").get<std::string>());
    return {{"tokenizer.model", model.value_or("")},
            {"tokenizer_config.json", config.dump(2) + "\n"}};
  }
  Parts parts;
  if (kind == "byte") parts = byte_parts();
  if (kind == "char") parts = char_parts(description);
  if (kind == "word") parts = word_parts(description);
  if (kind == "gpt2") {
    parts = gpt2_parts(description);
    if (parts.model.at("vocab").contains(data::kGpt2EndOfText)) {
      for (const char* role : {"bos_token", "eos_token", "pad_token"}) {
        config[role] = data::kGpt2EndOfText;
      }
    }
  }
  return {{"tokenizer.json", print(std::move(parts))},
          {"tokenizer_config.json", config.dump(2) + "\n"}};
}

}  // namespace dagpam::huggingface
