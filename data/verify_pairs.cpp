#include "data/verify_pairs.h"

#include <algorithm>

#include "configs/errors.h"
#include "data/pair_dataset.h"

namespace dagpam::data {
namespace {

constexpr const char* kSource = ".source";
constexpr const char* kTarget = ".target";

bool is_good(const std::vector<int64_t>& sentence, const SpecialIds& special) {
  const auto is_special = [&](int64_t id) {
    return id == special.pad || id == special.bos || id == special.eos;
  };
  return sentence.back() == special.eos &&
         std::none_of(sentence.begin(), sentence.end() - 1, is_special);
}

}  // namespace

std::vector<SplitReport> pair_sides(const std::string& prefix, const PairSidecar& sidecar) {
  std::vector<SplitReport> sides;
  for (const PairSplit& split : sidecar.splits) {
    for (const char* side : {kSource, kTarget}) {
      SplitReport report;
      report.name = split.name + side;
      report.path = prefix + "." + report.name;
      report.recorded_digest = side == kSource ? split.source.digest : split.target.digest;
      sides.push_back(std::move(report));
    }
  }
  if (!sides.empty()) return sides;
  throw DataError(prefix + ".json: names no split, expected a prefix of `dagpam data pairs`");
}

std::string problem_of_sentences(const std::string& prefix, const PairSidecar& sidecar,
                                 const std::string& name) {
  const bool is_source = name.ends_with(kSource);
  const PairSideName side = is_source ? PairSideName::kSource : PairSideName::kTarget;
  const PairDataset dataset(prefix, name.substr(0, name.find('.')));
  std::vector<int64_t> sentence;
  int64_t longest = 0;
  for (int64_t pair = 0; pair < dataset.pairs(); ++pair) {
    sentence.resize(static_cast<size_t>(dataset.length(side, pair)));
    longest = std::max(longest, std::ssize(sentence));
    dataset.read(side, pair, sentence);
    if (is_good(sentence, sidecar.special)) continue;
    std::string message = prefix;
    message.append(".").append(name).append(".bin: sentence ").append(std::to_string(pair));
    message.append(" does not end in the id ").append(std::to_string(sidecar.special.eos));
    return message += " (eos), or has a special id before; prepare the data again";
  }
  const PairSide& recorded = is_source ? dataset.split().source : dataset.split().target;
  if (longest == recorded.longest) return "";
  return prefix + "." + name + ".idx: its longest sentence has " + std::to_string(longest) +
         " tokens, expected " + std::to_string(recorded.longest) +
         " as in the data set's .json; prepare the data again";
}

}  // namespace dagpam::data
