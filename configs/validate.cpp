// What must hold between fields. Each check names the field to change, its value and the way out.
#include <set>
#include <string>
#include <vector>

#include "configs/checked.h"
#include "configs/errors.h"
#include "configs/kinds.h"
#include "configs/ranges.h"
#include "configs/run_config.h"
#include "configs/text.h"

namespace dagpam::configs {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& problem) {
  throw ConfigError(path + ": " + problem);
}

std::string text(int64_t value) { return std::to_string(value); }

void check_model(const ModelConfig& model) {
  const int64_t width = model.width();
  const int64_t heads = model.heads();
  const int64_t kv_heads = model.kv_heads();
  if (width % heads != 0) {
    fail("model.heads", text(heads) + " does not divide model.width " + text(width) +
                            ": choose a divisor of " + text(width) + ", e.g. " +
                            text(nearest_divisor(width, heads)));
  }
  if (heads % kv_heads != 0) {
    fail("model.kv_heads", text(kv_heads) + " does not divide model.heads " + text(heads) +
                               ": choose a divisor of " + text(heads) + ", e.g. " +
                               text(nearest_divisor(heads, kv_heads)));
  }
  const int64_t head_width = width / heads;
  if (model.positions() == ModelConfig::ROTARY && head_width % 2 != 0) {
    fail("model.positions", "ROTARY turns pairs of channels, but the head width " + text(width) +
                                " / " + text(heads) + " = " + text(head_width) +
                                " is odd: choose model.heads so that it is even, or LEARNED");
  }
  if (model.positions() == ModelConfig::SINUSOIDAL && width % 2 != 0) {
    fail("model.positions", "SINUSOIDAL fills pairs of channels, but model.width " + text(width) +
                                " is odd: choose an even width, or LEARNED");
  }
}

void check_lambda(const std::string& block, const char* field, double start,
                  LambdaConfig::Squash squash) {
  const std::string path = block + ".lambda." + field, other = block + ".lambda.squash";
  if (squash == LambdaConfig::SIGMOID && !(start > 0 && start < 1)) {
    fail(path, shown(start) + " cannot be the start of a lambda that SIGMOID keeps in (0, 1): " +
                   "choose one inside, as in 0.5, or another " + other);
  }
  if (squash == LambdaConfig::SOFTPLUS && !(start > 0)) {
    fail(path, shown(start) + " cannot be the start of a lambda that SOFTPLUS keeps above 0: " +
                   "choose a positive one, as in 1, or another " + other);
  }
}

// `block`: attention, encoder_attention or cross_attention.
void check_attention(const std::string& block, const AttentionConfig& attention,
                     const ModelConfig& model) {
  if (attention.kind() == AttentionConfig::DIFF && model.kv_heads() % 2 != 0) {
    fail("model.kv_heads", text(model.kv_heads()) + " is odd, but " + block + ".kind DIFF pairs " +
                               "key-value heads: choose an even number, e.g. " +
                               text(model.kv_heads() + 1));
  }
  const LambdaConfig& lambda = attention.lambda();
  if (lambda.mode() == LambdaConfig::FIXED && lambda.squash() != LambdaConfig::NO_SQUASH) {
    fail(block + ".lambda.squash",
         LambdaConfig::Squash_Name(lambda.squash()) + " shapes trained lambdas, but " + block +
             ".lambda.mode is FIXED: choose mode TRAINED, or squash NO_SQUASH");
  }
  if (lambda.mode() == LambdaConfig::TRAINED) {
    check_lambda(block, "plus", lambda.plus(), lambda.squash());
    check_lambda(block, "minus", lambda.minus(), lambda.squash());
  }
}

