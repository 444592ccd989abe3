#include "data/prepare.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/prepare_job.h"
#include "data/staged_files.h"
#include "data/utf8.h"
#include "data/vocabulary.h"

namespace dagpam::data {
namespace {

constexpr size_t kCheckedBytes = size_t{1} << 24;  // of text at a time

const std::vector<std::string>& files_of(const PrepareOptions& options, std::string_view split) {
  if (split == "train") return options.train;
  return split == "valid" ? options.valid : options.test;
}

void check_options(const PrepareOptions& options, const StagedFiles& staged) {
  if (options.train.empty()) throw ConfigError("--train: no file given, expected at least one");
  for (const auto& split : kSplits) {
    for (const auto& path : files_of(options, split.name)) staged.require_not_output(path);
  }
}

std::vector<SplitTexts> open_texts(const PrepareOptions& options) {
  std::vector<SplitTexts> splits;
  for (const SplitFields& fields : kSplits) {
    SplitTexts split{&fields, {}};
    for (const auto& path : files_of(options, fields.name)) {
      split.files.emplace_back(path);
      if (!split.files.back().bytes().empty()) continue;
      throw DataError(path + ": empty text, expected at least one byte");
    }
    if (!split.files.empty()) splits.push_back(std::move(split));
  }
  return splits;
}

// The same on all peers, or they would cut them differently.
void require_same_sizes(const PrepareJob& job, const std::vector<SplitTexts>& splits) {
  nlohmann::json mine = nlohmann::json::array();
  for (const auto& split : splits) {
    for (const auto& file : split.files) mine.push_back(file.bytes().size());
  }
  const auto all = job.together([&] { return mine.dump(); });
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw DataError(splits.front().files.front().path() + ": the texts have other sizes on rank " +
                    std::to_string(rank) +
                    " than on rank 0, expected files that all ranks see: use a shared folder");
  }
}

// Throws where this peer's share of a split is not UTF-8 and must be; false where it need not be.
bool share_is_utf8(const PrepareJob& job, const SplitTexts& split, bool any_bytes) {
  bool good = true;
  for (const TextPart& part : job.share_of(split, cut_behind_character)) {
    const std::string_view whole = part.file->bytes();
    for (size_t begin = part.begin; begin < part.end;) {
      job.check();
      const std::string_view rest = whole.substr(begin, part.end - begin);
      const size_t size = cut_behind_character(rest, std::min(kCheckedBytes, rest.size()));
      try {
        require_utf8(rest.substr(0, size), "text");
      } catch (const TextError& error) {
        if (!any_bytes) throw error.within(part.file->path(), whole, begin);
        good = false;
      }
      begin += size;
    }
  }
  return good;
}

// Checks a split's bytes and describes its files; whether all of it is UTF-8.
bool check_texts(const PrepareJob& job, const SplitTexts& split, Sidecar& sidecar) {
  const bool any_bytes =
      job.options.tokenizer == "byte" && job.options.documents.form != DocumentForm::kJsonLines;
  const auto rank = static_cast<size_t>(job.peers.rank());
  const auto size = static_cast<size_t>(job.peers.size());
  const auto all = job.together([&] {
    const bool good = share_is_utf8(job, split, any_bytes);
    std::vector<std::string> digests;  // each file's by one peer
    for (size_t file = rank; file < split.files.size(); file += size) {
      digests.push_back(xxh3_hex(split.files[file].bytes()));
    }
    return nlohmann::json{good, digests}.dump();
  });
  bool good = true;
  std::vector<nlohmann::json> said;
  for (const std::string& message : all) {
    said.push_back(nlohmann::json::parse(message));
    good = good && said.back().at(0).get<bool>();
  }
  for (size_t file = 0; file < split.files.size(); ++file) {
    const MappedFile& text = split.files[file];
    sidecar.sources.push_back({split.fields->name, text.path(),
                               static_cast<int64_t>(text.bytes().size()),
                               said[file % size].at(1).at(file / size)});
  }
  return good;
}

// Adds this peer's share of the training text.
void add_share(const PrepareJob& job, const SplitTexts& train, Vocabulary& vocabulary) {
  const Cut inside = [&vocabulary](std::string_view text, size_t limit) {
    return vocabulary.cut(text, limit);
  };
  Checks checks(job);
  for (const TextPart& part :
       job.share_of(train, document_cut(job.options.documents.form, inside))) {
    DocumentReader documents(part, job.options.documents);
    while (documents.next()) {
      for (std::string_view rest = documents.text(); !rest.empty();) {
        const size_t size = vocabulary.cut(rest, std::min(kCheckedBytes, rest.size()));
        vocabulary.add(rest.substr(0, size));
        rest.remove_prefix(size);
        checks.after(size);
      }
    }
  }
}

std::unique_ptr<Tokenizer> tokenizer_of(const PrepareJob& job, const SplitTexts& train) {
  const std::string& spec = job.options.tokenizer;
  const auto shares = job.together([&]() -> std::string {
    const std::unique_ptr<Vocabulary> share = vocabulary_of(spec);
    if (!share) return "";
    add_share(job, train, *share);
    return share->symbols();
  });
  std::unique_ptr<Tokenizer> made;
  const auto digests = job.together([&] {
    if (const std::unique_ptr<Vocabulary> whole = vocabulary_of(spec)) {
      for (const std::string& share : shares) whole->join(share);
      made = whole->tokenizer();
    } else {
      made = make_tokenizer(spec, "");
    }
    return made->digest();
  });
  if (std::any_of(digests.begin(), digests.end(),
                  [&](const std::string& digest) { return digest != digests.front(); })) {
    throw DataError("--tokenizer '" + spec +
                    "': its files are not the same on all ranks: use a shared folder");
  }
  if (job.options.append_eod && made->end_of_text() < 0) {
    throw ConfigError("--append-eod: the tokenizer '" + spec +
                      "' has no end-of-text token, expected one of gpt2, spm or json that has");
  }
  return made;
}

}  // namespace

Sidecar prepare(const PrepareOptions& options, Peers& peers) {
  std::optional<StagedFiles> staged;
  const auto prefixes = together(peers, [&]() -> std::string {
    if (peers.rank() > 0) return "";
    staged.emplace(options.out);
    check_options(options, *staged);
    return staged->prefix();
  });
  const PrepareJob job{options, peers, prefixes.front()};
  std::vector<SplitTexts> splits;
  job.together([&]() -> std::string {
    splits = open_texts(options);
    return "";
  });
  require_same_sizes(job, splits);
  Sidecar sidecar;
  std::vector<bool> utf8;
  utf8.reserve(splits.size());
  for (const auto& split : splits) utf8.push_back(check_texts(job, split, sidecar));
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(job, splits.front());
  sidecar.tokenizer_json = tokenizer->to_json();
  sidecar.tokenizer_digest = tokenizer->digest();
  sidecar.vocab_size = tokenizer->vocab_size();
  Progress progress(peers.rank() == 0 ? options.progress : nullptr,
                    peers.size() == 1
                        ? "prepare"
                        : "prepare: the first of " + std::to_string(peers.size()) + " shares");
  // The training text last: it is the longest, and a refusal of the others comes the sooner.
  for (size_t split = splits.size(); split-- > 0;) {
    prepare_split(job, *tokenizer, splits[split], utf8[split], progress, sidecar);
  }
  job.together([&]() -> std::string {
    if (!staged) return "";
    write_sidecar(staged->prefix(), sidecar);
    staged->publish();
    return "";
  });
  return sidecar;
}

Sidecar prepare(const PrepareOptions& options) {
  Alone alone;
  return prepare(options, alone);
}

}  // namespace dagpam::data
