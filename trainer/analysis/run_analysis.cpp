#include "trainer/analysis/run_analysis.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "parallel/communicator.h"
#include "trainer/analysis/analysis_files.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

constexpr int64_t kSequences = 4;

}  // namespace

RunAnalysis::RunAnalysis(const configs::RunConfig& config, const RunFolder& folder, int64_t step)
    : config_(config),
      dataset_(data::open_dataset(data::split_path(config.data().valid(), "valid"))) {
  truncate_metrics(folder.analysis(), step);
  analyzed_ = evaluated_splits(folder.analysis(), step).count("valid") > 0;
  lines_ = std::make_unique<MetricsWriter>(folder.analysis());
}

Analysis RunAnalysis::analyze(const Model& model, int64_t step) {
  const at::Device device = model.parameters().all().front()->value.device();
  const auto alone = parallel::make_self_communicator(device);
  const auto copy = copy_model(model, config_.attention(), *alone, at::kFloat);
  const int64_t targets = dataset_->tokens() - 1;
  const int64_t length = std::min(model.config().context(), targets);
  WindowReader reader(
      *dataset_,
      {model.config().vocab(), config_.data().reset_positions(), config_.data().reset_attention()},
      device);
  Analysis analysis = trainer::analyze(
      *copy, reader,
      spread_starts(dataset_->tokens(), std::min(kSequences, targets / length), length), length,
      {});
  lines_->add_line(to_json(analysis, {.config = config_,
                                      .checkpoint = {},
                                      .step = step,
                                      .data = config_.data().valid(),
                                      .split = "valid",
                                      .precision = "float32"})
                       .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  log_info("step " + std::to_string(step) + " | analyzed " + std::to_string(analysis.sequences) +
           " sequences of " + std::to_string(length) + " tokens of the valid split");
  return analysis;
}

void RunAnalysis::flush() { lines_->flush(); }

}  // namespace dagpam::trainer