void check_data(const DataConfig& data) {
  if (data.train().empty()) {
    fail("data.train",
         "is empty, but there must be a text to train on: give the prefix of " +
             std::string("`dagpam data prepare`, as in --set data.train.0.prefix=data/text"));
  }
  std::set<std::string> seen;
  for (int i = 0; i < data.train_size(); ++i) {
    const std::string path = "data.train." + text(i) + ".prefix";
    const std::string& prefix = data.train(i).prefix();
    if (prefix.empty()) {
      fail(path, "'' is empty: give the prefix of `dagpam data prepare`, as in data/text");
    }
    if (!seen.insert(prefix).second) {
      fail(path, "'" + one_line(prefix) + "' is listed a second time: add the weights of the two");
    }
  }
}

void check_optimizer(const OptimizerConfig& optimizer) {
  if (optimizer.betas_size() != 2) {
    std::vector<std::string> given;
    for (const double beta : optimizer.betas()) given.push_back(shown(beta));
    fail("optimizer.betas", "[" + one_line(joined(given, ", "), 60) +
                                "] is not two numbers: write both, as in [0.9, 0.95]");
  }
  if (optimizer.kind() == OptimizerConfig::ADAMW && optimizer.momentum() != 0) {
    fail("optimizer.momentum", shown(optimizer.momentum()) + " is for SGD, but optimizer.kind is " +
                                   "ADAMW: set optimizer.betas instead, or choose kind SGD");
  }
}

void check_schedule(const ScheduleConfig& schedule, const TrainConfig& train) {
  const int64_t warmup = schedule.warmup_steps();
  if (schedule.has_decay_steps() && warmup > schedule.decay_steps()) {
    fail("schedule.warmup_steps", text(warmup) + " is more than schedule.decay_steps " +
                                      text(schedule.decay_steps()) + ": warm up for less");
  }
  if (train.has_steps() && warmup > train.steps()) {
    fail("schedule.warmup_steps", text(warmup) + " is more than train.steps " +
                                      text(train.steps()) + ": warm up for less, or train longer");
  }
}

void check_length(const TrainConfig& train, int64_t context) {
  if (train.length_case() == TrainConfig::LENGTH_NOT_SET) {
    fail("train.steps", "none of train.steps, train.tokens and train.epochs is set: set one, " +
                            std::string("as in --set train.steps=1000"));
  }
  if (!train.has_steps()) return;
  // The ranges keep the product of batch and context below 2^48.
  constexpr int64_t kTokens = int64_t{1} << 60;
  const auto tokens = checked_multiply(train.steps(), train.global_batch() * context);
  if (!tokens || *tokens > kTokens) {
    fail("train.steps", text(train.steps()) + " steps of " + text(train.global_batch()) + " x " +
                            text(context) + " tokens are more than 2^60: train for fewer steps");
  }
}

void check_precision(const TrainConfig& train) {
  if (!train.stochastic_rounding() || train.precision() == TrainConfig::BF16) return;
  fail("train.stochastic_rounding",
       "true rounds master weights to bfloat16, but train.precision is " +
           TrainConfig::Precision_Name(train.precision()) +
           ": choose precision BF16, or leave stochastic_rounding out");
}

// A graph repeats its kernels with the shapes that they had.
void check_graph(const RunConfig& config) {
  if (!config.parallel().cuda_graph() || config.model().kind() == ModelConfig::DECODER) return;
  fail("parallel.cuda_graph", "true repeats a step of one shape, but model.kind is " +
                                  ModelConfig::Kind_Name(config.model().kind()) +
                                  ", whose batches differ: leave cuda_graph out");
}

void check_batches(const TrainConfig& train) {
  if (!train.has_micro_batch() || train.global_batch() % train.micro_batch() == 0) return;
  fail("train.micro_batch", text(train.micro_batch()) + " does not divide train.global_batch " +
                                text(train.global_batch()) + ": choose a divisor, e.g. " +
                                text(nearest_divisor(train.global_batch(), train.micro_batch())));
}

