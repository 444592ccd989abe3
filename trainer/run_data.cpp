#include "trainer/run_data.h"

#include "data/pair_batches.h"

namespace dagpam::trainer {

bool reads_pairs(const configs::RunConfig& config) {
  return config.model().kind() == configs::ModelConfig::ENCODER_DECODER;
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

data::PairOptions pair_options(const RunPlan& plan, int copy) {
  data::PairOptions options;
  options.prefix = plan.config.data().train(0).prefix();
  options.seed = plan.config.train().seed();
  options.batch_tokens = plan.config.train().batch_tokens();
  options.micro_tokens = plan.config.train().micro_tokens();
  options.context = plan.config.model().context();
  options.vocab = plan.config.model().vocab();
  options.rank = copy;
  options.ranks = plan.copies;
  options.prefetch = plan.config.data().prefetch();
  return options;
}

std::unique_ptr<data::BatchSource> open_training_data(const RunPlan& plan, int copy,
                                                      const data::DataPosition& from,
                                                      bool other_data) {
  if (reads_pairs(plan.config)) {
    data::PairOptions options = pair_options(plan, copy);
    options.allow_other_data = other_data;
    return data::as_batches(data::open_pairs(options, from));
  }
  data::BatchOptions options = batch_options(plan, copy);
  options.allow_other_data = other_data;
  return data::open_batches(plan.config.data(), options, from);
}

}  // namespace dagpam::trainer
