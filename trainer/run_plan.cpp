#include "trainer/run_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "data/indexed_dataset.h"

namespace dagpam::trainer {

using configs::RunConfig;

namespace {

void check_same_vocabulary(const data::Sidecar& first, const std::string& first_prefix,
                           const std::string& prefix) {
  const data::Sidecar other = data::read_sidecar(prefix);
  if (other.tokenizer_digest == first.tokenizer_digest) return;
  throw DataError(prefix + ".json: tokenizer " + other.tokenizer_digest + " differs from " +
                  first.tokenizer_digest + " of " + first_prefix +
                  ".json: prepare all data of a run with one tokenizer");
}

// Opens the split, so that a missing or damaged file is refused before the run starts.
int64_t tokens_of(const std::string& prefix, const std::string& split) {
  return data::open_dataset(data::split_path(prefix, split))->tokens();
}

int64_t steps_of(const configs::TrainConfig& train, int64_t context, int64_t samples_per_epoch) {
  double steps = 0;
  if (train.has_steps()) return train.steps();
  const auto batch = static_cast<double>(train.global_batch());
  if (train.has_tokens()) {
    steps = static_cast<double>(train.tokens()) / (batch * static_cast<double>(context));
  } else {
    steps = train.epochs() * static_cast<double>(samples_per_epoch) / batch;
  }
  steps = std::max(1.0, std::ceil(steps));
  if (steps > static_cast<double>(std::numeric_limits<int32_t>::max())) {
    throw ConfigError("train: the length asked for is " + std::to_string(steps) +
                      " steps, more than 2147483647: choose fewer tokens or epochs");
  }
  return static_cast<int64_t>(steps);
}

}  // namespace

RunPlan plan_run(const RunConfig& config, int ranks) {
  configs::validate(config);
  RunPlan plan;
  plan.ranks = ranks;
  plan.config = configs::with_defaults(config);
  RunConfig& run = plan.config;
  plan.copies = configs::data_parallel_size(run, ranks);
  run.mutable_train()->set_micro_batch(configs::micro_batch(run, plan.copies));

  const std::string& first = run.data().train(0).prefix();
  plan.data = data::read_sidecar(first);
  int64_t samples = 0;
  const int64_t context = run.model().context();
  for (const configs::WeightedData& source : run.data().train()) {
    check_same_vocabulary(plan.data, first, source.prefix());
    const int64_t tokens = tokens_of(source.prefix(), "train");
    if (tokens <= context) {
      throw DataError(source.prefix() + ".train: " + std::to_string(tokens) +
                      " tokens do not fill one sequence of model.context + 1 = " +
                      std::to_string(context + 1) + ": shorten the context or add text");
    }
    plan.train_tokens += tokens;
    samples += (tokens - 1) / context;
  }
  for (const auto& [prefix, split] :
       {std::pair{run.data().valid(), "valid"}, std::pair{run.data().test(), "test"}}) {
    if (prefix.empty()) continue;
    check_same_vocabulary(plan.data, first, prefix);
    if (tokens_of(prefix, split) < 2) {
      throw DataError(prefix + "." + split + ": fewer than 2 tokens: nothing to evaluate");
    }
  }
  if (!run.model().has_vocab()) {
    run.mutable_model()->set_vocab(plan.data.vocab_size);
  } else if (run.model().vocab() < plan.data.vocab_size) {
    throw ConfigError("model.vocab: " + std::to_string(run.model().vocab()) +
                      " is smaller than the data's vocabulary of " +
                      std::to_string(plan.data.vocab_size) + " (" + first +
                      ".json): leave it unset or raise it");
  }
  plan.steps = steps_of(run.train(), context, samples);
  if (!run.schedule().has_decay_steps()) run.mutable_schedule()->set_decay_steps(plan.steps);
  plan.tokens_per_step = run.train().global_batch() * context;
  return plan;
}

int64_t micro_batch_tokens(const RunPlan& plan) {
  const configs::TrainConfig& train = plan.config.train();
  if (plan.config.model().kind() != configs::ModelConfig::ENCODER_DECODER) {
    return train.micro_batch() * plan.config.model().context();
  }
  const int64_t parts = plan.copies * train.accumulation();
  return (train.batch_tokens() + parts - 1) / parts;
}

data::BatchOptions batch_options(const RunPlan& plan, int copy) {
  data::BatchOptions options;
  options.seed = plan.config.train().seed();
  options.context = plan.config.model().context();
  options.global_batch = plan.config.train().global_batch();
  options.micro_batch = plan.config.train().micro_batch();
  options.vocab = plan.config.model().vocab();
  options.rank = copy;
  options.ranks = plan.copies;
  options.prefetch = plan.config.data().prefetch();
  return options;
}

}  // namespace dagpam::trainer
