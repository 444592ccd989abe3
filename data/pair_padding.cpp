#include "data/pair_padding.h"

#include <algorithm>
#include <numeric>

#include "data/pair_source.h"

namespace dagpam::data {

PairPadding padding_of_epoch(const std::string& prefix, uint64_t seed, int64_t batch_tokens,
                             int64_t pool_pairs) {
  PairOptions options;
  options.prefix = prefix;
  options.seed = seed;
  options.batch_tokens = batch_tokens;
  options.pool_pairs = pool_pairs;
  options.context = options.vocab = INT32_MAX;  // of no model
  const std::unique_ptr<PairSource> source = open_pairs(options, {});
  PairPadding sum;
  sum.batches = source->batches_per_epoch();
  sum.fewest_rows = source->pairs_per_epoch();
  for (int64_t i = 0; i < sum.batches; ++i) {
    const PairBatch& batch = source->next();
    sum.fewest_rows = std::min(sum.fewest_rows, batch.rows);
    sum.most_rows = std::max(sum.most_rows, batch.rows);
    const auto padding = [](int64_t cells, const std::vector<int32_t>& lengths) {
      return cells - std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    };
    const int64_t source_cells = batch.rows * batch.source_length;
    const int64_t target_cells = batch.rows * batch.target_length;
    sum.source_cells += source_cells;
    sum.target_cells += target_cells;
    sum.source_padding += padding(source_cells, batch.source_lengths);
    sum.target_padding += padding(target_cells, batch.target_lengths);
  }
  return sum;
}

}  // namespace dagpam::data
