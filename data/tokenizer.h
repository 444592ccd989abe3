// data/tokenizer.h: text to token ids and back.
//
// Any thread may call any tokenizer; calls on one gpt2 or spm tokenizer wait for each other.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dagpam::data {

// Ids that stand for no text; -1: none.
struct SpecialIds {
  int32_t pad = -1, bos = -1, eos = -1;  // filling, beginning and end of a sentence
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string kind() const = 0;  // "byte", "char", "word", "gpt2", "spm"
  virtual int64_t vocab_size() const = 0;

  // Appends the ids of `text`. Throws TextError (a DataError, data/text_error.h) naming position
  // and symbol where the vocabulary lacks it, or where the text is not UTF-8 (byte takes any
  // bytes).
  virtual void encode(std::string_view text, std::vector<int32_t>& out) const = 0;

  // The same for the beginning of a text that goes on, as a prompt is: word gives no <eos> for a
  // last line that has no line end yet.
  virtual void encode_prompt(std::string_view text, std::vector<int32_t>& out) const {
    encode(text, out);
  }

  // What encode_prompt gives for each line of `text`, without its line end: appended to `out`, of
  // which `ends` gets the size after each line. A sentence a line; fewer calls for tokenizers that
  // cost something a call.
  virtual void encode_lines(std::string_view text, std::vector<int32_t>& out,
                            std::vector<size_t>& ends) const;

  // Text of `ids`; an id outside the vocabulary throws DataError. The text of more ids begins with
  // that of the first ones; with byte, gpt2 and spm it may end (or begin) within a character.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;

  // The id that marks the end of a text in a stream of texts (gpt2: <|endoftext|>, spm: </s>), -1
  // where there is none. encode never gives it: that string inside a text is encoded like any
  // other.
  virtual int32_t end_of_text() const { return -1; }

  virtual SpecialIds special_ids() const { return {}; }

  // A place where `text` may be cut, so that encoding the parts in order gives the ids of the
  // whole: the last one in [1, limit], else the first one after, text.size() at most. 1 <= limit <=
  // text.size().
  virtual size_t cut(std::string_view text, size_t limit) const = 0;

  // Everything needed to make the same tokenizer again, as one JSON object (a copy goes into each
  // checkpoint), and 32 hex digits of XXH3-128 over it.
  virtual std::string to_json() const = 0;
  std::string digest() const;

 protected:
  // DataError where `id` is outside [0, vocab_size()).
  void require_id(int32_t id) const;
};

// T of `data prepare --tokenizer T`: byte, char, word, gpt2:DIR, spm:MODEL, data:PREFIX (that of an
// earlier data set). char and word take their vocabulary from the training texts: characters
// (Unicode code points, by code point) or words (by first appearance, with <eos>). Throws
// ConfigError for any other T, DataError where the texts, the files in DIR or MODEL are bad.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec,
                                          std::span<const std::string_view> training_texts);
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec, std::string_view training_text);

// From to_json(). Throws DataError.
std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json);

}  // namespace dagpam::data
