#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>

#include "configs/errors.h"
#include "trainer/checkpoint/blocks.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::checkpoint {
namespace {

using configs::Manifest;

class Checker {
 public:
  Checker(const Manifest& manifest, const std::string& path) : manifest_(manifest), path_(path) {}

  void run() {
    scalars();
    position();
    files();
    shards();
    tensors();
  }

 private:
  [[noreturn]] void refuse(const std::string& problem) const {
    throw CheckpointError(path_ + ": " + problem);
  }
  void need(bool holds, const std::string& field, const std::string& expected) const {
    if (!holds) refuse(field + " is missing or bad: expected " + expected);
  }
  static bool is_plain(const std::string& text) {
    return !text.empty() && text.size() <= 200 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  }

  void scalars() const {
    const Manifest& m = manifest_;
    need(m.format_version() == kFormatVersion, "format_version", std::to_string(kFormatVersion));
    need(is_plain(m.program_version()), "program_version", "a version");
    need(is_run_id(m.run_id()), "run_id", "1 to 64 letters, digits or -");
    need(m.has_step() && m.step() >= 0, "step", "a number from 0 on");
    need(m.has_tokens_seen() && m.tokens_seen() >= 0, "tokens_seen", "a number from 0 on");
    need(m.has_seed(), "seed", "a number");
    need(is_digest(m.config_digest()), "config_digest", "32 lower-case hex digits");
    need(is_digest(m.tokenizer_digest()), "tokenizer_digest", "32 lower-case hex digits");
    need(m.block_bytes() == kBlockBytes, "block_bytes", std::to_string(kBlockBytes));
    const int64_t data = m.grid().data();
    const int64_t tensor = m.grid().tensor();
    constexpr int64_t kMostRanks = 99'999;  // five digits in a shard's name
    need(data >= 1 && tensor >= 1 && data <= kMostRanks && tensor <= kMostRanks / data, "grid",
         "data and tensor of at least 1, at most 99999 ranks");
    if (m.has_schedule()) {
      need(m.schedule().decay_steps() >= 0, "schedule.decay_steps", "a number from 0 on");
      need(std::isfinite(m.schedule().lr()), "schedule.lr", "a finite number");
    }
    need(std::isfinite(m.loss()), "loss", "a finite number");
    need(std::isfinite(m.valid_nll()), "valid_nll", "a finite number");
    need(m.guard().skipped() >= 0 && m.guard().rollbacks() >= 0, "guard", "counts from 0 on");
    need(m.guard().losses_size() == m.guard().norms_size(), "guard", "as many losses as norms");
    need(std::isfinite(m.log_window().loss_sum()) && m.log_window().steps() >= 0, "log_window",
         "a finite sum and a number of steps from 0 on");
  }

  void position() const {
    const Manifest::Position& position = manifest_.position();
    need(position.has_next_sample() && position.next_sample() >= 0, "position.next_sample",
         "a number from 0 on");
    for (const Manifest::Source& source : position.sources()) {
      need(is_plain(source.digest()), "position.sources.digest", "a digest");
      need(source.has_drawn() && source.drawn() >= 0, "position.sources.drawn",
           "a number from 0 on");
      need(source.drawn_before_weights() >= 0 && source.drawn_before_weights() <= source.drawn(),
           "position.sources.drawn_before_weights", "a number from 0 to drawn");
    }
  }

  void files() {
    for (const Manifest::File& file : manifest_.files()) {
      const std::string name = "file " + in_quotes(file.name());
      need(is_file_name(file.name()) && file.name() != kManifestName, name,
           "letters, digits, '.', '_' and '-', no folder");
      if (!names_.insert(file.name()).second) refuse(name + " stands twice");
      need(file.has_bytes() && file.bytes() >= 0, name + ": bytes", "a number from 0 on");
      const int64_t blocks = file.bytes() / kBlockBytes + (file.bytes() % kBlockBytes != 0);
      need(file.blocks_size() == blocks, name + ": blocks",
           std::to_string(blocks) + " digests for " + std::to_string(file.bytes()) + " bytes");
      for (const std::string& digest : file.blocks()) {
        need(is_digest(digest), name + ": blocks", "32 lower-case hex digits each");
      }
    }
    for (const char* name : {kConfigName, kTokenizerName}) {
      need(names_.count(name) == 1, "file " + in_quotes(name), "to be among the files");
    }
  }

