// trainer/planning/assumed_run.h: a run before its data and its machines are there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/planning/layout.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer::planning {

// As plan_run() (run_plan.h), on one rank, but data sets that are not here are done without: then
// model.vocab must be set, train.epochs cannot be, and data.valid_tokens is -1. Throws ConfigError;
// also for an encoder-decoder, whose batches depend on its sentences. DataError where a data set is
// here and cannot be read.
RunPlan assumed_run(const configs::RunConfig& config);

// Why `layout` cannot share out the run, in words; empty where it can.
std::string refusal(const RunPlan& plan, const Layout& layout);

// The config's own layout over so many ranks; micro_batch 0 where the config leaves it open and the
// global batch does not divide.
Layout own_layout(const RunPlan& plan, const configs::RunConfig& config, int ranks);

}  // namespace dagpam::trainer::planning
