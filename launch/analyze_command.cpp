// `dagpam analyze`: what a model makes of some text, layer by layer.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "configs/run_config.h"
#include "data/indexed_dataset.h"
#include "data/sidecar.h"
#include "launch/checkpoint_model.h"
#include "launch/program.h"
#include "parallel/backend.h"
#include "parallel/launcher.h"
#include "trainer/analysis/analysis.h"
#include "trainer/analysis/analysis_files.h"
#include "trainer/analysis/sentence_maps.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  std::string checkpoint;  // or, untrained, a config
  bool untrained = false;
  ConfigArguments config;
  std::string data, split = "valid", out, sentence, stack = "full", sight = "causal";
  int64_t sequences = 8, tokens = 0;
  bool skip_first = false, wide = false;
  double query_gain = 1;
  std::string backend = "AUTO";
};

struct Subject {
  configs::RunConfig config;  // resolved
  int64_t step = 0;
  std::unique_ptr<data::Tokenizer> tokenizer;  // or nullptr: none is known
  std::unique_ptr<trainer::Model> owner;
  const trainer::TransformerLm* model = nullptr;
};

void check(const Arguments& arguments) {
  const auto claim = parallel::launcher_claim(std::getenv);
  if (claim && claim->processes > 1) {
    throw ConfigError("analyze: " + claim->variable + " says " + std::to_string(claim->processes) +
                      " ranks, but it runs on one: start it without mpirun or srun");
  }
  if (arguments.untrained == !arguments.checkpoint.empty()) {
    throw ConfigError(arguments.untrained
                          ? "--checkpoint " + arguments.checkpoint +
                                ": --untrained takes fresh weights: give one of the two"
                          : "--checkpoint: missing: name one, or give --untrained --config FILE");
  }
  if (arguments.untrained && arguments.config.files.empty()) {
    throw ConfigError("--config: missing: --untrained needs the config of the model");
  }
  if (!arguments.untrained && !(arguments.config.files.empty() &&
                                arguments.config.overrides.empty() && arguments.query_gain == 1)) {
    throw ConfigError(
        "--config, --set and --query-gain go with --untrained: a checkpoint has its own");
  }
}

// The config's model; what a model does not need may be missing in it.
configs::RunConfig untrained_config(const Arguments& arguments,
                                    const std::optional<data::Sidecar>& sidecar) {
  configs::RunConfig config = configs::load(arguments.config.files, arguments.config.overrides);
  if (config.data().train().empty()) config.mutable_data()->add_train()->set_prefix(arguments.data);
  auto& train = *config.mutable_train();
  if (train.length_case() == configs::TrainConfig::LENGTH_NOT_SET) train.set_steps(1);
  config.mutable_parallel()->clear_tensor();
  configs::validate(config);
  config = configs::with_defaults(config);
  if (config.model().kind() != configs::ModelConfig::DECODER) {
    throw ConfigError("model.kind: " + configs::ModelConfig::Kind_Name(config.model().kind()) +
                      " is not analyzed yet, DECODER is: give a language model");
  }
  if (config.model().has_vocab()) return config;
  if (!sidecar) {
    throw ConfigError("model.vocab: not set, and " + arguments.data +
                      ".json, which would say it, is missing: set it");
  }
  config.mutable_model()->set_vocab(sidecar->vocab_size);
  return config;
}

// Scores are multiplied by `gain`: those of Q-, which is made of Q, too.
void scale_queries(const trainer::TransformerLm& model, double gain) {
  const configs::ModelConfig& config = model.config();
  const int64_t head_width = config.width() / config.heads();
  for (int64_t i = 0; i < config.layers(); ++i) {
    const auto qkv =
        model.parameters().find("layers." + std::to_string(i) + ".attention.qkv.weight");
    at::Tensor rows = qkv->value.detach().view({config.kv_heads(), -1, head_width, config.width()});
    rows.narrow(1, 0, rows.size(1) - 2).mul_(gain);
  }
}

Subject open_subject(const Arguments& arguments, const std::optional<data::Sidecar>& sidecar,
                     parallel::Communicator& alone) {
  const at::ScalarType type = arguments.wide ? at::kDouble : at::kFloat;
  Subject subject;
  const trainer::TensorParallel tp{alone};
  if (arguments.untrained) {
    subject.config = untrained_config(arguments, sidecar);
    auto model = std::make_unique<trainer::TransformerLm>(subject.config.model(),
                                                          subject.config.attention(), tp, type);
    model->parameters().initialise(subject.config.train().seed());
    scale_queries(*model, arguments.query_gain);
    model->move_to(alone.device());
    if (sidecar) subject.tokenizer = data::tokenizer_from_json(sidecar->tokenizer_json);
    subject.model = model.get();
    subject.owner = std::move(model);
    return subject;
  }
  CheckpointModel loaded = load_checkpoint_model(arguments.checkpoint, alone);
  subject.model = &loaded.language_model();
  if (sidecar && sidecar->tokenizer_digest != loaded.tokenizer->digest()) {
    throw DataError(arguments.data + ".json: tokenizer " + sidecar->tokenizer_digest +
                    " is not the checkpoint's " + loaded.tokenizer->digest() +
                    ": prepare the text with the data set that the model was trained on");
  }
  subject.config = std::move(loaded.saved.config);
  subject.step = loaded.saved.step;
  subject.tokenizer = std::move(loaded.tokenizer);
  subject.owner = std::move(loaded.model);
  if (arguments.wide) {
    auto wide = trainer::copy_model(*subject.model, subject.config.attention(), alone, type);
    subject.model = wide.get();
    subject.owner = std::move(wide);
  }
  return subject;
}

