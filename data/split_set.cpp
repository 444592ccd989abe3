#include "data/split_set.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <memory>

#include "configs/errors.h"
#include "configs/text.h"
#include "data/append_dataset.h"
#include "data/permutation.h"
#include "data/sidecar_file.h"
#include "data/staged_files.h"

namespace dagpam::data {
namespace {

const SplitFields& fields_of(const std::string& split) {
  return *std::find_if(std::begin(kSplits), std::end(kSplits),
                       [&](const SplitFields& fields) { return fields.name == split; });
}

bool is_split(const std::string& name) {
  return std::any_of(std::begin(kSplits), std::end(kSplits),
                     [&](const SplitFields& fields) { return fields.name == name; });
}

void check_parts(const std::vector<SplitPart>& parts) {
  double sum = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    sum += parts[i].share;
    for (size_t j = 0; j < i; ++j) {
      if (parts[j].prefix != parts[i].prefix || parts[j].split != parts[i].split) continue;
      throw ConfigError("--out: " + parts[i].prefix + ":" + parts[i].split +
                        " is given twice, expected each part once");
    }
  }
  if (std::abs(sum - 1) > 1e-9) {
    throw ConfigError("--out: the shares sum to " + configs::shown(sum) + ", expected 1");
  }
}

// Behind the documents of each part.
std::vector<int64_t> ends_of(const SplitOptions& options, const FileDataset& dataset) {
  const auto documents = std::ssize(dataset.document_starts());
  std::vector<int64_t> ends;
  double sum = 0;
  for (const SplitPart& part : options.parts) {
    sum += part.share;
    const int64_t before = ends.empty() ? 0 : ends.back();
    ends.push_back(&part == &options.parts.back()
                       ? documents
                       : std::llround(sum * static_cast<double>(documents)));
    if (ends.back() > before) continue;
    throw DataError(dataset.path() + ": has " + std::to_string(documents) +
                    " documents: " + part.prefix + ":" + part.split +
                    " would get none of them; take a larger share");
  }
  return ends;
}

// The files of one prefix.
struct Target {
  std::unique_ptr<StagedFiles> staged;
  Sidecar sidecar;
};

class Splitter {
 public:
  Splitter(const SplitOptions& options, const FileDataset& dataset,
           const std::optional<Sidecar>& sidecar)
      : options_(options), dataset_(dataset), sidecar_(sidecar) {
    const bool narrow = sidecar ? token_width(sidecar->vocab_size) == TokenWidth::kU16
                                : token_bytes(dataset.layout().type) <= 2;
    for (const SplitPart& part : options.parts) {
      Target& target = targets_[part.prefix];
      if (!target.staged) target = open_target(part.prefix);
      writers_.push_back(
          std::make_unique<IndexedWriter>(target.staged->prefix() + "." + part.split,
                                          narrow ? TokenWidth::kU16 : TokenWidth::kI32));
    }
  }

  void copy(const std::vector<int64_t>& ends) {
    const std::span<const int64_t> starts = dataset_.document_starts();
    const auto documents = std::ssize(starts);
    const Permutation drawn(mix_bits(options_.seed.value_or(0)), documents);
    const auto part_of = [&](int64_t document) {
      const int64_t place = options_.seed ? drawn(document) : document;
      return std::upper_bound(ends.begin(), ends.end(), place) - ends.begin();
    };
    for (int64_t first = 0; first < documents;) {
      const auto part = part_of(first);
      int64_t last = first + 1;  // neighbours that go the same way are copied together
      while (last < documents && part_of(last) == part) ++last;
      const auto start = [&](int64_t document) {
        return document == documents ? dataset_.tokens() : starts[static_cast<size_t>(document)];
      };
      IndexedWriter& writer = *writers_[static_cast<size_t>(part)];
      append_tokens(dataset_, start(first), start(last), sidecar_ ? sidecar_->vocab_size : kAnyId,
                    writer, options_.check);
      writer.end_document();
      first = last;
    }
  }

  std::vector<SplitCount> publish() {
    std::vector<SplitCount> counts;
    for (size_t i = 0; i < writers_.size(); ++i) {
      const SplitPart& part = options_.parts[i];
      writers_[i]->finish();
      counts.push_back({writers_[i]->documents(), writers_[i]->tokens()});
      Sidecar& sidecar = targets_[part.prefix].sidecar;
      sidecar.*fields_of(part.split).tokens = writers_[i]->tokens();
      sidecar.*fields_of(part.split).digest = writers_[i]->digest();
      add_sources(part.split, sidecar);
    }
    for (auto& [prefix, target] : targets_) {
      if (sidecar_) write_sidecar(target.staged->prefix(), target.sidecar);
    }
    for (auto& [prefix, target] : targets_) target.staged->publish();
    return counts;
  }

 private:
  Target open_target(const std::string& prefix) const {
    Target target{std::make_unique<StagedFiles>(prefix), {}};
    target.staged->require_not_output(dataset_.file().path());
    target.staged->require_not_output(sidecar_path(options_.set));
    if (sidecar_) {
      target.sidecar.tokenizer_json = sidecar_->tokenizer_json;
      target.sidecar.tokenizer_digest = sidecar_->tokenizer_digest;
      target.sidecar.vocab_size = sidecar_->vocab_size;
    }
    return target;
  }

  // The texts that a part was drawn from.
  void add_sources(const std::string& split, Sidecar& sidecar) const {
    if (!sidecar_) return;
    for (SourceFile source : sidecar_->sources) {
      if (source.split != options_.split) continue;
      source.split = split;
      sidecar.sources.push_back(source);
    }
  }

  const SplitOptions& options_;
  const FileDataset& dataset_;
  const std::optional<Sidecar>& sidecar_;
  std::map<std::string, Target> targets_;                // by prefix
  std::vector<std::unique_ptr<IndexedWriter>> writers_;  // by part
};

}  // namespace

SplitPart parse_split_part(const std::string& text) {
  const auto refuse = [&text]() -> SplitPart {
    throw ConfigError("--out '" + configs::one_line(text) +
                      "': expected PREFIX=SHARE or PREFIX:SPLIT=SHARE with SPLIT train, valid or "
                      "test and SHARE above 0 and at most 1, e.g. mine:valid=0.1");
  };
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) return refuse();
  SplitPart part{text.substr(0, equals), "train", 0};
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + equals + 1, end, part.share);
  if (read.ec != std::errc() || read.ptr != end || !(part.share > 0 && part.share <= 1)) {
    return refuse();
  }
  const size_t colon = part.prefix.rfind(':');
  if (colon != std::string::npos && is_split(part.prefix.substr(colon + 1))) {
    part.split = part.prefix.substr(colon + 1);
    part.prefix.resize(colon);
  }
  return part;
}

std::vector<SplitCount> split_set(const SplitOptions& options) {
  check_parts(options.parts);
  const std::string path = split_path(options.set, options.split);
  const std::optional<Sidecar> sidecar =
      path == options.set ? std::nullopt : find_sidecar(options.set);
  const std::unique_ptr<FileDataset> dataset = open_file_dataset(path);
  const std::vector<int64_t> ends = ends_of(options, *dataset);
  Splitter splitter(options, *dataset, sidecar);
  splitter.copy(ends);
  return splitter.publish();
}

}  // namespace dagpam::data
