#include "data/prepare_pairs.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/indexed_writer.h"
#include "data/lines.h"
#include "data/mapped_file.h"
#include "data/progress.h"
#include "data/staged_files.h"
#include "data/text_error.h"
#include "data/utf8.h"

namespace dagpam::data {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 16;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

struct SplitTexts {
  std::string name;
  MappedFile source, target;
};

bool is_blank(std::string_view line) {
  for (size_t i = 0; i < line.size();) {
    const CodePoint point = decode_code_point(line, i);
    if (point.length == 0 || !is_whitespace(point.value)) return false;
    i += static_cast<size_t>(point.length);
  }
  return true;
}

MappedFile open_side(const std::string& path, const PreparePairsOptions& options,
                     const StagedFiles& staged) {
  staged.require_not_output(path);
  MappedFile file(path);
  if (file.bytes().empty()) throw DataError(path + ": empty text, expected at least one line");
  if (options.tokenizer != "byte") require_utf8(file.bytes(), path);
  if (file.bytes().starts_with(kByteOrderMark)) {
    throw DataError(path +
                    ": starts with a byte-order mark, which would be part of its first sentence: "
                    "remove the first three bytes");
  }
  return file;
}

void refuse_carriage_return(const MappedFile& file, const LineReader& at, std::string_view line) {
  if (!line.ends_with('\r')) return;
  throw DataError(file.path() + ": line " + std::to_string(at.number()) +
                  " ends in a carriage return: give the file Unix line ends, by dos2unix or "
                  "`sed -i 's/\\r$//'`");
}

void refuse_blank(const MappedFile& file, const LineReader& at, std::string_view line) {
  if (!is_blank(line)) return;
  throw DataError(file.path() + ": line " + std::to_string(at.number()) +
                  " is empty, expected a sentence: mend both files, or leave such pairs out with "
                  "--skip-empty");
}

void check_lines(const SplitTexts& texts, bool skip_empty) {
  const int64_t sources = count_lines(texts.source.bytes());
  const int64_t targets = count_lines(texts.target.bytes());
  if (sources != targets) {
    throw DataError(texts.source.path() + ": " + std::to_string(sources) + " lines, but " +
                    texts.target.path() + ": " + std::to_string(targets) +
                    ", expected as many in both: a pair is line i of one and line i of the other");
  }
  for (const MappedFile* file : {&texts.source, &texts.target}) {
    LineReader reader(file->bytes());
    for (std::string_view line; reader.next(line);) {
      refuse_carriage_return(*file, reader, line);
      if (!skip_empty) refuse_blank(*file, reader, line);
    }
  }
}

std::vector<SplitTexts> open_texts(const PreparePairsOptions& options, const StagedFiles& staged) {
  const std::array<std::pair<const char*, const PairFiles*>, 3> named{
      {{"train", &options.train}, {"valid", &options.valid}, {"test", &options.test}}};
  std::vector<SplitTexts> splits;
  for (const auto& [name, files] : named) {
    if (files->source.empty() != files->target.empty()) {
      const bool lacks_source = files->source.empty();
      throw ConfigError(std::string("--") + name + (lacks_source ? "-source" : "-target") +
                        ": missing, expected beside --" + name +
                        (lacks_source ? "-target" : "-source"));
    }
    if (files->source.empty()) continue;
    splits.push_back({name, open_side(files->source, options, staged),
                      open_side(files->target, options, staged)});
  }
  if (options.train.source.empty()) {
    throw ConfigError("--train-source: no file given, expected one");
  }
  for (const SplitTexts& split : splits) check_lines(split, options.skip_empty);
  return splits;
}

// One side of a split on its way to its files.
class SideWriter {
 public:
  SideWriter(const MappedFile& text, const std::string& path, TokenWidth width)
      : text_(text), lines_(text.bytes()), writer_(path, width) {}

  // ids() <- the next line's, with eos; false where there is none. An empty line gives no ids.
  bool next(const Tokenizer& tokenizer, int32_t eos) {
    if (line_ == ends_.size() && !fill(tokenizer)) return false;
    const size_t begin = line_ == 0 ? 0 : ends_[line_ - 1];
    ids_.assign(chunk_.begin() + static_cast<std::ptrdiff_t>(begin),
                chunk_.begin() + static_cast<std::ptrdiff_t>(ends_[line_]));
    if (blank_[line_++]) {
      ids_.clear();
    } else {
      ids_.push_back(eos);
    }
    return true;
  }

  const std::vector<int32_t>& ids() const { return ids_; }
  int64_t position() const { return static_cast<int64_t>(lines_.position()); }

  void keep() {
    writer_.add_document(ids_);
    longest_ = std::max(longest_, std::ssize(ids_));
  }

