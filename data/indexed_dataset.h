// data/indexed_dataset.h: token files, read where they lie.
//
// Reads Megatron's indexed format (.bin + .idx, version 1;
// megatron/core/datasets/indexed_dataset.py) and llm.c's .bin (dev/data/data_common.py). Every
// size, offset and count is checked when a file is opened.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "data/sidecar.h"

namespace dagpam::data {

// One split of a data set, as one long row of tokens with document boundaries.
class TokenDataset {
 public:
  virtual ~TokenDataset() = default;
  virtual int64_t tokens() const = 0;
  virtual std::span<const int64_t> document_starts()
      const = 0;  // ascending token offsets; first is 0
  // Of the file's identity: the sidecar's digest of the split, else over the index, the size and
  // samples of the tokens (cheap; it cannot see every change).
  virtual std::string digest() const = 0;
  virtual std::string path() const = 0;

  // out <- tokens [offset, offset + out.size()). Throws DataError naming file, position and id
  // where an id is negative or not below `vocab`, or the range passes the end.
  virtual void read(int64_t offset, std::span<int64_t> out, int64_t vocab) const = 0;
};

// `path` without extension (PREFIX.train: Megatron), or a file that ends in .bin with llm.c's magic
// (one document). Where PREFIX.json is there it must agree with the files. Throws DataError naming
// file, field, value and what was expected. Any number of threads may read from the result.
std::unique_ptr<TokenDataset> open_dataset(const std::string& path);

// Path of a split for open_dataset: PREFIX.SPLIT, or `prefix` itself where it ends in .bin (llm.c).
std::string split_path(const std::string& prefix, const std::string& split);

}  // namespace dagpam::data
