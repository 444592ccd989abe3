#include "data/megatron_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include "configs/errors.h"
#include "data/input_file.h"

namespace dagpam::data {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is read as it lies in memory");

[[noreturn]] void refuse(const InputFile& file, const std::string& field, const std::string& value,
                         const std::string& expected) {
  throw DataError(file.path() + ": " + field + " is " + value + ", expected " + expected +
                  "; prepare the data again");
}

template <typename Value>
[[noreturn]] void refuse(const InputFile& file, const std::string& field, Value value,
                         const std::string& expected) {
  refuse(file, field, std::to_string(value), expected);
}

std::string at(const std::string& array, int64_t index) {
  return array + "[" + std::to_string(index) + "]";
}

struct Header {
  TokenType type = TokenType::kU16;
  int64_t sequences = 0;
  int64_t boundaries = 0;
};

std::optional<TokenType> type_of_code(uint8_t code) {
  for (const TokenType type : {TokenType::kU8, TokenType::kU16, TokenType::kI32, TokenType::kI64}) {
    if (megatron_code(type) == code) return type;
  }
  return std::nullopt;
}

// The counts are checked against the file's size before anything is computed from them.
Header read_header(const InputFile& file) {
  if (file.size() < kMegatronHeaderBytes) {
    refuse(file, "its size", file.size(), "at least the header's 34 bytes");
  }
  std::array<char, kMegatronHeaderBytes> bytes;
  file.read(0, bytes.data(), bytes.size());
  if (std::memcmp(bytes.data(), kMegatronMagic, sizeof(kMegatronMagic)) != 0) {
    refuse(file, "its start", std::string("something else"), "MMIDIDX (Megatron's index)");
  }
  uint64_t version = 0, sequences = 0, boundaries = 0;
  std::memcpy(&version, &bytes[9], sizeof(version));
  const auto code = static_cast<uint8_t>(bytes[17]);
  std::memcpy(&sequences, &bytes[18], sizeof(sequences));
  std::memcpy(&boundaries, &bytes[26], sizeof(boundaries));
  if (version != kMegatronVersion) refuse(file, "version", version, "1");
  const auto type = type_of_code(code);
  if (!type) refuse(file, "the token type", code, "1 (u8), 4 (i32), 5 (i64) or 8 (u16)");
  const auto body = static_cast<uint64_t>(file.size() - kMegatronHeaderBytes);
  if (sequences > body / 12) {
    refuse(file, "the number of sequences", sequences,
           "at most " + std::to_string(body / 12) + " in a file of this size");
  }
  if (boundaries < 1 || boundaries > body / 8) {
    refuse(file, "the number of document boundaries", boundaries,
           "1 to " + std::to_string(body / 8) + " in a file of this size");
  }
  const uint64_t needed = 12 * sequences + 8 * boundaries;
  if (sequences > 0 && body == needed + sequences) {
    refuse(file, "the array of modes", std::string("present"),
           "none: a multimodal data set is not text");
  }
  if (body != needed) {
    refuse(file, "its size", file.size(),
           std::to_string(needed + kMegatronHeaderBytes) + " bytes for " +
               std::to_string(sequences) + " sequences and " + std::to_string(boundaries) +
               " document boundaries");
  }
  return {*type, static_cast<int64_t>(sequences), static_cast<int64_t>(boundaries)};
}

// One array of the index from front to back, in blocks: memory does not grow with the file.
template <typename Value>
class Column {
 public:
  Column(const InputFile& file, int64_t first_byte, int64_t count)
      : file_(file), next_byte_(first_byte), left_(count) {}

  Value next() {
    if (used_ == block_.size()) refill();
    return block_[used_++];
  }

 private:
  void refill() {
    constexpr int64_t kBlock = 8192;
    block_.resize(static_cast<size_t>(std::min(left_, kBlock)));
    file_.read(next_byte_, block_.data(), block_.size() * sizeof(Value));
    next_byte_ += static_cast<int64_t>(block_.size() * sizeof(Value));
    left_ -= static_cast<int64_t>(block_.size());
    used_ = 0;
  }

