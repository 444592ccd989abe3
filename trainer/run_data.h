// trainer/run_data.h: the data of a run of either kind of model.
#pragma once

#include <memory>

#include "data/batch_source.h"
#include "data/pair_source.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer {

bool reads_pairs(const configs::RunConfig& config);  // the model is an encoder-decoder

// How copy `copy` of the plan's model copies takes its part of the data, of either kind.
data::BatchOptions batch_options(const RunPlan& plan, int copy);
data::PairOptions pair_options(const RunPlan& plan, int copy);

// The training batches of copy `copy`, from `from` on. `other_data`: a run may go on with other
// data than it was saved with. Throws as data::open_batches and data::open_pairs do.
std::unique_ptr<data::BatchSource> open_training_data(const RunPlan& plan, int copy,
                                                      const data::DataPosition& from = {},
                                                      bool other_data = false);

}  // namespace dagpam::trainer
