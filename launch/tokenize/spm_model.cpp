#include "launch/tokenize/spm_model.h"

#include <sentencepiece_processor.h>

#include <charconv>

#include "configs/errors.h"
#include "configs/text.h"

namespace dagpam::tokenize {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's sign for a space

// The byte that a piece such as <0x0A> stands for.
char byte_of(std::string_view piece) {
  unsigned value = 0;
  std::from_chars(piece.data() + 3, piece.data() + piece.size() - 1, value, 16);
  return static_cast<char>(value);
}

std::string with_spaces(std::string_view piece) {
  std::string text;
  for (size_t i = 0; i < piece.size();) {
    const bool space = piece.substr(i).starts_with(kSpace);
    text += space ? std::string_view(" ") : piece.substr(i, 1);
    i += space ? kSpace.size() : 1;
  }
  return text;
}

// The id of `piece`; -1 where the model lacks it.
int32_t find(const sentencepiece::SentencePieceProcessor& processor, const char* piece) {
  const int id = processor.PieceToId(piece);
  return processor.IsUnknown(id) ? -1 : id;
}

}  // namespace

SpmModel::SpmModel(std::string_view bytes, const std::string& source)
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  const auto status = processor_->LoadFromSerializedProto({bytes.data(), bytes.size()});
  if (!status.ok() || processor_->GetPieceSize() < 1) {
    throw DataError(source + ": is no SentencePiece model (" +
                    configs::one_line(status.ToString(), 120) +
                    "), expected a .model file, as `dagpam-tokenize train` writes it");
  }
  facts_.vocab = processor_->GetPieceSize();
  facts_.pad = processor_->pad_id();
  facts_.unknown = processor_->unk_id();
  facts_.bos = processor_->bos_id();
  facts_.eos = processor_->eos_id();
  facts_.line_end = find(*processor_, "<0x0A>");
  if (facts_.line_end < 0) facts_.line_end = find(*processor_, "\n");
  for (int32_t id = 0; id < facts_.vocab; ++id) {
    const std::string& piece = processor_->IdToPiece(id);
    Piece& made = pieces_.emplace_back();
    if (processor_->IsControl(id)) continue;
    made.text = processor_->IsByte(id) ? std::string(1, byte_of(piece)) : with_spaces(piece);
    made.starts_a_word = piece.starts_with(kSpace);
  }
  std::vector<int> ids;
  leading_space_ = processor_->Encode("a", &ids).ok() && !ids.empty() &&
                   pieces_[static_cast<size_t>(ids.front())].starts_a_word;
}

SpmModel::~SpmModel() = default;

void SpmModel::encode(std::string_view text, std::vector<int32_t>& out) const {
  for (size_t begin = 0;;) {
    const size_t end = text.find('\n', begin);
    encode_line(text.substr(begin, end == std::string_view::npos ? end : end - begin), out);
    if (end == std::string_view::npos) return;
    if (facts_.line_end < 0) {
      throw DataError(
          "the SentencePiece model has no piece for a line end (<0x0A> of byte fallback): train "
          "one with `dagpam-tokenize train`");
    }
    out.push_back(facts_.line_end);
    begin = end + 1;
  }
}

void SpmModel::encode_line(std::string_view line, std::vector<int32_t>& out) const {
  if (line.empty()) return;
  std::vector<int> ids;
  const auto status = processor_->Encode({line.data(), line.size()}, &ids);
  if (!status.ok()) {
    throw DataError("SentencePiece refused a line: " + configs::one_line(status.ToString(), 120));
  }
  out.insert(out.end(), ids.begin(), ids.end());
}

std::string SpmModel::decode(std::span<const int32_t> ids) const {
  std::string text;
  bool at_line_start = true;
  for (const int32_t id : ids) {
    if (id < 0 || id >= facts_.vocab) {
      throw DataError("token id " + std::to_string(id) +
                      " is outside the vocabulary, expected 0 to " +
                      std::to_string(facts_.vocab - 1));
    }
    const Piece& piece = pieces_[static_cast<size_t>(id)];
    if (piece.text.empty()) continue;
    const bool drop_space = at_line_start && leading_space_ && piece.starts_a_word;
    text += std::string_view(piece.text).substr(drop_space ? 1 : 0);
    at_line_start = id == facts_.line_end;
  }
  return text;
}

}  // namespace dagpam::tokenize
