#include "data/pair_dataset.h"

#include <algorithm>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/file_dataset.h"

namespace dagpam::data {
namespace {

PairSplit split_of(const PairSidecar& sidecar, const std::string& prefix, const std::string& name) {
  if (const PairSplit* split = sidecar.find(name)) return *split;
  throw DataError(prefix + ".json: has no split '" + name + "': prepare it with --" + name +
                  "-source and --" + name + "-target");
}

std::unique_ptr<TokenDataset> open_side(const std::string& path, int64_t pairs, int64_t tokens) {
  auto side = open_file_dataset(path);
  const auto check = [&](const char* what, int64_t found, int64_t expected) {
    if (found == expected) return;
    throw DataError(path + ".idx: holds " + std::to_string(found) + " " + what + ", expected " +
                    std::to_string(expected) +
                    " as in the data set's .json: prepare the data again");
  };
  check("sentences", std::ssize(side->document_starts()), pairs);
  check("sequences", side->layout().sequences, pairs);
  check("tokens", side->tokens(), tokens);
  return side;
}

}  // namespace

PairDataset::PairDataset(const std::string& prefix, const std::string& split)
    : sidecar_(read_pair_sidecar(prefix)),
      split_(split_of(sidecar_, prefix, split)),
      path_(prefix + "." + split),
      digest_(xxh3_hex(split_.source.digest + split_.target.digest)),
      source_(open_side(path_ + ".source", split_.pairs, split_.source.tokens)),
      target_(open_side(path_ + ".target", split_.pairs, split_.target.tokens)) {}

int64_t PairDataset::length(PairSideName side, int64_t pair) const {
  const std::span<const int64_t> starts = of(side).document_starts();
  const auto i = static_cast<size_t>(pair);
  return (i + 1 < starts.size() ? starts[i + 1] : of(side).tokens()) - starts[i];
}

int64_t PairDataset::longer_side(int64_t pair) const {
  return std::max(length(PairSideName::kSource, pair), length(PairSideName::kTarget, pair));
}

void PairDataset::read(PairSideName side, int64_t pair, std::span<int64_t> out) const {
  of(side).read(of(side).document_starts()[static_cast<size_t>(pair)], out, vocab());
}

}  // namespace dagpam::data
