#include "data/import_set.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <span>

#include "configs/errors.h"
#include "data/append_dataset.h"
#include "data/digest.h"
#include "data/mapped_file.h"
#include "data/staged_files.h"
#include "data/tokenizer.h"

namespace dagpam::data {
namespace {

constexpr int64_t kBlock = int64_t{1} << 16;  // tokens

const std::vector<std::string>& files_of(const ImportOptions& options, std::string_view split) {
  if (split == "train") return options.train;
  return split == "valid" ? options.valid : options.test;
}

std::string bin_of(const ImportOptions& options, const std::string& file) {
  return options.form == ImportForm::kMegatron ? file + ".bin" : file;
}

std::unique_ptr<FileDataset> open_nanogpt(const std::string& path) {
  InputFile file(path);
  if (file.size() == 0 || file.size() % 2 != 0) {
    throw DataError(path + ": its size is " + std::to_string(file.size()) +
                    " bytes, expected an even number of them: u16 tokens");
  }
  FileLayout layout{TokenType::kU16, 0, file.size() / 2, 1, {0}};
  return std::make_unique<FileDataset>(path, std::move(file), std::move(layout), "");
}

std::unique_ptr<FileDataset> open_file(const ImportOptions& options, const std::string& path) {
  if (options.form == ImportForm::kNanogpt) return open_nanogpt(path);
  const bool names_bin = path.ends_with(".bin");
  if (options.form == ImportForm::kLlmc && !names_bin) {
    throw ConfigError(path + ": expected the name of an llm.c file, which ends in .bin");
  }
  if (options.form == ImportForm::kMegatron && names_bin) {
    throw ConfigError(path + ": expected the name without .bin and .idx");
  }
  return open_file_dataset(path);
}

// Cut at end-of-text tokens; the last document stays open.
void append_cut(const FileDataset& dataset, const ImportOptions& options,
                const Tokenizer& tokenizer, IndexedWriter& writer) {
  const int32_t eod = tokenizer.end_of_text();
  const bool after = options.documents == ImportDocuments::kAfterEod;
  std::vector<int64_t> wide;
  std::vector<int32_t> ids;
  for (int64_t at = 0; at < dataset.tokens(); at += std::ssize(ids)) {
    options.check();
    wide.resize(static_cast<size_t>(std::min(kBlock, dataset.tokens() - at)));
    read_narrow(dataset, at, tokenizer.vocab_size(), wide, ids);
    for (std::span<const int32_t> rest = ids; !rest.empty();) {
      auto end = std::find(rest.begin() + (after ? 0 : 1), rest.end(), eod);
      if (!after && rest.front() == eod) writer.end_document();
      const bool found = end != rest.end();
      const auto count = static_cast<size_t>(end - rest.begin()) + (after && found ? 1 : 0);
      writer.append(rest.first(count));
      if (after && found) writer.end_document();
      rest = rest.subspan(count);
    }
  }
}

void import_split(const ImportOptions& options, const Tokenizer& tokenizer,
                  const SplitFields& split, const std::string& staged, Sidecar& sidecar) {
  const std::vector<std::string>& files = files_of(options, split.name);
  if (files.empty()) return;
  IndexedWriter writer(staged + "." + split.name, token_width(tokenizer.vocab_size()));
  for (const std::string& path : files) {
    const std::unique_ptr<FileDataset> dataset = open_file(options, path);
    if (options.documents == ImportDocuments::kFile) {
      append_dataset(*dataset, tokenizer.vocab_size(), writer, options.check);
      writer.end_document();
    } else {
      append_cut(*dataset, options, tokenizer, writer);
    }
    const MappedFile bytes(bin_of(options, path));
    sidecar.sources.push_back({split.name, bytes.path(), static_cast<int64_t>(bytes.bytes().size()),
                               xxh3_hex(bytes.bytes())});
  }
  writer.finish();
  sidecar.*split.tokens = writer.tokens();
  sidecar.*split.digest = writer.digest();
}

std::unique_ptr<Tokenizer> tokenizer_of(const ImportOptions& options) {
  if (options.tokenizer == "char" || options.tokenizer == "word") {
    throw ConfigError("--tokenizer '" + options.tokenizer +
                      "': takes its vocabulary from a text, expected one that has its own: byte, "
                      "gpt2:DIR, spm:MODEL or json:FILE");
  }
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options.tokenizer, "");
  if (options.documents != ImportDocuments::kFile && tokenizer->end_of_text() < 0) {
    throw ConfigError("--documents: the tokenizer '" + options.tokenizer +
                      "' has no end-of-text token to cut at, expected --documents file");
  }
  return tokenizer;
}

}  // namespace

Sidecar import_set(const ImportOptions& options) {
  if (options.train.empty()) throw ConfigError("--train: no file given, expected at least one");
  StagedFiles staged(options.out);
  for (const SplitFields& split : kSplits) {
    for (const std::string& file : files_of(options, split.name)) {
      staged.require_not_output(bin_of(options, file));
    }
  }
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(options);
  Sidecar sidecar;
  sidecar.tokenizer_json = tokenizer->to_json();
  sidecar.tokenizer_digest = tokenizer->digest();
  sidecar.vocab_size = tokenizer->vocab_size();
  for (const SplitFields& split : kSplits) {
    import_split(options, *tokenizer, split, staged.prefix(), sidecar);
  }
  write_sidecar(staged.prefix(), sidecar);
  staged.publish();
  return sidecar;
}

}  // namespace dagpam::data