  const InputFile& file_;
  int64_t next_byte_;
  int64_t left_;
  std::vector<Value> block_;
  size_t used_ = 0;
};

// Follows the document boundaries along the sequences and notes where documents start.
class DocumentWalk {
 public:
  DocumentWalk(const InputFile& file, const Header& header, int64_t first_byte)
      : file_(file), header_(header), boundaries_(file, first_byte, header.boundaries) {
    boundary_ = boundaries_.next();
    if (boundary_ != 0) refuse(file_, at("document boundary", 0), boundary_, "0");
  }

  // To be called for sequence 0, 1, ... and at last for their number.
  void arrive(int64_t sequence, int64_t tokens_before) {
    while (index_ < header_.boundaries && boundary_ == sequence) {
      if (starts_.empty() || starts_.back() < tokens_before) starts_.push_back(tokens_before);
      advance();
    }
  }

  std::vector<int64_t> finish(int64_t tokens) {
    if (boundary_ != header_.sequences) {
      refuse(file_, "the last document boundary", boundary_,
             std::to_string(header_.sequences) + ", the number of sequences");
    }
    if (!starts_.empty() && starts_.back() == tokens) starts_.pop_back();
    return std::move(starts_);
  }

 private:
  void advance() {
    if (++index_ == header_.boundaries) return;
    const int64_t next = boundaries_.next();
    if (next < boundary_ || next > header_.sequences) {
      refuse(file_, at("document boundary", index_), next,
             std::to_string(boundary_) + " to " + std::to_string(header_.sequences));
    }
    boundary_ = next;
  }

  const InputFile& file_;
  const Header& header_;
  Column<int64_t> boundaries_;
  int64_t index_ = 0;
  int64_t boundary_ = 0;
  std::vector<int64_t> starts_;
};

}  // namespace

uint8_t megatron_code(TokenType type) {
  switch (type) {
    case TokenType::kU8:
      return 1;
    case TokenType::kI32:
      return 4;
    case TokenType::kI64:
      return 5;
    case TokenType::kU16:
      return 8;
    case TokenType::kU32:
      break;
  }
  throw DataError("Megatron's format has no u32 tokens");
}

MegatronIndex read_megatron_index(const std::string& path, int64_t bin_bytes) {
  const InputFile file(path);
  const Header header = read_header(file);
  const int64_t width = token_bytes(header.type);
  const int64_t first_pointer = kMegatronHeaderBytes + 4 * header.sequences;
  Column<int32_t> lengths(file, kMegatronHeaderBytes, header.sequences);
  Column<int64_t> pointers(file, first_pointer, header.sequences);
  DocumentWalk documents(file, header, first_pointer + 8 * header.sequences);

  int64_t end = 0;  // bytes of .bin that the sequences so far fill
  for (int64_t sequence = 0; sequence < header.sequences; ++sequence) {
    documents.arrive(sequence, end / width);
    const int64_t pointer = pointers.next();
    if (pointer != end) {
      refuse(file, at("sequence pointer", sequence), pointer,
             std::to_string(end) + ", where the sequence before it ends");
    }
    const int32_t length = lengths.next();
    const int64_t room = (bin_bytes - end) / width;
    if (length < 0 || length > room) {
      refuse(file, at("sequence length", sequence), length,
             "0 to " + std::to_string(room) + " tokens, what is left of .bin");
    }
    end += length * width;
  }
  documents.arrive(header.sequences, end / width);
  if (end != bin_bytes) {
    refuse(file, "the end of the last sequence", end,
           std::to_string(bin_bytes) + ", the size of .bin in bytes");
  }
  return {header.type, end / width, header.sequences, documents.finish(end / width)};
}

}  // namespace dagpam::data
