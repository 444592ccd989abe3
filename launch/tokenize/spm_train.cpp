#include "launch/tokenize/spm_train.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <unordered_map>

#include "configs/errors.h"
#include "configs/text.h"
#include "data/atomic_file.h"
#include "data/mapped_file.h"
#include "data/utf8.h"

namespace dagpam::tokenize {
namespace {

// The lines of all files, one after the other.
class Lines final : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<data::MappedFile>& files) : files_(files) { Next(); }

  bool done() const override { return done_; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

  void Next() override {
    while (file_ < files_.size() && begin_ >= files_[file_].bytes().size()) {
      ++file_;
      begin_ = 0;
    }
    done_ = file_ == files_.size();
    if (done_) return;
    const std::string_view text = files_[file_].bytes();
    const size_t end = std::min(text.find('\n', begin_), text.size());
    line_ = text.substr(begin_, end - begin_);
    begin_ = end + 1;
    ++count_;
  }

  int64_t count() const { return count_; }

 private:
  const std::vector<data::MappedFile>& files_;
  size_t file_ = 0, begin_ = 0;
  std::string line_;
  int64_t count_ = 0;
  bool done_ = false;
};

std::vector<data::MappedFile> open_inputs(const TrainOptions& options) {
  std::vector<data::MappedFile> files;
  for (const std::string& path : options.inputs) {
    data::MappedFile& file = files.emplace_back(path);
    if (file.bytes().empty()) throw DataError(path + ": empty text, expected at least one line");
    data::require_utf8(file.bytes(), path);
    for (const char* suffix : {".model", ".vocab"}) {
      std::error_code error;  // equivalent() is false with an error where either is missing
      if (std::filesystem::equivalent(path, options.out + suffix, error)) {
        throw ConfigError("--out '" + options.out + "': would replace the input " + path +
                          ": choose another --out");
      }
    }
  }
  return files;
}

std::unordered_map<std::string, std::string> arguments(const TrainOptions& options) {
  return {
      {"model_type", options.kind},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"character_coverage", configs::shown(options.character_coverage)},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "true"},
      {"pad_id", std::to_string(kPad)},
      {"unk_id", std::to_string(kUnknown)},
      {"bos_id", std::to_string(kBos)},
      {"eos_id", std::to_string(kEos)},
      {"max_sentence_length", std::to_string(1 << 24)},  // bytes; SentencePiece skips longer lines
      {"num_threads", "1"},                              // sums of more depend on their number
      {"minloglevel", "3"},
  };
}

// SentencePiece's status starts with a place in its source; what it says comes after.
std::string reason_of(const std::string& status) {
  const size_t bracket = status.find("] ");
  const std::string words = bracket == std::string::npos ? status : status.substr(bracket + 2);
  return configs::one_line(words.empty() ? status : words, 200);
}

void write(const std::string& path, std::string_view bytes) {
  data::AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
  data::sync_folder_of(path);
}

// A line a symbol, as SentencePiece's own trainer writes it.
std::string list_of(const std::string& model) {
  sentencepiece::SentencePieceProcessor processor;
  if (!processor.LoadFromSerializedProto(model).ok()) {
    throw DataError("the trained SentencePiece model cannot be read again");
  }
  std::string list;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    list += processor.IdToPiece(id) + "\t" +
            configs::shown(static_cast<double>(processor.GetScore(id))) + "\n";
  }
  return list;
}

}  // namespace

int64_t train(const TrainOptions& options) {
  const std::vector<data::MappedFile> files = open_inputs(options);
  Lines lines(files);
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train(arguments(options), &lines, &model);
  if (!status.ok()) {
    throw ConfigError("--vocab-size " + std::to_string(options.vocab_size) + ": " +
                      reason_of(status.ToString()));
  }
  const std::string list = list_of(model);
  write(options.out + ".vocab", list);
  write(options.out + ".model", model);
  return lines.count();
}

}  // namespace dagpam::tokenize
