#include "data/indexed_dataset.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>

#include "configs/errors.h"
#include "data/file_dataset.h"
#include "data/llmc_file.h"
#include "data/megatron_index.h"
#include "data/stream_digest.h"

namespace dagpam::data {
namespace {

constexpr char kBinExtension[] = ".bin";

// Size and 64 evenly spread pieces of 4 KiB: tells other data of the same shape apart without
// reading all.
void add_samples(const InputFile& file, StreamDigest& digest) {
  constexpr int64_t kPieces = 64;
  std::array<char, 4096> piece;
  const int64_t size = file.size();
  digest.update(&size, sizeof(size));
  const auto length = std::min<int64_t>(size, piece.size());
  for (int64_t i = 0; i < kPieces; ++i) {
    // i * gap + i * rest / 63 without overflow: from the first piece to the last
    const int64_t gap = (size - length) / (kPieces - 1), rest = (size - length) % (kPieces - 1);
    file.read(i * gap + i * rest / (kPieces - 1), piece.data(), static_cast<size_t>(length));
    digest.update(piece.data(), static_cast<size_t>(length));
  }
}

// The sidecar's digest of the split that `path` names; nothing where there is no sidecar or it has
// none. A sidecar that counts other tokens belongs to other files.
std::optional<std::string> recorded_digest(const std::string& path, int64_t tokens) {
  const auto* const split = std::find_if(
      std::begin(kSplits), std::end(kSplits),
      [&](const SplitFields& fields) { return path.ends_with(split_path("", fields.name)); });
  if (split == std::end(kSplits)) return std::nullopt;
  const std::string prefix = path.substr(0, path.size() - split_path("", split->name).size());
  const std::optional<Sidecar> sidecar = find_sidecar(prefix);
  if (!sidecar) return std::nullopt;
  const int64_t recorded = (*sidecar).*split->tokens;
  if (recorded != tokens) {
    throw DataError(path + ".bin: holds " + std::to_string(tokens) + " tokens, expected " +
                    (recorded < 0 ? "no such split" : std::to_string(recorded)) + " as in " +
                    prefix + ".json: prepare the data again");
  }
  if (((*sidecar).*split->digest).empty()) return std::nullopt;
  return (*sidecar).*split->digest;
}

std::unique_ptr<FileDataset> open_megatron(const std::string& path) {
  InputFile bin(path + kBinExtension);
  const std::string idx_path = path + ".idx";
  MegatronIndex index = read_megatron_index(idx_path, bin.size());
  std::optional<std::string> digest = recorded_digest(path, index.tokens);
  if (!digest) {
    StreamDigest identity;
    identity.update(InputFile(idx_path));
    add_samples(bin, identity);
    digest = identity.hex();
  }
  FileLayout layout{index.type, 0, index.tokens, index.sequences, std::move(index.document_starts)};
  return std::make_unique<FileDataset>(path, std::move(bin), std::move(layout), *digest);
}

std::unique_ptr<FileDataset> open_llmc(const std::string& path) {
  InputFile file(path);
  const LlmcHeader header = read_llmc_header(file);
  StreamDigest identity;
  add_samples(file, identity);
  FileLayout layout{header.type, kLlmcHeaderBytes, header.tokens, 1, {}};
  if (header.tokens > 0) layout.document_starts = {0};
  return std::make_unique<FileDataset>(path, std::move(file), std::move(layout), identity.hex());
}

}  // namespace

std::unique_ptr<FileDataset> open_file_dataset(const std::string& path) {
  return path.ends_with(kBinExtension) ? open_llmc(path) : open_megatron(path);
}

std::unique_ptr<TokenDataset> open_dataset(const std::string& path) {
  return open_file_dataset(path);
}

std::string split_path(const std::string& prefix, const std::string& split) {
  return prefix.ends_with(kBinExtension) ? prefix : prefix + "." + split;
}

}  // namespace dagpam::data
