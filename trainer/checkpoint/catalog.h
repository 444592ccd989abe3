// trainer/checkpoint/catalog.h: the checkpoints of a run: their names, which one is meant, which
// may go.
//
// DIRECTORY/step-00001000              a committed checkpoint (more digits past 99,999,999)
// DIRECTORY/.tmp-step-00001000-LEASE   a save under way, or one that died
// DIRECTORY/.trash-step-00001000-LEASE being removed by retention
// DIRECTORY/.damaged-step-...          a damaged checkpoint that a later save of its step set aside
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/file_system.h"

namespace dagpam::checkpoint {

std::string step_name(int64_t step);
std::string temporary_name(int64_t step, const std::string& lease);
std::string trash_name(int64_t step, const std::string& lease);
std::string damaged_name(int64_t step, const std::string& lease);
std::optional<int64_t> step_of(
    const std::string& path);  // of the last part, where it is a step_name

struct StepFolder {
  int64_t step = 0;
  std::string path;
};

// Committed checkpoints by ascending step. Looks at names and kinds alone: links and other files do
// not count. Empty where the directory is missing.
std::vector<StepFolder> list_checkpoints(FileSystem& fs, const std::string& directory);

struct Resolved {
  std::string path;  // empty: "auto" found none
  std::vector<std::string>
      skipped;  // "latest-valid": why newer ones were passed over, one line each
};

// What `--resume SPEC` means in a run folder: "auto" (the latest, or none), "latest" (the newest
// committed; if it is damaged, opening it says so), "latest-valid" (the newest that verifies in
// full), a step number, or the path of a checkpoint. Throws CheckpointError where there is none.
Resolved resolve(FileSystem& fs, const std::string& run_dir, const std::string& spec);

// What `--checkpoint C` means: a checkpoint folder, or the latest in a run folder or its
// checkpoints/.
std::string find_checkpoint(FileSystem& fs, const std::string& path);

// Removes saves and removals that died: .tmp-step-*-LEASE and .trash-step-*-LEASE of other leases
// than this one. Call it on rank 0 while the run's lock is held. Returns the names.
std::vector<std::string> remove_stale(FileSystem& fs, const std::string& directory,
                                      const std::string& lease);

struct Retention {
  int64_t keep = 0;        // newest ones kept; 0: all
  int64_t keep_every = 0;  // checkpoints at multiples of it are kept too; 0: none
  int64_t keep_best = 0;  // of those evaluated, the ones of the lowest validation loss are kept too
};

// Removes older checkpoints, after the newest has been read back in full; throws CheckpointError
// and removes nothing where it does not verify. Each is renamed to its trash name, durably, before
// its files go, so that no step folder is ever seen in part. Returns the steps removed.
std::vector<int64_t> prune(FileSystem& fs, const std::string& directory, const Retention& retention,
                           const std::string& lease);

}  // namespace dagpam::checkpoint
