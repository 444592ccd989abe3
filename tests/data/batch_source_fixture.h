// tests/data/batch_source_fixture.h: small data sets and what a source hands out of them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "configs/errors.h"
#include "data/batch_source.h"
#include "data/digest.h"
#include "data/indexed_dataset.h"
#include "data/indexed_writer.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {

using Tokens = std::vector<int64_t>;
using Rows = std::map<int64_t, Tokens>;  // by global sample index: inputs, then the last target

constexpr int64_t kContext = 8;
constexpr int64_t kVocab = 1'000'000;

class BatchSourceTest : public ::testing::Test {
 protected:
  // A source whose token t has id first + t, so that a row tells its source and its place.
  std::string add_source(const std::string& name, int32_t tokens, int32_t first,
                         const std::vector<int32_t>& documents = {}) {
    IndexedWriter writer(folder_ / (name + ".train"), TokenWidth::kI32);
    std::vector<int32_t> ids(static_cast<size_t>(tokens));
    std::iota(ids.begin(), ids.end(), first);
    size_t at = 0;
    for (const int32_t length : documents) {
      writer.add_document(std::span(ids).subspan(at, static_cast<size_t>(length)));
      at += static_cast<size_t>(length);
    }
    writer.add_document(std::span(ids).subspan(at));
    writer.finish();
    return folder_ / name;
  }

  void mix(const std::string& prefix, double weight) {
    configs::WeightedData* data = config_.add_train();
    data->set_prefix(prefix);
    data->set_weight(weight);
  }

  static BatchOptions options() {
    BatchOptions options;
    options.seed = 7;
    options.context = kContext;
    options.global_batch = 12;
    options.micro_batch = 12;
    options.vocab = kVocab;
    options.prefetch = 3;
    return options;
  }

  std::unique_ptr<BatchSource> open(const BatchOptions& options, const DataPosition& from = {}) {
    return open_batches(config_, options, from);
  }

  // What one rank is given in the next `steps` steps; every row and its shape are checked.
  static void collect(BatchSource& source, const BatchOptions& o, int steps, Rows& rows) {
    const int64_t batches = steps * o.global_batch / o.ranks / o.micro_batch;
    for (int64_t i = 0; i < batches; ++i) {
      const Batch& batch = source.next();
      ASSERT_EQ(batch.rows, o.micro_batch);
      ASSERT_EQ(batch.context, o.context);
      ASSERT_EQ(std::ssize(batch.samples), batch.rows);
      ASSERT_EQ(std::ssize(batch.inputs), batch.rows * o.context);
      ASSERT_EQ(batch.targets.size(), batch.inputs.size());
      for (int64_t row = 0; row < batch.rows; ++row) {
        const auto begin = batch.inputs.begin() + row * o.context;
        Tokens tokens(begin, begin + o.context);
        tokens.push_back(batch.targets[static_cast<size_t>((row + 1) * o.context - 1)]);
        for (int64_t t = 0; t < o.context; ++t) {  // targets are the inputs one later
          ASSERT_EQ(batch.targets[static_cast<size_t>(row * o.context + t)],
                    tokens[static_cast<size_t>(t + 1)]);
        }
        const bool is_new = rows.emplace(batch.samples[static_cast<size_t>(row)], tokens).second;
        ASSERT_TRUE(is_new) << "a sample came twice";
      }
    }
  }

  Rows collect_all(const std::vector<BatchOptions>& ranks, int steps,
                   const DataPosition& from = {}) {
    Rows rows;
    for (const BatchOptions& o : ranks) collect(*open(o, from), o, steps, rows);
    return rows;
  }

  static std::vector<BatchOptions> layout(int ranks, int64_t micro_batch) {
    std::vector<BatchOptions> all;
    for (int rank = 0; rank < ranks; ++rank) {
      all.push_back(options());
      all.back().rank = rank;
      all.back().ranks = ranks;
      all.back().micro_batch = micro_batch;
    }
    return all;
  }

  ScratchFolder folder_;
  configs::DataConfig config_;
};

}  // namespace dagpam::data
