#include "data/merge_sets.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "configs/errors.h"
#include "data/append_dataset.h"
#include "data/sidecar_file.h"
#include "data/staged_files.h"

namespace dagpam::data {
namespace {

struct Input {
  std::string prefix;
  std::optional<Sidecar> sidecar;
};

bool is_llmc(const std::string& prefix) { return split_path(prefix, "train") == prefix; }

bool has_split(const Input& input, const SplitFields& split) {
  if (is_llmc(input.prefix)) return std::string(split.name) == "train";
  if (input.sidecar) return (*input.sidecar).*split.tokens >= 0;
  return std::filesystem::exists(split_path(input.prefix, split.name) + ".idx");
}

std::vector<Input> open_inputs(const std::vector<std::string>& sets) {
  std::vector<Input> inputs;
  for (const std::string& set : sets) {
    inputs.push_back({set, is_llmc(set) ? std::nullopt : find_sidecar(set)});
    const Input &first = inputs.front(), &last = inputs.back();
    if (std::none_of(std::begin(kSplits), std::end(kSplits),
                     [&](const SplitFields& split) { return has_split(last, split); })) {
      std::string message = set + ": there is no ";
      throw DataError(
          message.append(set).append(".train.idx, .valid.idx or .test.idx, expected a data set"));
    }
    if (first.sidecar.has_value() != last.sidecar.has_value()) {
      throw DataError(sidecar_path(last.sidecar ? first.prefix : set) +
                      ": is not there, while another set has its own: nobody knows whether both "
                      "mean the same ids; give it one by `dagpam data import`");
    }
    if (last.sidecar && last.sidecar->tokenizer_digest != first.sidecar->tokenizer_digest) {
      throw DataError(
          sidecar_path(set) + ": its tokenizer has digest " + last.sidecar->tokenizer_digest +
          ", expected " + first.sidecar->tokenizer_digest + " as in " + sidecar_path(first.prefix) +
          ": prepare both with one tokenizer (--tokenizer json:" + sidecar_path(first.prefix) +
          ")");
    }
  }
  return inputs;
}

void require_no_input(const std::vector<Input>& inputs, const StagedFiles& staged) {
  for (const Input& input : inputs) {
    staged.require_not_output(input.prefix);
    staged.require_not_output(sidecar_path(input.prefix));
    for (const SplitFields& split : kSplits) {
      staged.require_not_output(split_path(input.prefix, split.name) + ".bin");
    }
  }
}

TokenWidth width_of(const std::vector<std::unique_ptr<FileDataset>>& datasets,
                    const std::optional<Sidecar>& sidecar) {
  if (sidecar) return token_width(sidecar->vocab_size);
  const bool narrow = std::all_of(datasets.begin(), datasets.end(), [](const auto& dataset) {
    return token_bytes(dataset->layout().type) <= 2;
  });
  return narrow ? TokenWidth::kU16 : TokenWidth::kI32;
}

// Adds a count; what is unknown of a part is unknown of the whole.
void add_count(int64_t part, int64_t& sum) { sum = part < 0 || sum < 0 ? -1 : sum + part; }

void merge_split(const std::vector<Input>& inputs, const SplitFields& split,
                 const StagedFiles& staged, const std::function<void()>& check, Sidecar& merged) {
  std::vector<std::unique_ptr<FileDataset>> datasets;
  int64_t bytes = 0, characters = 0;
  for (const Input& input : inputs) {
    if (!has_split(input, split)) continue;
    datasets.push_back(open_file_dataset(split_path(input.prefix, split.name)));
    if (!input.sidecar) continue;
    add_count((*input.sidecar).*split.bytes, bytes);
    add_count((*input.sidecar).*split.characters, characters);
    for (const SourceFile& source : input.sidecar->sources) {
      if (source.split == split.name) merged.sources.push_back(source);
    }
  }
  if (datasets.empty()) return;
  const std::optional<Sidecar>& sidecar = inputs.front().sidecar;
  IndexedWriter writer(staged.prefix() + "." + split.name, width_of(datasets, sidecar));
  for (const auto& dataset : datasets) {
    append_dataset(*dataset, sidecar ? sidecar->vocab_size : kAnyId, writer, check);
    writer.end_document();
  }
  writer.finish();
  merged.*split.tokens = writer.tokens();
  merged.*split.digest = writer.digest();
  merged.*split.bytes = bytes;
  merged.*split.characters = characters;
}

}  // namespace

Sidecar merge_sets(const std::vector<std::string>& sets, const std::string& out,
                   const std::function<void()>& check) {
  if (sets.empty()) throw ConfigError("data merge: no set given, expected at least one");
  StagedFiles staged(out);
  const std::vector<Input> inputs = open_inputs(sets);
  require_no_input(inputs, staged);
  Sidecar merged;
  if (const std::optional<Sidecar>& first = inputs.front().sidecar) {
    merged.tokenizer_json = first->tokenizer_json;
    merged.tokenizer_digest = first->tokenizer_digest;
    merged.vocab_size = first->vocab_size;
  }
  for (const SplitFields& split : kSplits) merge_split(inputs, split, staged, check, merged);
  if (merged.vocab_size > 0) write_sidecar(staged.prefix(), merged);
  staged.publish();
  return merged;
}

}  // namespace dagpam::data
