#include "data/verify.h"

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "configs/errors.h"
#include "data/file_dataset.h"
#include "data/pair_dataset.h"
#include "data/stream_digest.h"
#include "data/verify_pairs.h"

namespace dagpam::data {
namespace {

bool exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

void describe(const FileDataset& dataset, SplitReport& report) {
  report.token_type = token_type_name(dataset.layout().type);
  report.tokens = dataset.tokens();
  report.sequences = dataset.layout().sequences;
  report.documents = static_cast<int64_t>(dataset.document_starts().size());
  report.digest = report.recorded_digest.empty() ? dataset.digest() : report.recorded_digest;
}

void check_tokens(const FileDataset& dataset, int64_t vocab, SplitReport& report) {
  std::vector<int64_t> block(size_t{1} << 16);
  for (int64_t at = 0; at < dataset.tokens();) {
    const auto count = std::min<int64_t>(dataset.tokens() - at, std::ssize(block));
    const auto ids = std::span(block).first(static_cast<size_t>(count));
    dataset.read_unchecked(at, ids);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t id = ids[static_cast<size_t>(i)];
      report.largest_id = std::max(report.largest_id, id);
      if (id >= 0 && id < vocab) continue;
      if (report.bad_tokens++ > 0) continue;
      report.first_bad_position = at + i;
      report.first_bad_id = id;
    }
    at += count;
  }
  if (report.bad_tokens == 0) return;
  report.problem = dataset.file().path() + ": " + std::to_string(report.bad_tokens) +
                   " tokens are outside the vocabulary, the first is token " +
                   std::to_string(report.first_bad_position) + " with id " +
                   std::to_string(report.first_bad_id) + ", expected 0 to " +
                   std::to_string(vocab - 1) + "; prepare the data again";
}

// The recorded digest is over .bin, then .idx.
void check_digest(SplitReport& report) {
  if (report.recorded_digest.empty()) return;
  StreamDigest digest;
  digest.update(InputFile(report.path + ".bin"));
  digest.update(InputFile(report.path + ".idx"));
  if (digest.hex() == report.recorded_digest || !report.problem.empty()) return;
  report.problem = report.path + ": its files have digest " + digest.hex() + ", expected " +
                   report.recorded_digest +
                   " as in the data set's .json: they were changed or damaged";
}

SplitReport named(const std::string& name, const std::string& path) {
  SplitReport report;
  report.name = name;
  report.path = path;
  return report;
}

// The splits that have files, and those that the sidecar says should have.
std::vector<SplitReport> find_splits(const std::string& prefix,
                                     const std::optional<Sidecar>& sidecar) {
  if (split_path(prefix, "train") == prefix) return {named("train", prefix)};
  std::vector<SplitReport> found;
  for (const SplitFields& fields : kSplits) {
    const std::string path = split_path(prefix, fields.name);
    const bool listed = sidecar && (*sidecar).*fields.tokens >= 0;
    if (!listed && !exists(path + ".bin") && !exists(path + ".idx")) continue;
    found.push_back(named(fields.name, path));
    if (sidecar) found.back().recorded_digest = (*sidecar).*fields.digest;
  }
  if (!found.empty()) return found;
  throw DataError(prefix + ": there is no " + prefix + ".train.idx, .valid.idx or .test.idx, " +
                  "expected a prefix of `dagpam data prepare`");
}

DatasetReport find_dataset(const std::string& prefix) {
  DatasetReport report;
  report.prefix = prefix;
  if (is_pair_set(prefix)) {
    report.pairs = read_pair_sidecar(prefix);
    report.splits = pair_sides(prefix, *report.pairs);
    return report;
  }
  report.sidecar = find_sidecar(prefix);
  report.splits = find_splits(prefix, report.sidecar);
  return report;
}

void verify_split(const DatasetReport& set, SplitReport& report) {
  try {
    const std::unique_ptr<FileDataset> dataset = open_file_dataset(report.path);
    describe(*dataset, report);
    const int64_t vocab = set.sidecar ? set.sidecar->vocab_size
                          : set.pairs ? set.pairs->vocab_size
                                      : std::numeric_limits<int64_t>::max();
    check_tokens(*dataset, vocab, report);
    if (set.pairs && report.problem.empty()) {
      report.problem = problem_of_sentences(set.prefix, *set.pairs, report.name);
    }
    check_digest(report);
  } catch (const DataError& error) {
    report.problem = error.what();
  }
}

}  // namespace

bool DatasetReport::good() const {
  return std::all_of(splits.begin(), splits.end(),
                     [](const SplitReport& split) { return split.problem.empty(); });
}

DatasetReport describe_dataset(const std::string& prefix) {
  DatasetReport report = find_dataset(prefix);
  for (SplitReport& split : report.splits) describe(*open_file_dataset(split.path), split);
  if (report.pairs) {
    for (const PairSplit& split : report.pairs->splits) PairDataset(prefix, split.name);
  }
  return report;
}

DatasetReport verify_dataset(const std::string& prefix) {
  DatasetReport report = find_dataset(prefix);
  for (SplitReport& split : report.splits) verify_split(report, split);
  return report;
}

}  // namespace dagpam::data