std::vector<int64_t> starts_of(Arguments& arguments, const configs::ModelConfig& model,
                               const data::TokenDataset& dataset) {
  if (arguments.tokens == 0) arguments.tokens = model.context();
  if (arguments.tokens > model.context()) {
    throw ConfigError("--tokens: " + std::to_string(arguments.tokens) +
                      " is longer than the model's context of " + std::to_string(model.context()));
  }
  if (arguments.skip_first && arguments.tokens < 2) {
    throw ConfigError("--tokens: 1 leaves nothing with --skip-first: give 2 or more");
  }
  const auto starts =
      trainer::spread_starts(dataset.tokens(), arguments.sequences, arguments.tokens);
  if (starts.empty()) {
    throw ConfigError("--sequences: " + std::to_string(arguments.sequences) + " of " +
                      std::to_string(arguments.tokens) + " tokens do not fit into the " +
                      std::to_string(dataset.tokens()) + " tokens of " + dataset.path() +
                      ": give fewer, or a smaller --tokens");
  }
  return starts;
}

trainer::AnalysisOptions options_of(const Arguments& arguments) {
  trainer::AnalysisOptions options;
  options.include_first = !arguments.skip_first;
  options.parts = arguments.stack == "no_residual"      ? trainer::BlockParts::kNoResidual
                  : arguments.stack == "attention_only" ? trainer::BlockParts::kAttentionOnly
                                                        : trainer::BlockParts::kWhole;
  options.causal = arguments.sight == "causal";
  return options;
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw IoError(path + ": cannot make the folder: " + error.message());
}

void run(Arguments& arguments) {
  check(arguments);
  const auto alone = parallel::open_alone(parallel::parse_backend(arguments.backend)).communicator;
  const auto sidecar = data::find_sidecar(arguments.data);
  const auto dataset = data::open_dataset(data::split_path(arguments.data, arguments.split));
  const Subject subject = open_subject(arguments, sidecar, *alone);
  const auto starts = starts_of(arguments, subject.config.model(), *dataset);
  nlohmann::ordered_json maps;
  if (!arguments.sentence.empty()) {
    if (!subject.tokenizer) {
      throw ConfigError("--maps: " + arguments.data +
                        ".json, which holds the tokenizer, is missing");
    }
    maps = trainer::sentence_maps(*subject.model, subject.config.attention(), *subject.tokenizer,
                                  arguments.sentence);
  }
  trainer::WindowReader reader(
      *dataset,
      {subject.config.model().vocab(), subject.config.data().reset_positions(),
       subject.config.data().reset_attention()},
      alone->device());
  const trainer::Analysis analysis =
      trainer::analyze(*subject.model, reader, starts, arguments.tokens, options_of(arguments));
  make_folder(arguments.out);
  const trainer::AnalysisSource source{.config = subject.config,
                                       .checkpoint = arguments.checkpoint,
                                       .step = subject.step,
                                       .data = arguments.data,
                                       .split = arguments.split,
                                       .precision = arguments.wide ? "float64" : "float32",
                                       .query_gain = arguments.query_gain};
  auto paths = trainer::write_analysis(analysis, source, arguments.out);
  if (!maps.is_null()) {
    paths.push_back(arguments.out + "/maps.json");
    trainer::write_text(
        paths.back(),
        maps.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  }
  for (const std::string& path : paths) std::printf("%s\n", path.c_str());
}

}  // namespace

void add_analyze_command(CLI::App& app, Program&) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "analyze", "Rank collapse, attention weights, lambdas and gradients by layer, on one rank");
  add_checkpoint_option(*command, arguments->checkpoint);
  command->add_flag("--untrained", arguments->untrained,
                    "In place of a checkpoint: --config's model as it starts from train.seed");
  arguments->config.add_to(*command, /*required=*/false);
  command->add_option("--data", arguments->data, "Prefix of `data prepare`")
      ->required()
      ->type_name("PREFIX");
  command->add_option("--out", arguments->out, "Folder of analysis.json and the tables")
      ->required()
      ->type_name("DIR");
  command->add_option("--split", arguments->split, "Split")
      ->capture_default_str()
      ->check(CLI::IsMember({"train", "valid", "test"}));
  command
      ->add_option("--sequences", arguments->sequences, "Sequences, spread evenly over the split")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--tokens", arguments->tokens, "Tokens a sequence; default: the model's context")
      ->check(CLI::PositiveNumber);
  command
      ->add_flag("--skip-first,!--include-first", arguments->skip_first,
                 "Leave out position 0 of each sequence, its state and its row of weights; "
                 "default: it is in")
      ->capture_default_str();
  command
      ->add_option("--maps", arguments->sentence,
                   "A sentence, whose maps go to maps.json, head by head")
      ->type_name("SENTENCE");
  command
      ->add_option("--stack", arguments->stack,
                   "Parts of the blocks: full; no_residual: attention and MLP without the sums; "
                   "attention_only")
      ->capture_default_str()
      ->check(CLI::IsMember({"full", "no_residual", "attention_only"}));
  command
      ->add_option("--sight", arguments->sight,
                   "Which tokens a token sees: causal: itself and earlier ones; all")
      ->capture_default_str()
      ->check(CLI::IsMember({"causal", "all"}));
  command
      ->add_option("--query-gain", arguments->query_gain,
                   "With --untrained: multiplies the query weights, and so the scores")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--double", arguments->wide, "Compute in float64; default: float32");
  add_backend_option(*command, arguments->backend);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace dagpam::launch
