// data/indexed_writer.h: writes token files in Megatron's indexed format, version 1.
//
// PATH.bin holds the tokens of all sequences one after the other, PATH.idx their lengths, byte
// offsets and the documents they belong to (layout: data/megatron_index.h). Tokens stream to disk;
// memory grows by 12 bytes a document.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/atomic_file.h"
#include "data/stream_digest.h"

namespace dagpam::data {

enum class TokenWidth { kU16, kI32 };

// Megatron's own rule: u16 below 65,500 symbols, else i32.
TokenWidth token_width(int64_t vocab_size);

// Both files appear under their names in finish() or not at all; a writer that is destroyed before
// leaves what was there. IoError names the path and the system's reason; DataError an id that the
// width cannot hold.
class IndexedWriter {
 public:
  // `path_without_extension`: PREFIX.train, for example. Its folder must exist. The format counts
  // the tokens of a sequence in 31 bits: a longer document becomes several sequences of one
  // document.
  IndexedWriter(const std::string& path_without_extension, TokenWidth width,
                int64_t longest_sequence = INT32_MAX);

  // A document of its own. One without tokens leaves no trace: readers count documents that hold
  // something.
  void add_document(std::span<const int32_t> ids);

  // The same in pieces: any number of append(), then end_document().
  void append(std::span<const int32_t> ids);
  void end_document();

  // Ends an open document, makes both files durable and gives them their names, .idx last (a .bin
  // without its .idx is no data set). Throws DataError where no token was added. Call once.
  // kPassing: not durable, for another to read now.
  void finish(Durability durability = Durability::kDurable);

  int64_t tokens() const { return tokens_; }
  int64_t documents() const { return static_cast<int64_t>(document_ends_.size()); }

  // XXH3-128 over the bytes of .bin, then of .idx: the split's digest in the sidecar. After
  // finish().
  const std::string& digest() const { return digest_; }

 private:
  void check_ids(std::span<const int32_t> ids) const;
  void write_tokens(std::span<const int32_t> ids);
  void write_bin(const void* bytes, size_t size);
  void write_idx(const void* bytes, size_t size);
  void end_sequence();
  void write_index();

  std::string path_;
  TokenWidth width_;
  int64_t longest_sequence_;
  AtomicFile bin_;
  AtomicFile idx_;
  StreamDigest bytes_so_far_;
  std::string digest_;
  int64_t tokens_ = 0;
  int64_t open_tokens_ = 0;             // of the sequence that is being written
  std::vector<int32_t> lengths_;        // tokens of each finished sequence
  std::vector<int64_t> document_ends_;  // sequences up to and with each document
  std::vector<uint16_t> narrow_;        // ids on their way to a u16 file
};

}  // namespace dagpam::data
