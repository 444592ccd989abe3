#include "data/tokenizer.h"

#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "data/byte_tokenizer.h"
#include "data/char_tokenizer.h"
#include "data/digest.h"
#include "data/gpt2_files.h"
#include "data/gpt2_tokenizer.h"
#include "data/lines.h"
#include "data/sidecar.h"
#include "data/spm_tokenizer.h"
#include "data/strict_json.h"
#include "data/text_error.h"
#include "data/utf8.h"
#include "data/word_tokenizer.h"

namespace dagpam::data {
namespace {

constexpr std::string_view kGpt2Prefix = "gpt2:";
constexpr std::string_view kSpmPrefix = "spm:";
constexpr std::string_view kDataPrefix = "data:";

std::u32string code_points(std::string_view text) {
  std::u32string points;
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_code_point(text, i);
    points.push_back(point.value);
    i += static_cast<size_t>(point.length);
  }
  return points;
}

}  // namespace

std::string Tokenizer::digest() const { return xxh3_hex(to_json()); }

void Tokenizer::encode_lines(std::string_view text, std::vector<int32_t>& out,
                             std::vector<size_t>& ends) const {
  LineReader lines(text);
  for (std::string_view line; lines.next(line);) {
    try {
      encode_prompt(line, out);
    } catch (const TextError& error) {
      throw error.within("text", text, lines.offset());
    }
    ends.push_back(out.size());
  }
}

void Tokenizer::require_id(int32_t id) const {
  if (id >= 0 && id < vocab_size()) return;
  throw DataError(kind() + " tokenizer: token id " + std::to_string(id) +
                  " is outside the vocabulary, expected 0 to " + std::to_string(vocab_size() - 1));
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec,
                                          std::span<const std::string_view> training_texts) {
  if (spec == "byte") return std::make_unique<ByteTokenizer>();
  if (spec == "char") return CharTokenizer::from_texts(training_texts);
  if (spec == "word") return WordTokenizer::from_texts(training_texts);
  if (spec.starts_with(kGpt2Prefix) && spec.size() > kGpt2Prefix.size()) {
    return std::make_unique<Gpt2Tokenizer>(read_gpt2_files(spec.substr(kGpt2Prefix.size())));
  }
  if (spec.starts_with(kSpmPrefix) && spec.size() > kSpmPrefix.size()) {
    return SpmTokenizer::from_file(spec.substr(kSpmPrefix.size()));
  }
  if (spec.starts_with(kDataPrefix) && spec.size() > kDataPrefix.size()) {
    return tokenizer_from_json(read_sidecar(spec.substr(kDataPrefix.size())).tokenizer_json);
  }
  throw ConfigError(
      "--tokenizer '" + spec +
      "': expected byte, char, word, gpt2:DIR (DIR holds encoder.json and vocab.bpe), "
      "spm:MODEL (of `dagpam-tokenize train`) or data:PREFIX (that of a data set)");
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec, std::string_view training_text) {
  return make_tokenizer(spec, std::span(&training_text, 1));
}

std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json) {
  const std::string source = "tokenizer description";
  const nlohmann::json object = parse_object(json, source);
  const std::string kind = string_field(object, "kind", source);
  if (kind == "byte") {
    require_only(object, {"kind"}, source);
    return std::make_unique<ByteTokenizer>();
  }
  if (kind == "char") {
    require_only(object, {"kind", "characters"}, source);
    return std::make_unique<CharTokenizer>(code_points(string_field(object, "characters", source)));
  }
  if (kind == "word") {
    require_only(object, {"kind", "words"}, source);
    return std::make_unique<WordTokenizer>(strings_field(object, "words", source));
  }
  if (kind == "gpt2") {
    require_only(object, {"kind", "tokens", "merges"}, source);
    return std::make_unique<Gpt2Tokenizer>(Gpt2Vocabulary{
        strings_field(object, "tokens", source), strings_field(object, "merges", source), source});
  }
  if (kind == "spm") return spm_from_json(json);
  throw DataError(source + ": kind " + quote_for_message(kind) +
                  ": expected byte, char, word, gpt2 or spm");
}

}  // namespace dagpam::data
