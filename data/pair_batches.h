// data/pair_batches.h: sentence pairs in the form that all training takes.
#pragma once

#include <memory>

#include "data/batch_source.h"
#include "data/pair_source.h"

namespace dagpam::data {

// batch <- the rows of `pairs`: targets that are padding become -100. Where there is none, one row
// without a target that counts, since a model computes no empty batch.
void to_batch(const PairBatch& pairs, const SpecialIds& special, Batch& batch);

// The batches of `source`, which it owns. samples_per_epoch() counts pairs.
std::unique_ptr<BatchSource> as_batches(std::unique_ptr<PairSource> source);

}  // namespace dagpam::data
