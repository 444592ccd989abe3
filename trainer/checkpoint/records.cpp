#include "trainer/checkpoint/records.h"

#include <map>

#include "configs/errors.h"
#include "trainer/checkpoint/manifest.h"

namespace dagpam::checkpoint {
namespace {

using configs::Manifest;
using configs::ShardRecord;

ShardRecord parse_record(const std::string& bytes, size_t rank, size_t ranks,
                         const Manifest& manifest) {
  ShardRecord record;
  if (!record.ParseFromString(bytes) || record.rank() != static_cast<int>(rank) ||
      record.ranks() != static_cast<int>(ranks) || record.step() != manifest.step() ||
      record.run_id() != manifest.run_id()) {
    throw CheckpointError("shard record " + std::to_string(rank) + " of " + std::to_string(ranks) +
                          " is not of step " + std::to_string(manifest.step()) + " of run " +
                          in_quotes(manifest.run_id()) +
                          ": gather what write_shard gave, in rank order");
  }
  return record;
}

bool same_tensor(const Manifest::Tensor& tensor, const ShardRecord::Entry& entry) {
  return tensor.dtype() == entry.dtype() &&
         std::equal(tensor.shape().begin(), tensor.shape().end(), entry.global_shape().begin(),
                    entry.global_shape().end());
}

}  // namespace

Manifest::File describe(const std::string& name, const WrittenFile& written) {
  Manifest::File file;
  file.set_name(name);
  file.set_bytes(written.bytes);
  for (const std::string& block : written.blocks) file.add_blocks(block);
  return file;
}

void add_shards(const std::vector<std::string>& records, Manifest& manifest) {
  std::map<std::string, int> index;  // of a tensor in the manifest
  for (size_t rank = 0; rank < records.size(); ++rank) {
    const ShardRecord record = parse_record(records[rank], rank, records.size(), manifest);
    const int file = manifest.files_size();
    *manifest.add_files() = record.file();
    for (const ShardRecord::Entry& entry : record.entries()) {
      const auto [place, is_new] = index.emplace(entry.name(), manifest.tensors_size());
      if (is_new) {
        Manifest::Tensor& tensor = *manifest.add_tensors();
        tensor.set_name(entry.name());
        tensor.set_dtype(entry.dtype());
        *tensor.mutable_shape() = entry.global_shape();
      }
      Manifest::Tensor& tensor = *manifest.mutable_tensors(place->second);
      if (!same_tensor(tensor, entry)) {
        throw CheckpointError("tensor " + in_quotes(entry.name()) + ": rank " +
                              std::to_string(rank) +
                              " gives it another type or global shape than an earlier rank");
      }
      Manifest::Piece& piece = *tensor.add_pieces();
      piece.set_file(file);
      *piece.mutable_start() = entry.start();
      *piece.mutable_shape() = entry.shape();
    }
  }
}

}  // namespace dagpam::checkpoint