  PairSide finish(const std::string& split) {
    writer_.finish();
    const std::string_view bytes = text_.bytes();
    return {writer_.tokens(), longest_, writer_.digest(),
            SourceFile{split, text_.path(), std::ssize(bytes), xxh3_hex(bytes)}};
  }

 private:
  // Encodes the next lines; false where there are none.
  bool fill(const Tokenizer& tokenizer) {
    const size_t begin = lines_.position();
    line_ = 0;
    chunk_.clear();
    ends_.clear();
    blank_.clear();
    for (std::string_view line; lines_.position() - begin < kChunkBytes && lines_.next(line);) {
      blank_.push_back(is_blank(line));
    }
    const std::string_view text = text_.bytes();
    const size_t end = std::min(lines_.position(), text.size());
    if (blank_.empty()) return false;
    try {
      tokenizer.encode_lines(text.substr(begin, end - begin), chunk_, ends_);
    } catch (const TextError& error) {
      throw error.within(text_.path(), text, begin);
    }
    return true;
  }

  const MappedFile& text_;
  LineReader lines_;
  IndexedWriter writer_;
  std::vector<int32_t> chunk_;  // ids of some lines
  std::vector<size_t> ends_;    // of each of them
  std::vector<bool> blank_;
  size_t line_ = 0;  // next one of the chunk
  std::vector<int32_t> ids_;
  int64_t longest_ = 0;
};

class SplitWriter {
 public:
  SplitWriter(const PreparePairsOptions& options, const Tokenizer& tokenizer,
              const PairVocabulary& vocabulary, Progress& progress)
      : options_(options), tokenizer_(tokenizer), vocabulary_(vocabulary), progress_(progress) {}

  PairSplit write(const SplitTexts& texts, const std::string& prefix) {
    const std::string path = prefix + "." + texts.name;
    const TokenWidth width = token_width(vocabulary_.vocab_size);
    SideWriter source(texts.source, path + ".source", width);
    SideWriter target(texts.target, path + ".target", width);
    PairSplit split;
    split.name = texts.name;
    progress_.start(texts.source.path(), std::ssize(texts.source.bytes()));
    const int32_t eos = vocabulary_.special.eos;
    while (source.next(tokenizer_, eos) && target.next(tokenizer_, eos)) {
      sort_out(source, target, split);
      progress_.at(source.position());
      if (options_.give_up && options_.give_up()) {
        throw Interrupted(options_.out + ": stopped by a signal: nothing was changed");
      }
    }
    if (split.pairs == 0) {
      throw DataError(texts.source.path() +
                      ": no pair is left: " + std::to_string(split.skipped_empty) +
                      " have an empty side, " + std::to_string(split.dropped_long) +
                      " are longer than --max-tokens " + std::to_string(options_.max_tokens));
    }
    split.source = source.finish(split.name);
    split.target = target.finish(split.name);
    return split;
  }

 private:
  void sort_out(SideWriter& source, SideWriter& target, PairSplit& split) const {
    const int64_t longer = std::max(std::ssize(source.ids()), std::ssize(target.ids()));
    const bool limited = options_.max_tokens > 0 && split.name == "train";
    if (source.ids().empty() || target.ids().empty()) {
      ++split.skipped_empty;
    } else if (limited && longer > options_.max_tokens) {
      ++split.dropped_long;
    } else {
      ++split.pairs;
      source.keep();
      target.keep();
    }
  }

  const PreparePairsOptions& options_;
  const Tokenizer& tokenizer_;
  const PairVocabulary& vocabulary_;
  Progress& progress_;
};

}  // namespace

PairSidecar prepare_pairs(const PreparePairsOptions& options) {
  StagedFiles staged(options.out);
  const std::vector<SplitTexts> splits = open_texts(options, staged);
  const std::array<std::string_view, 2> training{splits.front().source.bytes(),
                                                 splits.front().target.bytes()};
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options.tokenizer, training);
  const PairVocabulary vocabulary = pair_vocabulary(*tokenizer);

  PairSidecar sidecar;
  sidecar.tokenizer_json = tokenizer->to_json();
  sidecar.tokenizer_digest = tokenizer->digest();
  sidecar.vocab_size = vocabulary.vocab_size;
  sidecar.special = vocabulary.special;
  sidecar.max_tokens = options.max_tokens;
  Progress progress(options.progress, "pairs");
  SplitWriter writer(options, *tokenizer, vocabulary, progress);
  // The training text last: it is the longest, and a refusal of the others comes the sooner.
  for (auto split = splits.rbegin(); split != splits.rend(); ++split) {
    sidecar.splits.insert(sidecar.splits.begin(), writer.write(*split, staged.prefix()));
  }
  write_pair_sidecar(staged.prefix(), sidecar);
  staged.publish();
  return sidecar;
}

}  // namespace dagpam::data
