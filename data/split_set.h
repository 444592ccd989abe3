// data/split_set.h: the documents of a data set over several: `dagpam data split`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/sidecar.h"

namespace dagpam::data {

// Where a share of the documents goes.
struct SplitPart {
  std::string prefix;
  std::string split = "train";
  double share = 0;  // of the documents, in (0, 1]
};

// "PREFIX=SHARE" or "PREFIX:SPLIT=SHARE", e.g. "mine:valid=0.1". ConfigError.
SplitPart parse_split_part(const std::string& text);

struct SplitOptions {
  std::string set;  // PREFIX, or an llm.c file
  std::string split = "train";
  std::vector<SplitPart> parts;  // shares that sum to 1; one prefix may stand in several
  // Documents are drawn for the parts, the same under the same seed; none: the first part gets the
  // first ones, and so on. Within a part they keep their order.
  std::optional<uint64_t> seed;
  std::function<void()> check;  // called now and then, may throw
};

struct SplitCount {
  int64_t documents = 0, tokens = 0;
};

// Writes each part as PREFIX.SPLIT.{bin,idx} and each prefix's PREFIX.json (none where SET has
// none), which replace what was there under the prefix; returns what each part holds. A part gets
// as many documents as its share of them comes to, rounded. The files of a prefix appear together
// or not at all; prefixes one after the other. Memory does not grow with the tokens: 20 bytes a
// document.
//
// Throws ConfigError (shares that do not sum to 1, a part twice, an output that is an input),
// DataError (a set that is missing or bad, a part that would get no document), IoError.
std::vector<SplitCount> split_set(const SplitOptions& options);

}  // namespace dagpam::data
