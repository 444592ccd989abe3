// data/pair_source.h: sentence pairs for training an encoder-decoder, and the thread that makes
// batches ahead.
//
// One batch of data/pair_order.h is one optimizer step over all ranks. Rank r of n takes a
// contiguous share of its rows, which may be none, and hands it out in micro-batches. The sentences
// that a step holds, and their order, depend on nothing but (seed, data, batch_tokens, pool_pairs):
// not on the ranks, the micro-batches, or where a run was stopped.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/batch_source.h"
#include "data/pair_batch.h"

namespace dagpam::data {

struct PairOptions {
  std::string prefix;  // of `dagpam data pairs`
  uint64_t seed = 0;
  int64_t batch_tokens = 4096;  // padded tokens of a step over all ranks: rows x longest sentence
  int64_t micro_tokens = 0;     // the same of a rank's micro-batch (one row may have more); 0: a
                                // rank's whole share is one micro-batch
  int64_t pool_pairs = 0;       // pairs that are sorted by length together; 0: about 100 batches
  int64_t context = 0;          // longest sentence that the model takes, eos counted
  int64_t vocab = 0;            // symbols of the model
  int rank = 0, ranks = 1;
  int64_t prefetch = 4;  // micro-batches made ahead
  // A run may go on with other data than it was saved with: after as many pairs.
  bool allow_other_data = false;
};

class PairSource {
 public:
  virtual ~PairSource() = default;
  // The next micro-batch of this rank, in order: at least one for each step, until one that
  // ends_step; ranks may need different numbers. Good until the next call. Blocks only when the
  // loader thread is behind. Throws DataError (bad token id, file gone).
  virtual const PairBatch& next() = 0;
  // The same rows as training takes them (data/pair_batches.h), made by the loader thread too. Good
  // until the next call of next().
  virtual const Batch& batch() const = 0;
  // After the micro-batches handed out so far; std::logic_error within a step. One entry in digests
  // and drawn.
  virtual DataPosition position() const = 0;
  virtual int64_t pairs_per_epoch() const = 0;
  // Of the epoch in which the source was opened; others differ by a few, since pools fall
  // differently.
  virtual int64_t batches_per_epoch() const = 0;
};

// Opens PREFIX.train.{source,target} and starts the loader thread at `from`, at once wherever that
// is. Goes on bit by bit under the same seed, data, batch_tokens and pool_pairs, and any ranks;
// where these have changed, with the first batch that begins behind as many pairs.
//
// Throws ConfigError where an option has no meaning, the vocabulary is larger than the model's, or
// a sentence is longer than batch_tokens; DataError where a file is missing or bad, the data is one
// text, sentences are longer than `context` (with their number; nothing is dropped here), or `from`
// was saved with other data and that is not allowed.
std::unique_ptr<PairSource> open_pairs(const PairOptions& options, const DataPosition& from);

// PREFIX.SPLIT, refused as open_pairs does where it does not fit the model.
std::shared_ptr<const PairDataset> open_fitting_pairs(const PairOptions& options,
                                                      const std::string& split);

}  // namespace dagpam::data
