// data/pair_padding.h: how well an epoch of sentence pairs fills its batches: `data info
// --batch-tokens`.
#pragma once

#include <cstdint>
#include <string>

namespace dagpam::data {

// Of one epoch under one rank.
struct PairPadding {
  int64_t batches = 0;
  int64_t fewest_rows = 0, most_rows = 0;          // of a batch
  int64_t source_cells = 0, target_cells = 0;      // rows x longest sentence of the side, summed
  int64_t source_padding = 0, target_padding = 0;  // of them
};

// Of the training pairs of PREFIX in epoch 0 under `seed`; the other arguments as PairOptions has
// them. Throws as open_pairs does.
PairPadding padding_of_epoch(const std::string& prefix, uint64_t seed, int64_t batch_tokens,
                             int64_t pool_pairs);

}  // namespace dagpam::data
