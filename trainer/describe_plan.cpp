// The text half of run_plan.h.
#include <cstdio>
#include <string>

#include "configs/kinds.h"
#include "configs/run_config.h"
#include "trainer/memory_plan.h"
#include "trainer/parameter_counts.h"
#include "trainer/run_data.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer {

namespace {

template <typename... Args>
std::string line(const char* format, Args... args) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return std::string(buffer) + "\n";
}

std::string batch_line(const RunPlan& plan) {
  const configs::TrainConfig& train = plan.config.train();
  if (reads_pairs(plan.config)) {
    return line(
        "batch      %lld padded tokens a step, about %lld targets; a rank: at most %lld at once",
        (long long)train.batch_tokens(), (long long)plan.tokens_per_step,
        (long long)micro_batch_tokens(plan));
  }
  return line("batch      %lld sequences = %lld tokens a step; a rank: %lld micro-batches of %lld",
              (long long)train.global_batch(), (long long)plan.tokens_per_step,
              (long long)(train.global_batch() / (plan.copies * train.micro_batch())),
              (long long)train.micro_batch());
}

double mib(double bytes) { return bytes / (1024.0 * 1024.0); }

}  // namespace

std::string describe(const RunPlan& plan) {
  const configs::RunConfig& run = plan.config;
  const configs::ModelConfig& m = run.model();
  const ParameterCounts counts = count_parameters(run);
  const MemoryPlan memory = plan_memory(plan);
  const double per_token = flops_per_token(run);
  const auto name = [](const auto& text) { return text.c_str(); };
  std::string layers = std::to_string(m.layers()), attention;
  if (reads_pairs(run)) layers = std::to_string(m.encoder_layers()) + " + " + layers;
  for (const auto& [block, config] : configs::attentions(run)) {
    if (block != "attention") attention += ", " + block.substr(0, block.find('_')) + " ";
    attention += configs::AttentionConfig::Kind_Name(config->kind());
  }
  const std::string positions = configs::ModelConfig::Positions_Name(m.positions());
  const std::string kind = configs::ModelConfig::Kind_Name(m.kind());
  const std::string precision = configs::TrainConfig::Precision_Name(run.train().precision());
  const std::string backend = configs::ParallelConfig::Backend_Name(run.parallel().backend());

  std::string text;
  text += line("run        %s, config %s", name(run.name()), configs::digest(run).c_str());
  text += line(
      "model      %s, %s layers, width %lld, %lld heads (%lld key-value), context %lld, "
      "vocabulary %lld, %s, positions %s, %s",
      name(kind), name(layers), (long long)m.width(), (long long)m.heads(), (long long)m.kv_heads(),
      (long long)m.context(), (long long)m.vocab(), name(attention), name(positions),
      name(precision));
  text += line("parameters %lld (%lld in matrix products)", (long long)counts.all,
               (long long)counts.in_matmuls);
  text +=
      line("grid       %d ranks: dp %d x tp %d%s, backend %s", plan.ranks, plan.copies,
           plan.ranks / plan.copies,
           run.parallel().sequence_parallel() ? " with sequence parallelism" : "", name(backend));
  if (run.parallel().zero() == 1) {
    text += line("zero       optimizer state shared out over %d copies", plan.copies);
  }
  text += batch_line(plan);
  text += line("length     %lld steps = %.4g tokens = %.3g passes over %lld training tokens",
               (long long)plan.steps,
               static_cast<double>(plan.steps) * static_cast<double>(plan.tokens_per_step),
               static_cast<double>(plan.steps) * static_cast<double>(plan.tokens_per_step) /
                   static_cast<double>(plan.train_tokens),
               (long long)plan.train_tokens);
  text += line("work       %.4g floating-point operations a token, %.4g a step", per_token,
               per_token * static_cast<double>(plan.tokens_per_step));
  text += line(
      "memory     a rank: parameters %.1f, gradients %.1f, optimizer %.1f, activations about "
      "%.1f, together about %.1f MiB; for saves a copy of %.1f in host memory",
      mib(memory.parameters), mib(memory.gradients), mib(memory.optimizer), mib(memory.activations),
      mib(memory.total()), mib(memory.snapshot));
  return text;
}

}  // namespace dagpam::trainer
