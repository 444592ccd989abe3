#include "data/gpt2_tokenizer.h"

#include <array>
#include <mutex>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "configs/errors.h"
#include "data/bpe.h"
#include "data/pretokenizer.h"
#include "data/strict_json.h"
#include "data/utf8.h"
#include "data/word_cache.h"

namespace dagpam::data {
namespace {

// Token strings are held as bytes; the alphabet is for files alone.
using TokenIds = std::unordered_map<std::string_view, int32_t>;

// Bytes of a token that is written in the alphabet.
class AlphabetReader {
 public:
  AlphabetReader() {
    const auto alphabet = gpt2_byte_alphabet();
    for (size_t byte = 0; byte < alphabet.size(); ++byte) {
      bytes_.emplace(alphabet[byte], static_cast<char>(byte));
    }
  }

  std::string read(const std::string& token, const std::string& source) const {
    std::string bytes;
    for (size_t i = 0; i < token.size();) {
      const CodePoint point = decode_code_point(token, i);
      const auto found = point.length == 0 ? bytes_.end() : bytes_.find(point.value);
      if (found == bytes_.end()) {
        throw DataError(source + ": token " + quote_for_message(token) +
                        " holds a character outside GPT-2's byte alphabet");
      }
      bytes.push_back(found->second);
      i += static_cast<size_t>(point.length);
    }
    return bytes;
  }

 private:
  std::unordered_map<char32_t, char> bytes_;
};

int32_t require_token(const TokenIds& ids, std::string_view bytes, const std::string& source,
                      const std::string& merge) {
  const auto found = ids.find(bytes);
  if (found != ids.end()) return found->second;
  throw DataError(source + ": merge " + quote_for_message(merge) +
                  ": its two parts and what they make must be tokens of the vocabulary");
}

std::vector<BpeMerges::Merge> read_merges(const Gpt2Vocabulary& vocabulary, const TokenIds& ids,
                                          const AlphabetReader& alphabet) {
  std::vector<BpeMerges::Merge> merges;
  merges.reserve(vocabulary.merges.size());
  for (const auto& merge : vocabulary.merges) {
    const size_t space = merge.find(' ');
    const bool two_parts = space != std::string::npos && space > 0 && space + 1 < merge.size();
    if (!two_parts) {
      throw DataError(vocabulary.source + ": merge " + quote_for_message(merge) +
                      ": expected two tokens with a space between");
    }
    const std::string left = alphabet.read(merge.substr(0, space), vocabulary.source);
    const std::string right = alphabet.read(merge.substr(space + 1), vocabulary.source);
    merges.push_back({require_token(ids, left, vocabulary.source, merge),
                      require_token(ids, right, vocabulary.source, merge),
                      require_token(ids, left + right, vocabulary.source, merge)});
  }
  return merges;
}

}  // namespace

struct Gpt2Tokenizer::Tables {
  std::vector<std::string> tokens;   // bytes, by id
  std::vector<std::string> merges;   // as written, by rank
  std::array<int32_t, 256> of_byte;  // id of each single byte
  BpeMerges bpe{{}};
  int32_t end_of_text = -1;
};

struct Gpt2Tokenizer::Scratch {
  std::mutex lock;
  Gpt2Pretokenizer words;
  WordCache cache;
  std::vector<int32_t> symbols;
};

Gpt2Tokenizer::Gpt2Tokenizer(const Gpt2Vocabulary& vocabulary)
    : scratch_(std::make_unique<Scratch>()) {
  const AlphabetReader alphabet;
  auto tables = std::make_unique<Tables>();
  tables->merges = vocabulary.merges;
  tables->tokens.reserve(vocabulary.tokens.size());
  TokenIds ids;
  for (const auto& token : vocabulary.tokens) {
    const auto id = static_cast<int32_t>(tables->tokens.size());
    tables->tokens.push_back(alphabet.read(token, vocabulary.source));
    if (token.empty() || !ids.emplace(tables->tokens.back(), id).second) {
      throw DataError(vocabulary.source + ": token " + quote_for_message(token) + " of id " +
                      std::to_string(id) + " is empty or there twice");
    }
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(std::string(1, static_cast<char>(byte)));
    if (found == ids.end()) {
      throw DataError(vocabulary.source + ": no token for the single byte " + std::to_string(byte) +
                      ", expected one for each of 256");
    }
    tables->of_byte[byte] = found->second;
  }
  tables->bpe = BpeMerges(read_merges(vocabulary, ids, alphabet));
  const auto end = ids.find(kGpt2EndOfText);
  if (end != ids.end()) tables->end_of_text = end->second;
  tables_ = std::move(tables);
}

Gpt2Tokenizer::~Gpt2Tokenizer() = default;

int64_t Gpt2Tokenizer::vocab_size() const { return static_cast<int64_t>(tables_->tokens.size()); }

int32_t Gpt2Tokenizer::end_of_text() const { return tables_->end_of_text; }

void Gpt2Tokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  require_utf8(text, "text");
  Scratch& scratch = *scratch_;
  const std::lock_guard guard(scratch.lock);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = scratch.words.word_end(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    begin = end;
    WordCache::Place place;
    const bool keep = word.size() <= WordCache::kMostBytes;
    if (keep) {
      const auto known = scratch.cache.find(word, place);
      if (!known.empty()) {
        out.insert(out.end(), known.begin(), known.end());
        continue;
      }
    }
    scratch.symbols.clear();
    for (const char byte : word) {
      scratch.symbols.push_back(tables_->of_byte[static_cast<unsigned char>(byte)]);
    }
    const size_t first = out.size();
    tables_->bpe.apply(scratch.symbols, out);
    if (keep) scratch.cache.insert(place, word, std::span(out).subspan(first));
  }
}

std::string Gpt2Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    require_id(id);
    text += tables_->tokens[static_cast<size_t>(id)];
  }
  return text;
}

std::string Gpt2Tokenizer::to_json() const {
  const auto alphabet = gpt2_byte_alphabet();
  std::vector<std::string> tokens;
  tokens.reserve(tables_->tokens.size());
  for (const auto& bytes : tables_->tokens) {
    std::string token;
    for (const char byte : bytes) {
      append_code_point(alphabet[static_cast<unsigned char>(byte)], token);
    }
    tokens.push_back(std::move(token));
  }
  return nlohmann::json{{"kind", "gpt2"}, {"tokens", tokens}, {"merges", tables_->merges}}.dump();
}

size_t Gpt2Tokenizer::cut(std::string_view text, size_t limit) const {
  // A white space character after an ASCII one that is none always begins a word, and what is after
  // it never changes how the pattern reads what is before.
  const auto good = [&text](size_t i) {
    const char before = text[i - 1];
    return (text[i] == ' ' || text[i] == '\n') && before > ' ' && before < 0x7F;
  };
  if (limit == text.size()) return limit;
  for (size_t i = limit; i > 0; --i) {
    if (good(i)) return i;
  }
  for (size_t i = limit + 1; i < text.size(); ++i) {
    if (good(i)) return i;
  }
  return text.size();
}

}  // namespace dagpam::data
