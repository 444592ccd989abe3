#include "data/pair_source.h"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "configs/errors.h"
#include "data/loader_thread.h"
#include "data/pair_batches.h"
#include "data/pair_maker.h"
#include "data/pair_order.h"

namespace dagpam::data {
namespace {

void require(bool good, const std::string& field, int64_t value, const std::string& expected) {
  if (good) return;
  throw ConfigError(field + ": " + std::to_string(value) + ", expected " + expected);
}

void check_options(const PairOptions& o) {
  require(o.context >= 1 && o.context <= INT32_MAX, "model.context", o.context,
          "1 to " + std::to_string(INT32_MAX));
  require(o.vocab >= 1, "model.vocab", o.vocab, "a number from 1");
  require(o.batch_tokens >= 1 && o.batch_tokens <= INT32_MAX, "train.batch_tokens", o.batch_tokens,
          "1 to " + std::to_string(INT32_MAX));
  require(o.micro_tokens >= 0, "train.micro_tokens", o.micro_tokens, "a number from 0");
  require(o.pool_pairs >= 0, "data.pool_pairs", o.pool_pairs, "a number from 0");
  require(o.prefetch >= 1, "data.prefetch", o.prefetch, "a number from 1");
  require(o.ranks >= 1, "ranks", o.ranks, "a number from 1");
  require(o.rank >= 0 && o.rank < o.ranks, "rank", o.rank, "0 to " + std::to_string(o.ranks - 1));
}

void check_lengths(const PairDataset& dataset, const PairOptions& options) {
  int64_t too_long = 0, longest = 0;
  for (int64_t pair = 0; pair < dataset.pairs(); ++pair) {
    const int64_t length = dataset.longer_side(pair);
    longest = std::max(longest, length);
    if (length > options.context) ++too_long;
  }
  if (too_long > 0) {
    const std::string remedy =
        dataset.split().name == "train"
            ? ": raise it, or drop them by `dagpam data pairs --max-tokens " +
                  std::to_string(options.context) + "`"
            : ": raise it, or leave these pairs out of the text";
    throw DataError(dataset.path() + ": " + std::to_string(too_long) + " of " +
                    std::to_string(dataset.pairs()) + " pairs have a sentence of more than " +
                    std::to_string(options.context) + " tokens (model.context), the longest " +
                    std::to_string(longest) + remedy);
  }
  require(longest <= options.batch_tokens, "train.batch_tokens", options.batch_tokens,
          "at least the " + std::to_string(longest) + " tokens of the longest sentence in " +
              dataset.path());
}

std::vector<PairLength> lengths_of(const PairDataset& dataset) {
  std::vector<PairLength> lengths;
  lengths.reserve(static_cast<size_t>(dataset.pairs()));
  for (int64_t pair = 0; pair < dataset.pairs(); ++pair) {
    const auto source = static_cast<int32_t>(dataset.length(PairSideName::kSource, pair));
    const auto target = static_cast<int32_t>(dataset.length(PairSideName::kTarget, pair));
    lengths.push_back({std::max(source, target), std::min(source, target)});
  }
  return lengths;
}

// Micro-batches made ahead.
class PairLoader final : public PairSource {
 public:
  PairLoader(std::shared_ptr<const PairDataset> dataset, PairMaker maker, size_t ahead)
      : dataset_(std::move(dataset)),
        maker_(std::move(maker)),
        batches_per_epoch_(maker_.order().batches_of_epoch()),
        loader_(
            [this](Item& item) {
              maker_.make(item.pairs);
              to_batch(item.pairs, dataset_->special(), item.batch);
              item.next_sample = maker_.order().next_sample();
            },
            ahead, Item{{}, {}, maker_.order().next_sample()}) {}

  const PairBatch& next() override { return loader_.next().pairs; }
  const Batch& batch() const override { return loader_.current().batch; }

  DataPosition position() const override {
    const Item& current = loader_.current();
    if (!current.pairs.ends_step) {
      throw std::logic_error("the position in the data was asked for within a step");
    }
    return {current.next_sample, {dataset_->digest()}, {current.next_sample}, {0}};
  }

  int64_t pairs_per_epoch() const override { return dataset_->pairs(); }
  int64_t batches_per_epoch() const override { return batches_per_epoch_; }

 private:
  // A micro-batch, and where the run stands in its data after its step.
  struct Item {
    PairBatch pairs;
    Batch batch;
    int64_t next_sample = 0;
  };

  std::shared_ptr<const PairDataset> dataset_;
  PairMaker maker_;  // of the loader thread alone, once it runs
  const int64_t batches_per_epoch_;
  LoaderThread<Item> loader_;  // last: its thread uses the rest
};

void check_digest(const PairDataset& dataset, const DataPosition& from, bool allow_other_data) {
  if (from.digests.empty() || allow_other_data) return;
  if (from.digests.size() != 1) {
    throw DataError("data.train: one set of sentence pairs, expected the " +
                    std::to_string(from.digests.size()) + " sources that the run was saved with");
  }
  if (from.digests.front() == dataset.digest()) return;
  throw DataError(dataset.path() + ": has digest " + dataset.digest() + ", expected " +
                  from.digests.front() +
                  ": the run was saved with other data; give it back, start a new run, or go on "
                  "with this by --allow-change data.train");
}

}  // namespace

std::shared_ptr<const PairDataset> open_fitting_pairs(const PairOptions& options,
                                                      const std::string& split) {
  check_options(options);
  auto dataset = std::make_shared<const PairDataset>(options.prefix, split);
  if (dataset->vocab() > options.vocab) {
    throw ConfigError("model.vocab: " + std::to_string(options.vocab) + ", expected at least the " +
                      std::to_string(dataset->vocab()) + " symbols of " + options.prefix +
                      ".json; leave it unset to take it from the data");
  }
  check_lengths(*dataset, options);
  return dataset;
}

std::unique_ptr<PairSource> open_pairs(const PairOptions& options, const DataPosition& from) {
  std::shared_ptr<const PairDataset> dataset = open_fitting_pairs(options, "train");
  check_digest(*dataset, from, options.allow_other_data);
  PairOrder order({options.seed, options.batch_tokens, options.pool_pairs}, dataset->digest(),
                  lengths_of(*dataset));
  order.restore(from.next_sample);
  PairMaker maker(dataset, std::move(order), {options.rank, options.ranks, options.micro_tokens});
  return std::make_unique<PairLoader>(std::move(dataset), std::move(maker),
                                      static_cast<size_t>(options.prefetch));
}

}  // namespace dagpam::data
