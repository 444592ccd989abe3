// data/sidecar.h: PREFIX.json, the description that `data prepare` writes beside its token files.
//
// One JSON object: format, version, vocab_size, tokenizer (to_json() of it, as a string, so that
// its digest holds to the byte), tokenizer_digest, splits.{train,valid,test}.{tokens, bytes,
// characters, digest, sources[].{name, bytes, digest}}.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dagpam::data {

// A text that went into a split.
struct SourceFile {
  std::string split;  // "train", "valid" or "test"
  std::string name;   // as given to `data prepare`
  int64_t bytes = 0;
  std::string digest;  // 32 hex digits of XXH3-128 over the text
};

struct Sidecar {
  std::string tokenizer_json;
  std::string tokenizer_digest;  // xxh3_hex(tokenizer_json)
  int64_t vocab_size = 0;
  // by split name "train", "valid", "test"; -1 where absent
  int64_t train_tokens = -1, valid_tokens = -1, test_tokens = -1;
  // bytes and characters of the source text of each split, for bits per byte and per character; -1
  // unknown
  int64_t valid_bytes = -1, valid_characters = -1, test_bytes = -1, test_characters = -1;
  int64_t train_bytes = -1, train_characters = -1;
  // IndexedWriter::digest() of each split; empty: unknown
  std::string train_digest, valid_digest, test_digest;
  std::vector<SourceFile> sources;
};

// One split's part of a Sidecar, by pointer to member.
struct SplitFields {
  const char* name;
  int64_t Sidecar::*tokens;
  int64_t Sidecar::*bytes;
  int64_t Sidecar::*characters;
  std::string Sidecar::*digest;
};
inline constexpr SplitFields kSplits[] = {
    {"train", &Sidecar::train_tokens, &Sidecar::train_bytes, &Sidecar::train_characters,
     &Sidecar::train_digest},
    {"valid", &Sidecar::valid_tokens, &Sidecar::valid_bytes, &Sidecar::valid_characters,
     &Sidecar::valid_digest},
    {"test", &Sidecar::test_tokens, &Sidecar::test_bytes, &Sidecar::test_characters,
     &Sidecar::test_digest},
};

// PREFIX.json. Throws DataError naming file and key: a missing, unknown or repeated key, a wrong
// type or range, a tokenizer that does not match its digest.
Sidecar read_sidecar(const std::string& prefix);

// The same; nothing where there is no PREFIX.json (data sets of other programs).
std::optional<Sidecar> find_sidecar(const std::string& prefix);

// Writes PREFIX.json whole or not at all, durably. Throws DataError where read_sidecar would refuse
// it.
void write_sidecar(const std::string& prefix, const Sidecar& sidecar);

}  // namespace dagpam::data
