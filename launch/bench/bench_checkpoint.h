// launch/bench/bench_checkpoint.h: how fast a checkpoint is written and read, beside plain writes
// and reads of as many bytes on the same disk.
#pragma once

#include <cstdint>
#include <string>

namespace dagpam::launch {

struct CheckpointBenchOptions {
  std::string folder = ".";  // on the disk that is measured; a folder in it comes and goes
  int64_t mib = 512;         // size of the tensors
  int64_t rounds = 3;
  bool json = false;
};

// One rank, no model. In each round ours and the plain one take turns: every write makes a new
// file, every read comes after its pages were dropped from the page cache (posix_fadvise). Rows:
//   write     shard, copies, manifest, all fsyncs, rename; beside 4 MiB writes and one fsync
//   digested write   4 MiB writes and their digests, one fsync; beside the same without digests
//   fastest write, fastest digested write   the fastest rounds in place of the medians: a virtual
//             disk may serve a write several times as fast where it has the blocks already
//   digest    XXH3-128 of the blocks on one thread, beside that write: its share
//   verify    everything opened and checked as before any use; beside 4 MiB reads of the shard
//   load      the same, then every tensor read into memory
// and those of bench_save.h: how long a save in the background makes training wait.
// Throws IoError where the folder cannot be written or has no room.
void bench_checkpoint(const CheckpointBenchOptions& options);

}  // namespace dagpam::launch
