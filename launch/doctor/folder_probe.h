// launch/doctor/folder_probe.h: is the run folder fit for a run? Writes, flushes, renames and locks
// a file a rank, looks for the others' files, and removes them again.
#pragma once

#include <cstdint>
#include <string>

#include "launch/doctor/finding.h"

namespace dagpam::parallel {
class Communicator;
}  // namespace dagpam::parallel

namespace dagpam::launch {

struct FolderReport {
  Findings findings;      // the same on every rank
  std::string folder;     // that was written to: the run folder, or the nearest one above it
  double free_bytes = 0;  // there, of rank 0
  double write_mb_s = 0;  // of rank 0, flushed to the disk; 0 where nothing was written
  double fsync_ms = 0, rename_ms = 0;
};

struct FolderWishes {
  int64_t write_bytes = 64 << 20;  // by rank 0; the others write 64 KiB
  double needed_bytes = 0;         // that a run will keep there; 0: not known
  double patience_s = 10;          // a network file system may show names late
};

// A collective: every rank of `world` names the run folder, by a path of its own. A folder that is
// not there yet is not made: train does that.
FolderReport probe_folder(const std::string& run_dir, const FolderWishes& wishes,
                          parallel::Communicator& world);

// RUN/LOCK, on one rank: held by a run that lives, or left behind by one that died.
Findings judge_lock(const std::string& run_dir);

}  // namespace dagpam::launch
