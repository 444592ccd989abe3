#include "data/gpt2_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "data/mapped_file.h"
#include "data/strict_json.h"
#include "data/utf8.h"

namespace dagpam::data {
namespace {

// Far above any vocabulary in use (the largest have 262,144 symbols of some ten bytes).
constexpr size_t kMostBytes = size_t{64} << 20;

MappedFile open_one_of(const std::string& folder, const char* name, const char* other) {
  const std::string path = folder + "/" + name;
  const std::string alternative = folder + "/" + other;
  const bool use_other = !std::filesystem::exists(path) && std::filesystem::exists(alternative);
  MappedFile file(use_other ? alternative : path);
  if (file.bytes().size() > kMostBytes) {
    throw DataError(file.path() + ": " + std::to_string(file.bytes().size()) +
                    " bytes, expected a tokenizer file of at most " + std::to_string(kMostBytes));
  }
  return file;
}

std::vector<std::string> tokens_by_id(const MappedFile& file) {
  const nlohmann::json object = parse_object(file.bytes(), file.path());
  std::vector<std::string> tokens(object.size());
  for (const auto& [token, id] : object.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= tokens.size()) {
      throw DataError(file.path() + ": token " + quote_for_message(token) +
                      ": expected a whole number below the number of tokens, " +
                      std::to_string(tokens.size()));
    }
    std::string& place = tokens[id.get<uint64_t>()];
    if (token.empty() || !place.empty()) {
      throw DataError(file.path() + ": id " + std::to_string(id.get<uint64_t>()) +
                      (token.empty() ? " has an empty token" : " is given twice"));
    }
    place = token;
  }
  return tokens;
}

std::vector<std::string> merge_lines(const MappedFile& file) {
  const std::string_view text = file.bytes();
  require_utf8(text, file.path());
  std::vector<std::string> lines;
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) end = text.size();
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number == 1 && line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    const bool two_parts = space != line.npos && space > 0 && space + 1 < line.size() &&
                           line.find(' ', space + 1) == line.npos;
    if (!two_parts) {
      throw DataError(file.path() + ": line " + std::to_string(number) +
                      ": expected two tokens with one space between");
    }
    lines.emplace_back(line);
  }
  return lines;
}

}  // namespace

Gpt2Vocabulary read_gpt2_files(const std::string& folder) {
  const MappedFile encoder = open_one_of(folder, "encoder.json", "vocab.json");
  const MappedFile merges = open_one_of(folder, "vocab.bpe", "merges.txt");
  return {tokens_by_id(encoder), merge_lines(merges), folder};
}

std::array<char32_t, 256> gpt2_byte_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    alphabet[byte] = prints ? byte : next++;
  }
  return alphabet;
}

}  // namespace dagpam::data