void check_log(const RunConfig& config) {
  const int64_t every = config.log().analyze_every();
  if (every == 0) return;
  if (config.model().kind() != ModelConfig::DECODER) {
    fail("log.analyze_every", text(every) + " analyses a language model, but model.kind is " +
                                  ModelConfig::Kind_Name(config.model().kind()) +
                                  ": set log.analyze_every to 0");
  }
  if (config.data().valid().empty()) {
    fail("log.analyze_every", text(every) + " analyses the model on data.valid, which is not " +
                                  "set: set data.valid, or log.analyze_every to 0");
  }
  if (config.parallel().tensor() > 1) {
    fail("log.analyze_every",
         text(every) + " needs a copy of the model on one rank, but " + "parallel.tensor " +
             text(config.parallel().tensor()) +
             " cuts it: set log.analyze_every to 0, and run `dagpam analyze` " +
             "on its checkpoints");
  }
}

}  // namespace

void validate(const RunConfig& config) {
  check_fields(config);
  const RunConfig full = with_defaults(config);
  check_model(full.model());
  check_kind(full);
  for (const auto& [block, attention] : attentions(full)) {
    check_attention(block, *attention, full.model());
  }
  check_data(full.data());
  check_optimizer(full.optimizer());
  check_schedule(full.schedule(), full.train());
  check_length(full.train(), full.model().context());
  check_batches(full.train());
  check_graph(full);
  check_precision(full.train());
  check_log(full);
}

int data_parallel_size(const RunConfig& config, int ranks) {
  const RunConfig full = with_defaults(config);
  const int64_t tensor = full.parallel().tensor();
  if (ranks < 1) fail("ranks", text(ranks) + " is not 1 or more: start at least one");
  if (ranks % tensor != 0) {
    fail("parallel.tensor", text(tensor) + " does not divide the " + text(ranks) +
                                " ranks of this job: start a multiple of " + text(tensor) +
                                ", or choose a divisor, e.g. " +
                                text(nearest_divisor(ranks, tensor)));
  }
  const ModelConfig& model = full.model();
  const auto must_divide = [&](const char* field, int64_t value) {
    if (value % tensor == 0) return;
    fail(field, text(value) + " does not divide over parallel.tensor " + text(tensor) +
                    ": choose a multiple of " + text(tensor) + ", or a tensor size that divides " +
                    text(value) + ", e.g. " + text(nearest_divisor(value, tensor)));
  };
  must_divide("model.heads", model.heads());
  must_divide("model.kv_heads", model.kv_heads());
  for (const auto& [block, attention] : attentions(full)) {
    const int64_t left = model.kv_heads() / tensor;
    if (attention->kind() != AttentionConfig::DIFF || left % 2 == 0) continue;
    fail("parallel.tensor", text(tensor) + " leaves a rank " + text(left) + " of model.kv_heads " +
                                text(model.kv_heads()) + ", but " + block + ".kind DIFF pairs " +
                                "them: choose a size that leaves an even number");
  }
  must_divide("model.mlp_width", model.mlp_width());
  if (full.parallel().sequence_parallel()) must_divide("model.context", model.context());
  return static_cast<int>(ranks / tensor);
}

int64_t micro_batch(const RunConfig& config, int copies) {
  const int64_t global = config.train().global_batch();
  if (copies < 1) fail("ranks", text(copies) + " is not 1 or more: start at least one");
  if (global < copies || global % copies != 0) {
    const int64_t below = global - global % copies;
    const int64_t multiple = below > 0 && global - below <= copies / 2 ? below : below + copies;
    fail("train.global_batch", text(global) + " sequences do not divide over " + text(copies) +
                                   " copies of the model (ranks / parallel.tensor): choose a " +
                                   "multiple of " + text(copies) + ", e.g. " + text(multiple));
  }
  const int64_t per_copy = global / copies;
  if (!config.train().has_micro_batch()) return per_copy;
  const int64_t micro = config.train().micro_batch();
  if (micro < 1 || per_copy % micro != 0) {
    fail("train.micro_batch", text(micro) + " does not divide a copy's " + text(per_copy) +
                                  " sequences (global_batch " + text(global) + " / " +
                                  text(copies) + " copies): choose a divisor, e.g. " +
                                  text(nearest_divisor(per_copy, micro)));
  }
  return micro;
}

}  // namespace dagpam::configs
