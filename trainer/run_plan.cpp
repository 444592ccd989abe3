#include "trainer/run_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "data/indexed_dataset.h"
#include "trainer/run_data.h"

namespace dagpam::trainer {

using configs::RunConfig;

namespace {

[[noreturn]] void refuse_tokenizer(const std::string& prefix, const std::string& digest,
                                   const std::string& first_prefix, const std::string& first) {
  throw DataError(prefix + ".json: tokenizer " + digest + " differs from " + first + " of " +
                  first_prefix + ".json: prepare all data of a run with one tokenizer");
}

void check_same_vocabulary(const data::Sidecar& first, const std::string& first_prefix,
                           const std::string& prefix) {
  const data::Sidecar other = data::read_sidecar(prefix);
  if (other.tokenizer_digest == first.tokenizer_digest) return;
  refuse_tokenizer(prefix, other.tokenizer_digest, first_prefix, first.tokenizer_digest);
}

// Opens the split, so that a missing or damaged file is refused before the run starts.
int64_t tokens_of(const std::string& prefix, const std::string& split) {
  return data::open_dataset(data::split_path(prefix, split))->tokens();
}

void settle_vocabulary(RunPlan& plan) {
  configs::ModelConfig& model = *plan.config.mutable_model();
  if (!model.has_vocab()) {
    model.set_vocab(plan.data.vocab_size);
  } else if (model.vocab() < plan.data.vocab_size) {
    throw ConfigError("model.vocab: " + std::to_string(model.vocab()) +
                      " is smaller than the data's vocabulary of " +
                      std::to_string(plan.data.vocab_size) + " (" +
                      plan.config.data().train(0).prefix() + ".json): leave it unset or raise it");
  }
}

// Opens every text that the config names, and takes from them what the config leaves open.
void plan_texts(RunPlan& plan) {
  RunConfig& run = plan.config;
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
  settle_vocabulary(plan);
  plan.tokens_per_step = run.train().global_batch() * context;
  plan.steps =
      steps_of_run(run.train(), static_cast<double>(plan.tokens_per_step),
                   static_cast<double>(samples) / static_cast<double>(run.train().global_batch()));
}

// The same of sentence pairs.
void plan_pairs(RunPlan& plan) {
  RunConfig& run = plan.config;
  const std::string& first = run.data().train(0).prefix();
  const data::PairSidecar pairs = data::read_pair_sidecar(first);
  plan.data.tokenizer_json = pairs.tokenizer_json;
  plan.data.tokenizer_digest = pairs.tokenizer_digest;
  plan.data.vocab_size = pairs.vocab_size;
  settle_vocabulary(plan);
  data::PairOptions options = pair_options(plan, 0);
  options.prefetch = 1;
  const double batches = static_cast<double>(data::open_pairs(options, {})->batches_per_epoch());
  for (const auto& [prefix, split] :
       {std::pair{run.data().valid(), "valid"}, std::pair{run.data().test(), "test"}}) {
    if (prefix.empty()) continue;
    options.prefix = prefix;
    const auto set = data::open_fitting_pairs(options, split);
    if (set->sidecar().tokenizer_digest != pairs.tokenizer_digest) {
      refuse_tokenizer(prefix, set->sidecar().tokenizer_digest, first, pairs.tokenizer_digest);
    }
  }
  plan.train_tokens = pairs.find("train")->target.tokens;
  const double per_step = static_cast<double>(plan.train_tokens) / batches;
  plan.tokens_per_step = static_cast<int64_t>(std::llround(per_step));
  plan.steps = steps_of_run(run.train(), per_step, batches);
}

}  // namespace

RunPlan plan_run(const RunConfig& config, int ranks) {
  configs::validate(config);
  RunPlan plan;
  plan.ranks = ranks;
  plan.config = configs::with_defaults(config);
  plan.copies = configs::data_parallel_size(plan.config, ranks);
  reads_pairs(plan.config) ? plan_pairs(plan) : plan_texts(plan);
  configs::ScheduleConfig& schedule = *plan.config.mutable_schedule();
  if (!schedule.has_decay_steps()) schedule.set_decay_steps(plan.steps);
  return plan;
}

int64_t steps_of_run(const configs::TrainConfig& train, double tokens_per_step,
                     double steps_per_epoch) {
  if (train.has_steps()) return train.steps();
  double steps = 0;
  if (train.has_tokens()) {
    steps = static_cast<double>(train.tokens()) / tokens_per_step;
  } else {
    steps = train.epochs() * steps_per_epoch;
  }
  steps = std::max(1.0, std::ceil(steps));
  if (steps > static_cast<double>(std::numeric_limits<int32_t>::max())) {
    throw ConfigError("train: the length asked for is " + std::to_string(steps) +
                      " steps, more than 2147483647: choose fewer tokens or epochs");
  }
  return static_cast<int64_t>(steps);
}

int64_t micro_batch_tokens(const RunPlan& plan) {
  const configs::TrainConfig& train = plan.config.train();
  if (plan.config.model().kind() != configs::ModelConfig::ENCODER_DECODER) {
    return train.micro_batch() * plan.config.model().context();
  }
  const int64_t share = (train.batch_tokens() + plan.copies - 1) / plan.copies;
  return train.micro_tokens() > 0 ? std::min(share, train.micro_tokens()) : share;
}

}  // namespace dagpam::trainer
