#include "trainer/planning/assumed_run.h"

#include <filesystem>

#include "configs/errors.h"
#include "configs/run_config.h"

namespace dagpam::trainer::planning {

using configs::AttentionConfig;
using configs::ModelConfig;
using configs::RunConfig;

namespace {

bool is_here(const std::string& prefix) {
  std::error_code ignored;
  return !prefix.empty() && std::filesystem::exists(prefix + ".json", ignored);
}

std::string text(int64_t number) { return std::to_string(number); }

// Of the training data: tokens, or -1 where a source is not here; windows of the context.
struct Found {
  int64_t tokens = 0, samples = 0;
};
Found training_tokens(const RunConfig& run) {
  Found found;
  for (const configs::WeightedData& source : run.data().train()) {
    if (!is_here(source.prefix())) return {-1, 0};
    const int64_t tokens = data::read_sidecar(source.prefix()).train_tokens;
    if (tokens < 0) return {-1, 0};
    found.tokens += tokens;
    found.samples += (tokens - 1) / run.model().context();
  }
  return found;
}

void settle_vocabulary(RunPlan& plan, bool here) {
  ModelConfig& model = *plan.config.mutable_model();
  if (model.has_vocab()) return;
  if (here) {
    model.set_vocab(plan.data.vocab_size);
    return;
  }
  throw ConfigError("model.vocab: not set, and " + plan.config.data().train(0).prefix() +
                    ".json is not here to say it: add --set model.vocab=N, as in 50257");
}

// A split's tokens, as its own sidecar has them.
int64_t tokens_of(const std::string& prefix, int64_t data::Sidecar::*field) {
  return is_here(prefix) ? data::read_sidecar(prefix).*field : -1;
}

}  // namespace

RunPlan assumed_run(const RunConfig& config) {
  configs::validate(config);
  RunPlan plan;
  plan.config = configs::with_defaults(config);
  const RunConfig& run = plan.config;
  if (run.model().kind() != ModelConfig::DECODER) {
    throw ConfigError("model.kind: " + ModelConfig::Kind_Name(run.model().kind()) +
                      " is not planned, DECODER is: `dagpam train --dry-run` has its memory");
  }
  const std::string& first = run.data().train(0).prefix();
  const bool here = is_here(first);
  if (here) plan.data = data::read_sidecar(first);
  settle_vocabulary(plan, here);
  plan.data.valid_tokens = tokens_of(run.data().valid(), &data::Sidecar::valid_tokens);
  plan.data.test_tokens = tokens_of(run.data().test(), &data::Sidecar::test_tokens);
  const Found found = training_tokens(run);
  plan.train_tokens = found.tokens;
  plan.tokens_per_step = run.train().global_batch() * run.model().context();
  if (found.tokens < 0 && run.train().has_epochs()) {
    throw ConfigError("train.epochs: how long they are is not known without " + first +
                      ".json: set train.tokens or train.steps instead");
  }
  plan.steps = steps_of_run(
      run.train(), static_cast<double>(plan.tokens_per_step),
      static_cast<double>(found.samples) / static_cast<double>(run.train().global_batch()));
  if (!run.train().has_micro_batch()) {
    plan.config.mutable_train()->set_micro_batch(run.train().global_batch());
  }
  return plan;
}

std::string refusal(const RunPlan& plan, const Layout& layout) {
  const ModelConfig& m = plan.config.model();
  const int64_t batch = plan.config.train().global_batch(), tp = layout.tp;
  if (layout.ranks % tp != 0)
    return "tp " + text(tp) + " does not divide " + text(layout.ranks) + " ranks";
  const auto cut = [&](int64_t number, const char* what) {
    return number % tp == 0 ? ""
                            : "tp " + text(tp) + " does not divide " + what + " " + text(number);
  };
  for (const std::string& reason :
       {cut(m.heads(), "model.heads"), cut(m.kv_heads(), "model.kv_heads"),
        cut(m.mlp_width(), "model.mlp_width")}) {
    if (!reason.empty()) return reason;
  }
  if (layout.sequence_parallel && m.context() % tp != 0) return cut(m.context(), "model.context");
  if (plan.config.attention().kind() == AttentionConfig::DIFF && m.kv_heads() / tp % 2 != 0) {
    return "tp " + text(tp) + " leaves DIFF an odd number of key-value heads a rank";
  }
  if (batch % layout.dp() != 0) {
    return "train.global_batch " + text(batch) + " does not divide over " + text(layout.dp()) +
           " copies";
  }
  const int64_t share = batch / layout.dp();
  if (layout.micro_batch < 1 || share % layout.micro_batch != 0) {
    return "micro-batch " + text(layout.micro_batch) + " does not divide a copy's " + text(share) +
           " sequences";
  }
  return "";
}

Layout own_layout(const RunPlan& plan, const RunConfig& config, int ranks) {
  Layout layout = layout_of(plan);
  layout.ranks = ranks;
  layout.tp = static_cast<int>(plan.config.parallel().tensor());
  layout.sequence_parallel = plan.config.parallel().sequence_parallel() && layout.tp > 1;
  if (config.train().has_micro_batch() || ranks % layout.tp != 0) return layout;
  const int64_t batch = plan.config.train().global_batch();
  layout.micro_batch = batch % layout.dp() == 0 ? batch / layout.dp() : 0;
  return layout;
}

}  // namespace dagpam::trainer::planning
