// trainer/analysis/run_analysis.h: analyses of a model along its run, a line each in
// analysis.jsonl.
#pragma once

#include <cstdint>
#include <memory>

#include "configs/run.pb.h"
#include "data/indexed_dataset.h"
#include "trainer/analysis/analysis.h"
#include "trainer/model/transformer_lm.h"
#include "trainer/run_folder.h"
#include "trainer/telemetry/metrics.h"

namespace dagpam::trainer {

// Of the rank that holds the whole model and writes.
class RunAnalysis {
 public:
  // `config` is resolved, names data.valid and must outlive this. Drops the lines after
  // `step`, which the run will write again. Throws DataError, IoError.
  RunAnalysis(const configs::RunConfig& config, const RunFolder& folder, int64_t step);

  bool analyzed() const { return analyzed_; }  // there was a line of that step

  // What analyze() finds of a float32 copy of the model, which is gone afterwards: the model, its
  // gradients and what hangs on them stay untouched. The sequences are the same at every step: 4 of
  // the model's context, or as many as the split holds.
  Analysis analyze(const Model& model, int64_t step);

  void flush();  // until analysis.jsonl is on disk; from any thread. Throws IoError.

 private:
  const configs::RunConfig& config_;
  std::unique_ptr<data::TokenDataset> dataset_;
  bool analyzed_;
  std::unique_ptr<MetricsWriter> lines_;
};

}  // namespace dagpam::trainer
