// data/pair_batch.h: rows of sentence pairs as a model reads them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/pair_dataset.h"

namespace dagpam::data {

// A micro-batch of one rank. Row-major; S source_length, T target_length: the longest of its rows,
// eos counted. Cells behind a sentence's end hold the pad id.
struct PairBatch {
  int64_t rows = 0;  // 0 where a step has fewer pairs than ranks; then S = T = 1
  int64_t source_length = 0, target_length = 0;
  std::vector<int64_t> samples;         // [rows] global sample index: one for a pair and epoch
  std::vector<int64_t> pairs;           // [rows] number of the pair in its split
  std::vector<int64_t> source;          // [rows, S] the source, then eos
  std::vector<int64_t> target_inputs;   // [rows, T] bos, then the target
  std::vector<int64_t> targets;         // [rows, T] the target, then eos
  std::vector<int32_t> source_lengths;  // [rows] cells that are not pad
  std::vector<int32_t> target_lengths;  // [rows] the same, in target_inputs and in targets
  int64_t step_rows = 0;                // pairs of the step, over all ranks
  int64_t step_target_tokens = 0;       // of targets, not pad, over all ranks of the step
  int64_t epoch = 0;                    // from 0
  bool ends_step = true;                // the last micro-batch of this rank's step
};

// The rows that `pairs` name, with samples first_sample, first_sample + 1 ... Leaves the fields of
// the step alone. DataError where a token id is outside the vocabulary.
void fill_rows(const PairDataset& dataset, std::span<const int64_t> pairs, int64_t first_sample,
               PairBatch& batch);

// Tokens of all targets of a step.
int64_t target_tokens(const PairDataset& dataset, std::span<const int64_t> pairs);

// Rows of a step that rank `rank` of `ranks` takes: a contiguous share, as even as it goes.
struct RowShare {
  int64_t begin = 0, end = 0;
};
RowShare share_of_rank(int64_t rows, int rank, int ranks);

}  // namespace dagpam::data
