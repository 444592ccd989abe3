// trainer/checkpoint/reader.h: a checkpoint folder, checked in full and then read under any layout.
//
// Nothing is used before everything is checked: manifest, names (exactly those files, all regular),
// sizes, digests of every block, shard headers against the manifest, cover of every tensor. What
// breaks a rule throws CheckpointError naming file and block or field; nothing outside the folder
// is opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "configs/manifest.pb.h"
#include "trainer/checkpoint/boxes.h"
#include "trainer/checkpoint/file_operations.h"

namespace dagpam::checkpoint {

// With `parts` ranks that open the same checkpoint, rank `part` reads the data of its share of the
// files (and the first block of the others); together they have read all. Each must then hear of
// the others' errors.
struct OpenOptions {
  int part = 0, parts = 1;
};

// Rows [offset, offset + size) of dimension cut_dim, or with cut_dim -1 the whole tensor.
struct TensorRange {
  int cut_dim = -1;
  int64_t offset = 0, size = 0;
};

// Keeps its files open: it stays readable when retention removes the folder meanwhile.
// Const calls may come from several threads.
class Checkpoint {
 public:
  const std::string& path() const { return path_; }
  const configs::Manifest& manifest() const { return manifest_; }

  // nullptr where it holds no such tensor.
  const configs::Manifest::Tensor* find(const std::string& name) const;

  // out <- that part of the tensor, C order; out.size() is its size in bytes. Throws
  // CheckpointError where there is no such tensor or range, or `out` has another size.
  void read_tensor(const std::string& name, const TensorRange& range,
                   std::span<std::byte> out) const;
  void read_tensor(const std::string& name, const Box& box, std::span<std::byte> out) const;

  std::string read_copy(const std::string& name) const;  // e.g. kConfigName

 private:
  struct StoredPiece {
    Box box;
    int file = 0;
    int64_t begin = 0;  // byte in the file
  };
  struct StoredTensor {
    int index = 0;  // in the manifest
    int64_t element_bytes = 0;
    std::vector<StoredPiece> pieces;
  };

  Checkpoint(std::string path, configs::Manifest manifest);
  void open_files(FileSystem& fs, const OpenOptions& options);
  void match_headers();
  void match_header(int file, const std::map<std::string, Box>& expected);
  friend std::unique_ptr<Checkpoint> open_checkpoint(FileSystem& fs, const std::string& path,
                                                     const OpenOptions& options);

  std::string path_;
  configs::Manifest manifest_;
  std::vector<std::unique_ptr<InputFile>> files_;  // as in the manifest
  std::map<std::string, StoredTensor> tensors_;
};

std::unique_ptr<Checkpoint> open_checkpoint(FileSystem& fs, const std::string& path,
                                            const OpenOptions& options = {});

// The manifest alone, checked in itself; no other file is looked at.
configs::Manifest read_manifest(FileSystem& fs, const std::string& path);

// Throws CheckpointError unless the folder holds the manifest, its files and nothing else.
void check_names(FileSystem& fs, const std::string& path, const configs::Manifest& manifest);

}  // namespace dagpam::checkpoint