  void shards() const {
    const int ranks = static_cast<int>(manifest_.grid().data() * manifest_.grid().tensor());
    for (int rank = 0; rank < ranks; ++rank) {
      const std::string name = shard_name(rank, ranks);
      need(names_.count(name) == 1, "file " + in_quotes(name),
           "one shard for each of the grid's ranks");
    }
    const auto found = std::count_if(names_.begin(), names_.end(), [](const std::string& name) {
      return name.starts_with("shard-");
    });
    need(found == ranks, "files", std::to_string(ranks) + " shards for the grid");
  }

  void tensors() const {
    std::set<std::string> names;
    for (const Manifest::Tensor& tensor : manifest_.tensors()) {
      const std::string name = "tensor " + in_quotes(tensor.name());
      need(is_tensor_name(tensor.name()), name, "a printable name");
      if (!names.insert(tensor.name()).second) refuse(name + " stands twice");
      const int64_t width = dtype_bytes(tensor.dtype());
      need(width > 0, name + ": dtype " + in_quotes(tensor.dtype()), "a safetensors type");
      need(tensor.shape_size() <= static_cast<int>(kMaxDims), name, "at most 8 dimensions");
      const Shape global = shape_of(tensor);
      const std::optional<int64_t> count = elements(global);
      int64_t bytes = 0;
      if (!count || __builtin_mul_overflow(*count, width, &bytes)) {
        refuse(name + ": shape " + to_text(global) + " has more bytes than can be counted");
      }
      pieces(tensor, global, name);
    }
  }

  void pieces(const Manifest::Tensor& tensor, const Shape& global, const std::string& name) const {
    need(tensor.pieces_size() <= static_cast<int>(kMaxPieces), name, "fewer pieces");
    std::set<int> files;
    std::vector<Box> boxes;
    for (const Manifest::Piece& piece : tensor.pieces()) {
      const bool known =
          piece.has_file() && piece.file() >= 0 && piece.file() < manifest_.files_size();
      need(known && manifest_.files(piece.file()).name().starts_with("shard-"), name + ": file",
           "the index of a shard");
      if (!files.insert(piece.file()).second) refuse(name + " has two pieces in one file");
      boxes.push_back(box_of(piece));
      if (!is_inside(boxes.back(), global)) {
        refuse(name + ": a piece is not inside its shape " + to_text(global));
      }
    }
    const std::string problem = cover_problem(global, boxes);
    if (!problem.empty()) refuse(name + ": " + problem);
  }

  const Manifest& manifest_;
  const std::string& path_;
  std::set<std::string> names_;
};

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

void check_manifest(const Manifest& manifest, const std::string& path) {
  Checker(manifest, path).run();
}

std::string shard_name(int rank, int ranks) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "shard-%05d-of-%05d.safetensors", rank, ranks);
  return name.data();
}

bool is_file_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return is_word_character(c) || c == '.' || c == '_' || c == '-';
         });
}

bool is_tensor_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "__metadata__" &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return c > ' ' && c <= '~' && c != '"' && c != '\'' && c != '\\';
         });
}

bool is_weight(std::string_view tensor) { return !tensor.starts_with("optimizer."); }

bool is_run_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 &&
         std::all_of(id.begin(), id.end(), [](char c) { return is_word_character(c) || c == '-'; });
}

Box box_of(const Manifest::Piece& piece) {
  return {Shape(piece.start().begin(), piece.start().end()),
          Shape(piece.shape().begin(), piece.shape().end())};
}

Shape shape_of(const Manifest::Tensor& tensor) {
  return Shape(tensor.shape().begin(), tensor.shape().end());
}

}  // namespace dagpam::checkpoint
