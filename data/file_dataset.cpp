#include "data/file_dataset.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

template <typename Stored>
void read_as(const InputFile& file, int64_t first_byte, std::span<int64_t> out) {
  std::array<Stored, 8192 / sizeof(Stored)> block;
  while (!out.empty()) {
    const size_t count = std::min(out.size(), block.size());
    file.read(first_byte, block.data(), count * sizeof(Stored));
    std::copy_n(block.begin(), count, out.begin());
    first_byte += static_cast<int64_t>(count * sizeof(Stored));
    out = out.subspan(count);
  }
}

}  // namespace

FileDataset::FileDataset(std::string path, InputFile file, FileLayout layout, std::string digest)
    : path_(std::move(path)),
      file_(std::move(file)),
      layout_(std::move(layout)),
      digest_(std::move(digest)) {}

void FileDataset::read(int64_t offset, std::span<int64_t> out, int64_t vocab) const {
  read_unchecked(offset, out);
  const auto limit = static_cast<uint64_t>(std::max<int64_t>(vocab, 0));
  // As unsigned numbers negative ids are the largest: one comparison finds both kinds of bad ones.
  const auto bad = std::find_if(out.begin(), out.end(),
                                [=](int64_t id) { return static_cast<uint64_t>(id) >= limit; });
  if (bad == out.end()) return;
  throw DataError(file_.path() + ": token " + std::to_string(offset + (bad - out.begin())) +
                  " has id " + std::to_string(*bad) + ", expected 0 to " +
                  std::to_string(vocab - 1) + "; run `dagpam data verify`");
}

void FileDataset::read_unchecked(int64_t offset, std::span<int64_t> out) const {
  const auto count = static_cast<int64_t>(out.size());
  if (offset < 0 || count > layout_.tokens || offset > layout_.tokens - count) {
    throw DataError(file_.path() + ": " + std::to_string(count) + " tokens from token " +
                    std::to_string(offset) + " were asked for, expected a range of its " +
                    std::to_string(layout_.tokens));
  }
  const int64_t first_byte = layout_.first_byte + offset * token_bytes(layout_.type);
  switch (layout_.type) {
    case TokenType::kU8:
      return read_as<uint8_t>(file_, first_byte, out);
    case TokenType::kU16:
      return read_as<uint16_t>(file_, first_byte, out);
    case TokenType::kI32:
      return read_as<int32_t>(file_, first_byte, out);
    case TokenType::kU32:
      return read_as<uint32_t>(file_, first_byte, out);
    case TokenType::kI64:
      return read_as<int64_t>(file_, first_byte, out);
  }
}

}  // namespace dagpam::data
