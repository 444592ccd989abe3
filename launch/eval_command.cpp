// `dagpam eval`: perplexity of a checkpoint on a split; also under mpirun.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numbers>

#include "data/indexed_dataset.h"
#include "data/sidecar.h"
#include "launch/checkpoint_model.h"
#include "launch/program.h"
#include "parallel/communicator.h"
#include "parallel/grid.h"
#include "trainer/evaluation/split_evaluation.h"
#include "trainer/run_data.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  std::string checkpoint, data, split = "valid";
  int64_t context = 0, stride = 0, batch = 8;
  int tensor = 1;
  bool json = false;
  std::string backend = "AUTO";
};

// Nats over all predicted tokens to bits a unit of text; the first token, which is not predicted,
// takes its share of the text with it.
double bits_per(const trainer::Evaluation& result, int64_t tokens, int64_t units) {
  if (units <= 0) return std::nan("");
  const double per_token = static_cast<double>(units) / static_cast<double>(tokens);
  return result.nll / std::numbers::ln2 / per_token;
}

nlohmann::ordered_json or_null(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

void print(const Arguments& arguments, const trainer::Evaluation& result, int64_t step,
           double per_character, double per_byte) {
  if (arguments.json) {
    const nlohmann::ordered_json row{{"tokens", result.tokens},
                                     {"nll", result.nll},
                                     {"ppl", or_null(result.perplexity())},
                                     {"bpc", or_null(per_character)},
                                     {"bpb", or_null(per_byte)},
                                     {"split", arguments.split},
                                     {"step", step},
                                     {"context", arguments.context},
                                     {"stride", arguments.stride}};
    std::printf("%s\n", row.dump().c_str());
    return;
  }
  std::printf("%s, step %lld, %s split of %s, context %lld, stride %lld\n",
              arguments.checkpoint.c_str(), static_cast<long long>(step), arguments.split.c_str(),
              arguments.data.c_str(), static_cast<long long>(arguments.context),
              static_cast<long long>(arguments.stride));
  std::printf("tokens %lld  nll %.5f nats  perplexity %.4f", static_cast<long long>(result.tokens),
              result.nll, result.perplexity());
  if (std::isfinite(per_character)) std::printf("  bits per character %.4f", per_character);
  if (std::isfinite(per_byte)) std::printf("  bits per byte %.4f", per_byte);
  std::printf("\n");
}

// context and stride default to the model's context: no overlap.
void settle_windows(Arguments& arguments, int64_t model_context) {
  if (arguments.context == 0) arguments.context = model_context;
  if (arguments.context > model_context) {
    throw ConfigError("--context: " + std::to_string(arguments.context) +
                      " is longer than the model's context of " + std::to_string(model_context));
  }
  if (arguments.stride == 0) arguments.stride = arguments.context;
  if (arguments.stride > arguments.context) {
    throw ConfigError("--stride: " + std::to_string(arguments.stride) +
                      " is larger than the context of " + std::to_string(arguments.context) +
                      ": tokens between windows would be left out");
  }
}

[[noreturn]] void refuse_tokenizer(const std::string& prefix, const std::string& digest,
                                   const CheckpointModel& loaded) {
  throw DataError(prefix + ".json: tokenizer " + digest + " is not the checkpoint's " +
                  loaded.tokenizer->digest() +
                  ": prepare the text with the data set that the model was trained on");
}

// An encoder-decoder: all sentence pairs of the split.
void run_pairs(const Arguments& arguments, const CheckpointModel& loaded,
               const parallel::Grid& grid, parallel::Communicator& world) {
  if (arguments.context != 0 || arguments.stride != 0) {
    throw ConfigError(
        "--context, --stride: are for texts, but the checkpoint's model reads "
        "sentence pairs: leave them out");
  }
  data::PairOptions options;
  options.prefix = arguments.data;
  options.batch_tokens = loaded.saved.config.train().batch_tokens();
  options.context = loaded.saved.config.model().context();
  options.vocab = loaded.saved.config.model().vocab();
  options.rank = grid.dp->rank();
  options.ranks = grid.dp->size();
  data::PairEvaluation pairs(options, arguments.split);
  const std::string& digest = pairs.dataset().sidecar().tokenizer_digest;
  if (digest != loaded.tokenizer->digest()) refuse_tokenizer(arguments.data, digest, loaded);
  const trainer::Evaluation result =
      trainer::evaluate_pairs(*loaded.model, pairs, *grid.dp, {}, world.rank() == 0);
  if (world.rank() != 0) return;
  if (!arguments.json) {
    std::printf("%s, step %lld, %lld pairs of the %s split of %s\n", arguments.checkpoint.c_str(),
                static_cast<long long>(loaded.saved.step),
                static_cast<long long>(pairs.dataset().pairs()), arguments.split.c_str(),
                arguments.data.c_str());
    std::printf("tokens %lld  nll %.5f nats  perplexity %.4f\n",
                static_cast<long long>(result.tokens), result.nll, result.perplexity());
    return;
  }
  const nlohmann::ordered_json row{{"tokens", result.tokens},
                                   {"nll", result.nll},
                                   {"ppl", or_null(result.perplexity())},
                                   {"split", arguments.split},
                                   {"step", loaded.saved.step},
                                   {"pairs", pairs.dataset().pairs()}};
  std::printf("%s\n", row.dump().c_str());
}

void run(Arguments& arguments, Program& program) {
  parallel::Communicator& world = program.world(600, arguments.backend);
  if (world.size() % arguments.tensor != 0) {
    throw ConfigError("--tensor: " + std::to_string(arguments.tensor) + " does not divide the " +
                      std::to_string(world.size()) + " ranks of this job: start a multiple of it");
  }
  const parallel::Grid grid = parallel::make_grid(world, arguments.tensor);
  const CheckpointModel loaded = load_checkpoint_model(arguments.checkpoint, *grid.tp);
  if (trainer::reads_pairs(loaded.saved.config)) return run_pairs(arguments, loaded, grid, world);
  settle_windows(arguments, loaded.saved.config.model().context());
  const auto sidecar = data::find_sidecar(arguments.data);
  if (sidecar && sidecar->tokenizer_digest != loaded.tokenizer->digest()) {
    refuse_tokenizer(arguments.data, sidecar->tokenizer_digest, loaded);
  }
  const auto dataset = data::open_dataset(data::split_path(arguments.data, arguments.split));
  if (dataset->tokens() < 2)
    throw DataError(dataset->path() + ": fewer than 2 tokens: nothing to evaluate");

  trainer::EvaluationOptions options;
  options.context = arguments.context;
  options.stride = arguments.stride;
  options.batch = arguments.batch;
  options.reset_positions = loaded.saved.config.data().reset_positions();
  options.reset_attention = loaded.saved.config.data().reset_attention();
  options.progress = world.rank() == 0;
  const trainer::Evaluation result = trainer::evaluate(*loaded.model, *dataset, options, *grid.dp);
  if (world.rank() != 0) return;
  int64_t characters = -1, bytes = -1;
  for (const data::SplitFields& split : data::kSplits) {
    if (!sidecar || arguments.split != split.name) continue;
    characters = (*sidecar).*split.characters;
    bytes = (*sidecar).*split.bytes;
  }
  print(arguments, result, loaded.saved.step, bits_per(result, dataset->tokens(), characters),
        bits_per(result, dataset->tokens(), bytes));
}

}  // namespace

void add_eval_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("eval", "Mean loss and perplexity of a checkpoint on a split");
  add_checkpoint_option(*command, arguments->checkpoint)->required();
  command->add_option("--data", arguments->data, "Prefix of `data prepare`")
      ->required()
      ->type_name("PREFIX");
  command->add_option("--split", arguments->split, "Split")
      ->capture_default_str()
      ->check(CLI::IsMember({"train", "valid", "test"}));
  command
      ->add_option("--context", arguments->context, "Tokens a window; default: the model's context")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--stride", arguments->stride,
                   "Tokens between the starts of windows; default: the context (no overlap)")
      ->check(CLI::PositiveNumber);
  command->add_option("--batch", arguments->batch, "Windows computed at once")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--tensor", arguments->tensor,
                   "Ranks that share the model under mpirun; the others share the windows")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", arguments->json,
                    "One JSON object on the last line of standard output");
  add_backend_option(*command, arguments->backend);
  command->callback([arguments, &program] { run(*arguments, program); });
}

}  // namespace dagpam::launch
