// trainer/evaluation/split_evaluation.h: a split of a data set of either kind, as a run evaluates
// it.
#pragma once

#include <functional>
#include <string>

#include "data/pair_evaluation.h"
#include "trainer/evaluation/evaluator.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer {

// PREFIX.SPLIT in windows of the model's context without overlap, of valid no more than
// train.eval_batches; or all its sentence pairs. Ranks of `group` as evaluate() says; `give_up` as
// in EvaluationOptions. Throws DataError.
Evaluation evaluate_split(const RunPlan& plan, const Model& model, const std::string& prefix,
                          const std::string& split, parallel::Communicator& group,
                          const std::function<bool()>& give_up, bool progress);

// Mean nll of the targets, their ends counted, in nats a token. All ranks of `group`, over which
// the pairs are shared out, call and get the same result.
Evaluation evaluate_pairs(const Model& model, data::PairEvaluation& pairs,
                          parallel::Communicator& group, const std::function<bool()>& give_up = {},
                          bool progress = false);

}  // namespace dagpam::trainer
