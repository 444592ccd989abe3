#include "data/indexed_writer.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <limits>

#include "configs/errors.h"
#include "data/megatron_index.h"
#include "data/token_type.h"

namespace dagpam::data {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is written as it lies in memory");

TokenType type_of(TokenWidth width) {
  return width == TokenWidth::kU16 ? TokenType::kU16 : TokenType::kI32;
}

}  // namespace

TokenWidth token_width(int64_t vocab_size) {
  return vocab_size < 65500 ? TokenWidth::kU16 : TokenWidth::kI32;
}

IndexedWriter::IndexedWriter(const std::string& path_without_extension, TokenWidth width,
                             int64_t longest_sequence)
    : path_(path_without_extension),
      width_(width),
      longest_sequence_(longest_sequence),
      bin_(path_ + ".bin"),
      idx_(path_ + ".idx") {}

void IndexedWriter::add_document(std::span<const int32_t> ids) {
  append(ids);
  end_document();
}

void IndexedWriter::append(std::span<const int32_t> ids) {
  check_ids(ids);
  while (!ids.empty()) {
    const auto room = static_cast<size_t>(longest_sequence_ - open_tokens_);
    const auto piece = ids.first(std::min(room, ids.size()));
    write_tokens(piece);
    tokens_ += static_cast<int64_t>(piece.size());
    open_tokens_ += static_cast<int64_t>(piece.size());
    if (open_tokens_ == longest_sequence_) end_sequence();
    ids = ids.subspan(piece.size());
  }
}

void IndexedWriter::end_document() {
  if (open_tokens_ > 0) end_sequence();
  const auto sequences = static_cast<int64_t>(lengths_.size());
  const int64_t before = document_ends_.empty() ? 0 : document_ends_.back();
  if (sequences > before) document_ends_.push_back(sequences);
}

void IndexedWriter::finish(Durability durability) {
  end_document();
  if (tokens_ == 0) {
    throw DataError(path_ + ".bin: 0 tokens to write, expected at least 1: the text is empty");
  }
  write_index();
  bin_.sync(durability);
  idx_.sync(durability);
  const bool durable = durability == Durability::kDurable;
  // An index of an earlier data set must never stand beside the new tokens, not even after a power
  // cut.
  if (std::remove(idx_.path().c_str()) == 0 && durable) sync_folder_of(path_);
  bin_.commit();
  idx_.commit();
  if (durable) sync_folder_of(path_);
  digest_ = bytes_so_far_.hex();
}

void IndexedWriter::check_ids(std::span<const int32_t> ids) const {
  const int32_t largest =
      width_ == TokenWidth::kU16 ? UINT16_MAX : std::numeric_limits<int32_t>::max();
  const auto bad =
      std::find_if(ids.begin(), ids.end(), [=](int32_t id) { return id < 0 || id > largest; });
  if (bad == ids.end()) return;
  throw DataError(path_ + ".bin: token " + std::to_string(tokens_ + (bad - ids.begin())) +
                  " has id " + std::to_string(*bad) + ", expected 0 to " + std::to_string(largest) +
                  " in " + token_type_name(type_of(width_)) + " tokens");
}

void IndexedWriter::write_tokens(std::span<const int32_t> ids) {
  if (width_ == TokenWidth::kI32) {
    write_bin(ids.data(), ids.size_bytes());
    return;
  }
  narrow_.resize(ids.size());
  std::transform(ids.begin(), ids.end(), narrow_.begin(),
                 [](int32_t id) { return static_cast<uint16_t>(id); });
  write_bin(narrow_.data(), narrow_.size() * sizeof(uint16_t));
}

void IndexedWriter::write_bin(const void* bytes, size_t size) {
  bin_.write(bytes, size);
  bytes_so_far_.update(bytes, size);
}

void IndexedWriter::write_idx(const void* bytes, size_t size) {
  idx_.write(bytes, size);
  bytes_so_far_.update(bytes, size);
}

void IndexedWriter::end_sequence() {
  lengths_.push_back(static_cast<int32_t>(open_tokens_));
  open_tokens_ = 0;
}

void IndexedWriter::write_index() {
  const TokenType type = type_of(width_);
  const uint8_t code = megatron_code(type);
  const uint64_t sequences = lengths_.size();
  const uint64_t boundaries = document_ends_.size() + 1;
  write_idx(kMegatronMagic, sizeof(kMegatronMagic));
  write_idx(&kMegatronVersion, sizeof(kMegatronVersion));
  write_idx(&code, sizeof(code));
  write_idx(&sequences, sizeof(sequences));
  write_idx(&boundaries, sizeof(boundaries));
  write_idx(lengths_.data(), lengths_.size() * sizeof(int32_t));
  int64_t pointer = 0;
  for (const int32_t length : lengths_) {
    write_idx(&pointer, sizeof(pointer));
    pointer += length * token_bytes(type);
  }
  const int64_t first = 0;
  write_idx(&first, sizeof(first));
  write_idx(document_ends_.data(), document_ends_.size() * sizeof(int64_t));
}

}  // namespace dagpam::data
