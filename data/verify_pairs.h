// data/verify_pairs.h: data/verify.h for sets of sentence pairs.
#pragma once

#include <string>
#include <vector>

#include "data/pair_sidecar.h"
#include "data/verify.h"

namespace dagpam::data {

// Reports of the sides of all splits that `sidecar` names, in order, e.g. "train.source".
std::vector<SplitReport> pair_sides(const std::string& prefix, const PairSidecar& sidecar);

// One line on what is wrong with the sentences of a side, empty where nothing is: as many as there
// are pairs, each with eos at its end and pad, bos and eos nowhere else. `name` as pair_sides gives
// it; the ids are within the vocabulary.
std::string problem_of_sentences(const std::string& prefix, const PairSidecar& sidecar,
                                 const std::string& name);

}  // namespace dagpam::data
