// trainer/checkpoint/report.h: checkpoints as text for people (`dagpam ckpt ls` and `dagpam ckpt
// show`).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/manifest.pb.h"
#include "trainer/checkpoint/file_system.h"

namespace dagpam::checkpoint {

// One checkpoint of a run; all but step and path is from its manifest.
struct CheckpointRow {
  int64_t step = 0;
  std::string path;
  std::string problem;  // not empty: the manifest cannot be read, and why; the rest is then 0
  int64_t tokens = 0;
  int64_t bytes = 0;  // of all files
  int64_t data_ranks = 0, tensor_ranks = 0;
  double loss = 0;  // NaN: not saved
};

// By ascending step, from the manifests alone: says nothing about the data (see open_checkpoint).
std::vector<CheckpointRow> rows(FileSystem& fs, const std::string& directory);

// A table with a heading, one line a row.
std::string to_table(const std::vector<CheckpointRow>& rows);

// What a manifest says: run, step, tokens, digests, grid, position, files, and a line for each
// tensor.
std::string show(const configs::Manifest& manifest);

std::string human_bytes(int64_t bytes);  // "1.50 GiB"

}  // namespace dagpam::checkpoint
