// trainer/checkpoint/writer.h: one save, from every rank's pieces to a committed folder.
//
// Each rank writes its own shard into DIRECTORY/.tmp-step-N-LEASE/ and fsyncs it. Rank 0 then gets
// all records, adds the copies and the manifest, fsyncs, and renames the folder to
// DIRECTORY/step-N: the only point at which the checkpoint begins to exist. Whatever fails or is
// killed before leaves older checkpoints as they were and a temporary folder, which remove_stale
// (catalog.h) removes later.
//
//   CheckpointWriter writer(fs, options);                    // every rank, same options
//   std::string mine = writer.write_shard(rank, ranks, pieces);
//   records = communicator.all_gather_bytes(mine);           // a rank that failed must end the job
//   if (rank == 0) writer.commit(base, records, copies);
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "configs/manifest.pb.h"
#include "trainer/checkpoint/boxes.h"
#include "trainer/checkpoint/file_system.h"

namespace dagpam::checkpoint {

// What a rank gives of a global tensor: a box of it. All ranks' pieces of a tensor cover it exactly
// once: a replicated tensor is given by one rank alone. The bytes (C order, contiguous) are only
// read while write_shard runs.
struct TensorPiece {
  std::string name, dtype;  // e.g. "layers.3.attention.w_neg", "F32"; once a rank
  std::vector<int64_t> global_shape;
  Box box;
  std::span<const std::byte> bytes;
};

struct SaveOptions {
  std::string directory;  // RUN/checkpoints; made if it is missing
  int64_t step = 0;       // optimizer steps done
  std::string
      run_id;  // made once for a run, kept when it is resumed: 1 to 64 letters, digits and -
  std::string
      lease;  // RunLock::lease() of rank 0: 32 hex digits, new with each start of the program
  // Gets a line where a save is about to start that the disk has no room for. It is tried all the
  // same: file systems that compress or have quotas know no better.
  std::function<void(const std::string&)> warn = {};
};

// A file that is stored whole: config.textproto and tokenizer.json are needed, others may follow.
struct FileCopy {
  std::string name, bytes;
};

class CheckpointWriter {
 public:
  CheckpointWriter(FileSystem& fs, SaveOptions options);

  // Writes this rank's shard, durable when it returns. The answer describes it to commit() of rank
  // 0. Throws IoError; CheckpointError where a piece contradicts itself.
  std::string write_shard(int rank, int ranks, const std::vector<TensorPiece>& pieces);

  // Rank 0, when every rank's write_shard has returned; records in rank order. `base` holds what
  // the trainer knows: tokens_seen, seed, config_digest, tokenizer_digest, grid, position,
  // schedule, loss; the rest is filled in here. `before_rename` is called last of all and stops the
  // save by throwing (RunLock::check). Returns the folder. Where it exists already nothing is
  // overwritten:
  //   it verifies and holds the same step, tokens, position and tensors bit by bit: kept, this save
  //   is dropped; it verifies and holds others: CheckpointError; it is damaged: it is set aside as
  //   .damaged-step-N-LEASE, never removed, and this save takes its place.
  // Throws CheckpointError before anything is visible where shards, sizes or cover do not fit.
  std::string commit(const configs::Manifest& base, const std::vector<std::string>& records,
                     const std::vector<FileCopy>& copies,
                     const std::function<void()>& before_rename = {});

  // Removes what this save has written so far; for rank 0 after a failure. Never throws.
  void discard() noexcept;

 private:
  void check_room(int64_t bytes, int ranks) const;
  void write_copy(const FileCopy& copy, configs::Manifest& manifest);
  void check_folder(const configs::Manifest& manifest) const;
  enum class Room { kFree, kSame, kDamaged };
  Room look_at(const std::string& target) const;  // throws where it holds other values

  FileSystem& fs_;
  SaveOptions options_;
  std::string temporary_;  // path of the folder
};

}  // namespace dagpam::checkpoint
