#include "trainer/checkpoint/writer.h"

#include "configs/errors.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/compare.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/records.h"
#include "trainer/checkpoint/report.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::checkpoint {
namespace {

using configs::Manifest;
using configs::ShardRecord;

// Describes a piece for the manifest. Throws where it contradicts itself.
ShardRecord::Entry describe(const TensorPiece& piece) {
  if (!is_tensor_name(piece.name) || !is_inside(piece.box, piece.global_shape)) {
    throw CheckpointError("tensor " + in_quotes(piece.name) + ": " + to_text(piece.box) +
                          " is not a part of " + to_text(piece.global_shape));
  }
  ShardRecord::Entry entry;
  entry.set_name(piece.name);
  entry.set_dtype(piece.dtype);
  entry.mutable_global_shape()->Assign(piece.global_shape.begin(), piece.global_shape.end());
  entry.mutable_start()->Assign(piece.box.start.begin(), piece.box.start.end());
  entry.mutable_shape()->Assign(piece.box.shape.begin(), piece.box.shape.end());
  return entry;
}

bool same_state(const Checkpoint& a, const Checkpoint& b) {
  const Manifest& x = a.manifest();
  const Manifest& y = b.manifest();
  return x.step() == y.step() && x.tokens_seen() == y.tokens_seen() &&
         x.position().SerializeAsString() == y.position().SerializeAsString() &&
         compare(a, b).equal();
}

}  // namespace

CheckpointWriter::CheckpointWriter(FileSystem& fs, SaveOptions options)
    : fs_(fs), options_(std::move(options)) {
  if (options_.step < 0 || !is_run_id(options_.run_id) || !is_digest(options_.lease)) {
    throw CheckpointError("cannot save: step " + std::to_string(options_.step) + ", run id " +
                          in_quotes(options_.run_id) + " or lease " + in_quotes(options_.lease) +
                          " is not valid");
  }
  temporary_ = options_.directory + "/" + temporary_name(options_.step, options_.lease);
}

std::string CheckpointWriter::write_shard(int rank, int ranks,
                                          const std::vector<TensorPiece>& pieces) {
  ShardRecord record;
  record.set_rank(rank);
  record.set_ranks(ranks);
  record.set_step(options_.step);
  record.set_run_id(options_.run_id);
  std::vector<SafetensorsTensor> tensors;
  int64_t bytes = 0;
  for (const TensorPiece& piece : pieces) {
    *record.add_entries() = describe(piece);
    bytes += static_cast<int64_t>(piece.bytes.size());
    tensors.push_back({piece.name, piece.dtype, piece.box.shape, piece.bytes});
  }
  make_folders(fs_, options_.directory);
  if (rank == 0) check_room(bytes, ranks);
  make_folder(fs_, temporary_);  // its name need not last: the rename gives it another
  const std::string name = shard_name(rank, ranks);
  BlockWriter file(fs_, temporary_ + "/" + name);
  write_safetensors(file, std::move(tensors),
                    {{"format", "pt"},
                     {"run_id", options_.run_id},
                     {"step", std::to_string(options_.step)},
                     {"shard", name}});
  *record.mutable_file() = checkpoint::describe(name, file.finish());
  return record.SerializeAsString();
}

std::string CheckpointWriter::commit(const Manifest& base, const std::vector<std::string>& records,
                                     const std::vector<FileCopy>& copies,
                                     const std::function<void()>& before_rename) {
  Manifest manifest = base;
  manifest.set_format_version(kFormatVersion);
  manifest.set_program_version(program_version());
  manifest.set_run_id(options_.run_id);
  manifest.set_step(options_.step);
  manifest.set_block_bytes(kBlockBytes);
  manifest.clear_files();
  manifest.clear_tensors();
  for (const FileCopy& copy : copies) write_copy(copy, manifest);
  add_shards(records, manifest);

  OutputFile file(fs_, temporary_ + "/" + kManifestName);
  file.write(as_bytes(print_manifest(manifest)));
  file.finish();
  check_folder(manifest);
  sync_folder(fs_, temporary_);

  const std::string target = options_.directory + "/" + step_name(options_.step);
  const Room room = look_at(target);
  if (before_rename) before_rename();
  if (room == Room::kSame) {
    remove_folder(fs_, temporary_);
    return target;
  }
  if (room == Room::kDamaged) {
    rename_path(fs_, target,
                options_.directory + "/" + damaged_name(options_.step, options_.lease));
  }
  rename_path(fs_, temporary_, target);
  sync_folder(fs_, options_.directory);
  return target;
}

void CheckpointWriter::discard() noexcept {
  try {
    if (status_of(fs_, temporary_)) remove_folder(fs_, temporary_);
  } catch (const Error&) {
    return;  // the next start removes it
  }
}

// The other ranks write about as much as this one.
void CheckpointWriter::check_room(int64_t bytes, int ranks) const {
  int64_t room = 0;
  if (!options_.warn || fs_.free_bytes(options_.directory, room) != 0) return;
  if (room / ranks >= bytes) return;
  options_.warn(options_.directory + ": the save of step " + std::to_string(options_.step) +
                " needs about " + human_bytes(bytes * ranks) + ", " + human_bytes(room) +
                " are free: free some space, or keep fewer checkpoints (checkpoint.keep)");
}

void CheckpointWriter::write_copy(const FileCopy& copy, Manifest& manifest) {
  if (!is_file_name(copy.name)) {
    throw CheckpointError("cannot save: " + in_quotes(copy.name) + " is not a plain file name");
  }
  BlockWriter file(fs_, temporary_ + "/" + copy.name);
  file.write(as_bytes(copy.bytes));
  *manifest.add_files() = checkpoint::describe(copy.name, file.finish());
}

// The folder holds the manifest and its files with their sizes, and nothing else.
void CheckpointWriter::check_folder(const Manifest& manifest) const {
  check_names(fs_, temporary_, manifest);
  for (const Manifest::File& file : manifest.files()) {
    const std::string path = temporary_ + "/" + file.name();
    const std::optional<FileStatus> status = status_of(fs_, path);
    if (!status || status->bytes != file.bytes()) {
      throw IoError(path + ": has " + std::to_string(status ? status->bytes : 0) + " bytes, " +
                    std::to_string(file.bytes()) +
                    " were written: another program interferes, or "
                    "the file system is not shared by all ranks");
    }
  }
}

CheckpointWriter::Room CheckpointWriter::look_at(const std::string& target) const {
  if (!status_of(fs_, target)) return Room::kFree;
  const std::unique_ptr<Checkpoint> mine = open_checkpoint(fs_, temporary_);
  std::unique_ptr<Checkpoint> old;
  try {
    old = open_checkpoint(fs_, target);
  } catch (const CheckpointError&) {
    return Room::kDamaged;
  }
  if (same_state(*old, *mine)) return Room::kSame;
  throw CheckpointError(target +
                        ": exists and holds other values for this step; nothing was "
                        "changed: move it away or use another run folder");
}

}  // namespace dagpam::checkpoint
