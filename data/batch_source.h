// data/batch_source.h: which sample goes where, and the thread that makes batches ahead.
//
// The order of samples is a pure function of (seed, data, context, global sample index): it does
// not depend on the number of ranks, on the micro-batch, or on where a run was stopped. Step s
// takes the samples [s * global_batch, (s + 1) * global_batch); rank r of n takes a contiguous 1/n
// of them, micro-batch by micro-batch.
//
// In one source, epoch e is a permutation (keyed by seed, the data's digest and e) of its
// non-overlapping windows of context + 1 tokens (the next window starts on the last token of the
// previous one); windows shift by a keyed offset each epoch; head and tail that do not fill a
// window are dropped, less than 2 context tokens an epoch (data/sample_order.h). Sources are
// blended so that after any n samples each gave within 1 of n times its share (data/blend.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "data/sample_order.h"

namespace dagpam::data {

// A micro-batch of one rank. Row-major. `context` of sentence pairs: the longest target of the
// batch.
struct Batch {
  int64_t rows = 0, context = 0;
  std::vector<int64_t> samples;  // [rows] global sample index
  std::vector<int64_t> inputs;   // [rows, context]
  std::vector<int64_t> targets;  // [rows, context]
  // Tokens since the document's start, or the row's where that is later: [rows, context]. Empty
  // unless data.reset_positions.
  std::vector<int64_t> positions;
  // First visible key of each query: the column where its document starts in the row:
  // [rows, context]. Empty unless data.reset_attention.
  std::vector<int32_t> key_begin;
  // Sentence pairs alone: the source texts, padded to the longest of the batch, and how long each
  // is; targets that are padding are -100; and the targets that are not, of the whole step over all
  // ranks.
  int64_t source_context = 0;
  std::vector<int64_t> source;          // [rows, source_context]
  std::vector<int32_t> source_lengths;  // [rows]
  int64_t step_tokens = 0;
  bool ends_step = false;  // this rank's last of the step
};

struct BatchOptions {
  uint64_t seed = 0;
  int64_t context = 0, global_batch = 0, micro_batch = 0, vocab = 0;
  int rank = 0, ranks = 1;
  int64_t prefetch = 4;
  // A run may go on with other data than it was saved with, in as many sources: each goes on after
  // as many samples as were drawn from its predecessor.
  bool allow_other_data = false;
};

// Position of a run in its data. Serialised into checkpoints.
struct DataPosition {
  int64_t next_sample = 0;  // first global sample index that no step has used
  // One entry per source of the mixture: samples drawn from it so far, and of these before the
  // present weights came into force.
  std::vector<std::string> digests;
  std::vector<int64_t> drawn, drawn_before_weights;
};

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // The next micro-batch of this rank, in order. The reference stays good until the next call.
  // Blocks only when the loader thread is behind. Throws DataError (bad token id, file gone).
  virtual const Batch& next() = 0;
  // After the micro-batches handed out so far (a whole number of steps).
  virtual DataPosition position() const = 0;
  virtual int64_t samples_per_epoch() const = 0;  // of the whole mixture: sum over sources
};

// Opens PREFIX.train of every source of the mixture and starts the loader thread at `from`.
// Throws DataError where a file is missing or bad, has another vocabulary than its neighbours, or
// is shorter than one window; and where `from` was saved with other sources (digests) and that is
// not allowed. Weights may differ from those of `from`: each source goes on after its last sample,
// in the new shares.
std::unique_ptr<BatchSource> open_batches(const configs::DataConfig& config,
                                          const BatchOptions& options, const DataPosition& from);

// Where the samples [first, first + count) of a run stand in its data, in order: for looking into a
// step whose loss is strange, and for other programs that are to see the same data. Throws as
// open_batches does.
void for_each_sample(const configs::DataConfig& config, const BatchOptions& options, int64_t first,
                     int64_t count, const std::function<void(const SamplePlace&)>& visit);

}  // namespace dagpam::data
