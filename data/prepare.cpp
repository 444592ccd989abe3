#include "data/prepare.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/indexed_writer.h"
#include "data/mapped_file.h"
#include "data/progress.h"
#include "data/staged_files.h"
#include "data/text_error.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace dagpam::data {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

// The texts of one split.
struct SplitTexts {
  const SplitFields* fields = nullptr;
  std::vector<MappedFile> files;
};

std::vector<std::string> files_of(const PrepareOptions& options, std::string_view split) {
  if (split == "train") return options.train;
  const std::string& file = split == "valid" ? options.valid : options.test;
  return file.empty() ? std::vector<std::string>{} : std::vector{file};
}

MappedFile open_text(const std::string& path, bool any_bytes) {
  MappedFile file(path);
  if (file.bytes().empty()) throw DataError(path + ": empty text, expected at least one byte");
  if (!any_bytes) require_utf8(file.bytes(), path);
  return file;
}

std::vector<SplitTexts> open_texts(const PrepareOptions& options) {
  std::vector<SplitTexts> splits;
  for (const SplitFields& fields : kSplits) {
    SplitTexts split{&fields, {}};
    for (const auto& path : files_of(options, fields.name)) {
      split.files.push_back(open_text(path, options.tokenizer == "byte"));
    }
    if (!split.files.empty()) splits.push_back(std::move(split));
  }
  return splits;
}

std::unique_ptr<Tokenizer> tokenizer_of(const PrepareOptions& options, const SplitTexts& train) {
  std::vector<std::string_view> texts;
  for (const auto& file : train.files) texts.push_back(file.bytes());
  return make_tokenizer(options.tokenizer, texts);
}

void check_options(const PrepareOptions& options, const StagedFiles& staged) {
  if (options.train.empty()) throw ConfigError("--train: no file given, expected at least one");
  for (const auto& split : kSplits) {
    for (const auto& path : files_of(options, split.name)) staged.require_not_output(path);
  }
}

// Characters of a split; -1 where its bytes are not all UTF-8.
int64_t characters_of(const SplitTexts& split) {
  int64_t characters = 0;
  for (const auto& file : split.files) {
    if (find_invalid_utf8(file.bytes()) != file.bytes().size()) return -1;
    characters += count_code_points(file.bytes());
  }
  return characters;
}

void describe_texts(const SplitTexts& split, Sidecar& sidecar) {
  int64_t bytes = 0;
  for (const auto& file : split.files) {
    const auto size = static_cast<int64_t>(file.bytes().size());
    sidecar.sources.push_back({split.fields->name, file.path(), size, xxh3_hex(file.bytes())});
    bytes += size;
  }
  sidecar.*split.fields->bytes = bytes;
  sidecar.*split.fields->characters = characters_of(split);
}

// One document of `writer`, piece by piece.
void encode_file(const Tokenizer& tokenizer, const MappedFile& file, Progress& progress,
                 const PrepareOptions& options, IndexedWriter& writer) {
  const std::string_view text = file.bytes();
  std::vector<int32_t> ids;
  for (size_t begin = 0; begin < text.size();) {
    if (options.give_up && options.give_up()) {
      throw Interrupted(options.out + ": stopped by a signal: nothing was changed");
    }
    const std::string_view rest = text.substr(begin);
    const size_t size = tokenizer.cut(rest, std::min(kPieceBytes, rest.size()));
    ids.clear();
    try {
      tokenizer.encode(rest.substr(0, size), ids);
    } catch (const TextError& error) {
      throw error.within(file.path(), text, begin);
    }
    writer.append(ids);
    begin += size;
    file.release(begin);
    progress.at(static_cast<int64_t>(begin));
  }
  writer.end_document();
}

void write_split(const Tokenizer& tokenizer, const SplitTexts& split, const std::string& prefix,
                 Progress& progress, const PrepareOptions& options, Sidecar& sidecar) {
  IndexedWriter writer(prefix + "." + split.fields->name, token_width(tokenizer.vocab_size()));
  for (const auto& file : split.files) {
    progress.start(file.path(), static_cast<int64_t>(file.bytes().size()));
    encode_file(tokenizer, file, progress, options, writer);
  }
  writer.finish();
  sidecar.*split.fields->tokens = writer.tokens();
  sidecar.*split.fields->digest = writer.digest();
}

}  // namespace

Sidecar prepare(const PrepareOptions& options) {
  StagedFiles staged(options.out);
  check_options(options, staged);
  const std::vector<SplitTexts> splits = open_texts(options);
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(options, splits.front());

  Sidecar sidecar;
  sidecar.tokenizer_json = tokenizer->to_json();
  sidecar.tokenizer_digest = tokenizer->digest();
  sidecar.vocab_size = tokenizer->vocab_size();
  for (const auto& split : splits) describe_texts(split, sidecar);
  Progress progress(options.progress, "prepare");
  // The training text last: it is the longest, and a refusal of the others comes the sooner.
  for (auto split = splits.rbegin(); split != splits.rend(); ++split) {
    write_split(*tokenizer, *split, staged.prefix(), progress, options, sidecar);
  }
  write_sidecar(staged.prefix(), sidecar);
  staged.publish();
  return sidecar;
}

}  // namespace dagpam::data
