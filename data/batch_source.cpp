#include "data/batch_source.h"

#include <optional>
#include <utility>

#include "configs/errors.h"
#include "data/batch_maker.h"
#include "data/indexed_dataset.h"
#include "data/prefetcher.h"
#include "data/sample_order.h"

namespace dagpam::data {
namespace {

void require(bool good, const std::string& field, int64_t value, const std::string& expected) {
  if (good) return;
  throw ConfigError(field + ": " + std::to_string(value) + ", expected " + expected);
}

void check_options(const BatchOptions& o) {
  require(o.context >= 1 && o.context <= INT32_MAX, "model.context", o.context,
          "1 to " + std::to_string(INT32_MAX));
  require(o.vocab >= 1, "model.vocab", o.vocab, "a number from 1");
  require(o.prefetch >= 1, "data.prefetch", o.prefetch, "a number from 1");
  require(o.ranks >= 1, "ranks", o.ranks, "a number from 1");
  require(o.rank >= 0 && o.rank < o.ranks, "rank", o.rank, "0 to " + std::to_string(o.ranks - 1));
  require(o.global_batch >= 1 && o.global_batch % o.ranks == 0, "train.global_batch",
          o.global_batch, "a multiple of the " + std::to_string(o.ranks) + " ranks");
  const int64_t rows = o.global_batch / o.ranks;
  require(o.micro_batch >= 1 && rows % o.micro_batch == 0, "train.micro_batch", o.micro_batch,
          "a divisor of the " + std::to_string(rows) + " sequences of each rank");
}

// All sources must mean the same by an id, and the model must have a row for each.
void check_vocabularies(const configs::DataConfig& config, int64_t vocab) {
  std::optional<Sidecar> first;
  std::string first_prefix;
  for (const configs::WeightedData& data : config.train()) {
    const std::optional<Sidecar> sidecar = find_sidecar(data.prefix());
    if (!sidecar) continue;
    if (sidecar->vocab_size > vocab) {
      throw ConfigError("model.vocab: " + std::to_string(vocab) + ", expected at least the " +
                        std::to_string(sidecar->vocab_size) + " symbols of " + data.prefix() +
                        ".json; leave it unset to take it from the data");
    }
    if (first && sidecar->tokenizer_digest != first->tokenizer_digest) {
      throw DataError(data.prefix() + ".json: its tokenizer has digest " +
                      sidecar->tokenizer_digest + ", expected " + first->tokenizer_digest +
                      " as in " + first_prefix + ".json: prepare both with one tokenizer");
    }
    if (!first) {
      first = sidecar;
      first_prefix = data.prefix();
    }
  }
}

std::vector<std::unique_ptr<TokenDataset>> open_sources(const configs::DataConfig& config,
                                                        int64_t context) {
  std::vector<std::unique_ptr<TokenDataset>> sources;
  for (const configs::WeightedData& data : config.train()) {
    sources.push_back(open_dataset(split_path(data.prefix(), "train")));
    const TokenDataset& source = *sources.back();
    if (source.tokens() > context) continue;
    throw DataError(source.path() + ": holds " + std::to_string(source.tokens()) +
                    " tokens, expected at least " + std::to_string(context + 1) +
                    " (model.context + 1): use more text or a shorter context");
  }
  return sources;
}

void check_digests(const std::vector<std::unique_ptr<TokenDataset>>& sources,
                   const std::vector<std::string>& saved, bool allow_other_data) {
  if (saved.empty()) return;
  if (saved.size() != sources.size()) {
    throw DataError("data.train: " + std::to_string(sources.size()) + " sources, expected the " +
                    std::to_string(saved.size()) + " that the run was saved with");
  }
  for (size_t i = 0; i < saved.size(); ++i) {
    if (allow_other_data || sources[i]->digest() == saved[i]) continue;
    throw DataError(sources[i]->path() + ": has digest " + sources[i]->digest() + ", expected " +
                    saved[i] +
                    ": the run was saved with other data; give it back, start a new run, or go on "
                    "with this by --allow-change data.train");
  }
}

// A run's data before its first sample.
struct Opened {
  std::vector<std::unique_ptr<TokenDataset>> sources;
  std::vector<std::string> digests;
  SampleOrder order;
};

Opened open_data(const configs::DataConfig& config, const BatchOptions& options,
                 const std::vector<std::string>& saved_digests) {
  check_options(options);
  if (config.train().empty()) {
    throw ConfigError("data.train: empty, expected at least one prefix of `dagpam data prepare`");
  }
  check_vocabularies(config, options.vocab);
  std::vector<std::unique_ptr<TokenDataset>> sources = open_sources(config, options.context);
  check_digests(sources, saved_digests, options.allow_other_data);
  std::vector<std::string> digests;
  std::vector<SourceOrder> orders;
  for (const auto& source : sources) {
    digests.push_back(source->digest());
    orders.emplace_back(options.seed, digests.back(), source->tokens(), options.context);
  }
  std::vector<double> weights;
  for (const configs::WeightedData& data : config.train()) weights.push_back(data.weight());
  return {std::move(sources), std::move(digests), SampleOrder(std::move(orders), weights)};
}

}  // namespace

std::unique_ptr<BatchSource> open_batches(const configs::DataConfig& config,
                                          const BatchOptions& options, const DataPosition& from) {
  Opened data = open_data(config, options, from.digests);
  data.order.restore(from.next_sample, from.drawn, from.drawn_before_weights);
  BatchMaker maker(std::move(data.sources), std::move(data.order),
                   {options, config.reset_positions(), config.reset_attention()});
  return std::make_unique<Prefetcher>(std::move(maker), std::move(data.digests),
                                      static_cast<size_t>(options.prefetch));
}

void for_each_sample(const configs::DataConfig& config, const BatchOptions& options, int64_t first,
                     int64_t count, const std::function<void(const SamplePlace&)>& visit) {
  Opened data = open_data(config, options, {});
  data.order.skip(first);
  for (int64_t i = 0; i < count; ++i) visit(data.order.next());
}

}  // namespace dagpam::data
