// launch/tokenize/spm_model.h: a SentencePiece model, and what it means by a text of several lines.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/spm_protocol.h"

namespace sentencepiece {
class SentencePieceProcessor;
}  // namespace sentencepiece

namespace dagpam::tokenize {

class SpmModel {
 public:
  // Bytes of a .model file; `source` names it. Throws DataError where they are none.
  SpmModel(std::string_view bytes, const std::string& source);
  ~SpmModel();

  const data::SpmFacts& facts() const { return facts_; }

  // Appends the ids of valid UTF-8. Each line is encoded as SentencePiece does it, by itself; a
  // line end becomes facts().line_end between (the byte <0x0A> of models with byte fallback).
  // Throws DataError where there is a line end and no such id.
  void encode(std::string_view text, std::vector<int32_t>& out) const;

  // Joins the pieces: bytes of byte pieces as they are (SentencePiece puts U+FFFD for a part of a
  // character), nothing for pad, bos and eos, and without the space that encoding puts before a
  // line. Throws DataError for an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids) const;

 private:
  struct Piece {
    std::string text;            // bytes, spaces as spaces
    bool starts_a_word = false;  // begins with a space of the model
  };

  void encode_line(std::string_view line, std::vector<int32_t>& out) const;

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  data::SpmFacts facts_;
  std::vector<Piece> pieces_;   // by id
  bool leading_space_ = false;  // encoding puts a space before a line
};

}  // namespace dagpam::tokenize
