// tests/fuzz/dataset_fuzz.h: what must hold for any token file that is opened.
#pragma once

#include <algorithm>

#include "data/indexed_dataset.h"
#include "data/verify.h"
#include "tests/fuzz/scratch.h"

namespace dagpam::fuzz {

// Opens `path` (of data::open_dataset), reads it whole as a vocabulary of 100, verifies `prefix`.
inline bool use_dataset(const std::string& path, const std::string& prefix) {
  try {
    const auto dataset = data::open_dataset(path);
    const auto starts = dataset->document_starts();
    require(std::is_sorted(starts.begin(), starts.end()), "documents ascend");
    require(starts.empty() || (starts.front() == 0 && starts.back() < dataset->tokens()),
            "documents start within the tokens");
    require(dataset->digest().size() == 32, "a data set has a digest");
    const bool is_good = data::verify_dataset(prefix).good();
    std::vector<int64_t> ids(static_cast<size_t>(dataset->tokens()));
    dataset->read(0, ids, 100);
    for (const int64_t id : ids) require(id >= 0 && id < 100, "an id outside the vocabulary");
    return is_good;
  } catch (const DataError& error) {
    require_one_line(error);
    return false;
  }
}

}  // namespace dagpam::fuzz
