// data/merge_sets.h: several data sets to one: `dagpam data merge`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/sidecar.h"

namespace dagpam::data {

// Writes the documents of `sets` (prefixes, or llm.c's .bin files, which are training data), one
// set behind the other, to OUT.{train,valid,test}.{bin,idx}, each split where at least one has it,
// and OUT.json, whose sources are theirs; returns what that says. Data of other programs without
// PREFIX.json merges among itself, to a set without one; then vocab_size is 0.
//
// Document boundaries are kept; a document of several sequences becomes one. Tokens are u16 or i32
// as the vocabulary asks, where it is not known as the widest set has them. All files appear
// together or none does. Memory does not grow with the tokens: 20 bytes a document. `check` is
// called now and then and may throw.
//
// Throws ConfigError (no set, a name of OUT that is an input), DataError (a set that is missing or
// bad, sets with different tokenizers, a set of sentence pairs, an id outside the vocabulary),
// IoError.
Sidecar merge_sets(const std::vector<std::string>& sets, const std::string& out,
                   const std::function<void()>& check);

}  // namespace dagpam::data
