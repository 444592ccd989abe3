// data/prepare_job.h: what the parts of `data prepare` share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/mapped_file.h"
#include "data/peers.h"
#include "data/prepare.h"
#include "data/progress.h"
#include "data/tokenizer.h"

namespace dagpam::data {

// The texts of one split.
struct SplitTexts {
  const SplitFields* fields = nullptr;
  std::vector<MappedFile> files;
};

// A call of prepare() on one peer.
struct PrepareJob {
  const PrepareOptions& options;
  Peers& peers;
  std::string staged;  // StagedFiles::prefix() of rank 0

  // Throws Interrupted where give_up says so, PeerFailed where a peer's work has thrown. To be
  // asked every MiB of text or so.
  void check() const;

  // together() on all peers; where it throws on one, the others' check() tells them.
  std::vector<std::string> together(const std::function<std::string()>& work) const;

  // What this peer takes of a split.
  std::vector<TextPart> share_of(const SplitTexts& split, const Cut& cut) const;
};

// Bounds how often check() is asked.
class Checks {
 public:
  explicit Checks(const PrepareJob& job) : job_(job) {}
  void after(size_t bytes) {
    if ((bytes_ += bytes) < (size_t{1} << 20)) return;
    bytes_ = 0;
    job_.check();
  }

 private:
  const PrepareJob& job_;
  size_t bytes_ = 0;
};

// Encodes a split into staged files; adds tokens, bytes, characters and digest to `sidecar`.
// `utf8`: all of the split's bytes are (else nobody knows its characters).
void prepare_split(const PrepareJob& job, const Tokenizer& tokenizer, const SplitTexts& split,
                   bool utf8, Progress& progress, Sidecar& sidecar);

}  // namespace dagpam::data
