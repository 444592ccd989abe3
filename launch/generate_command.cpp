// `dagpam generate`: text from a checkpoint.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "launch/checkpoint_model.h"
#include "launch/program.h"
#include "parallel/backend.h"
#include "trainer/evaluation/generator.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  std::string checkpoint, prompt;
  trainer::SamplingOptions sampling;
  bool json = false;
  std::string backend = "AUTO";
};

void run(Arguments& arguments, Program&) {
  const auto alone = parallel::open_alone(parallel::parse_backend(arguments.backend)).communicator;
  const CheckpointModel loaded = load_checkpoint_model(arguments.checkpoint, *alone);
  std::vector<int32_t> prompt;
  loaded.tokenizer->encode_prompt(arguments.prompt, prompt);
  if (prompt.empty()) throw ConfigError("--prompt: empty: give at least one symbol to go on from");
  arguments.sampling.vocab = loaded.tokenizer->vocab_size();

  // Words come with the space before them only in their row, so all is decoded and what is new is
  // shown.
  std::vector<int32_t> shown = prompt;
  size_t length = loaded.tokenizer->decode(shown).size();
  const auto on_token = [&](int32_t id) {
    if (arguments.json) return;
    shown.push_back(id);
    const std::string text = loaded.tokenizer->decode(shown);
    std::fputs(text.substr(length).c_str(), stdout);
    std::fflush(stdout);
    length = text.size();
  };
  if (!arguments.json) std::fputs(arguments.prompt.c_str(), stdout);
  const auto ids = trainer::generate(loaded.language_model(), prompt, arguments.sampling, on_token);
  if (!arguments.json) {
    std::printf("\n");
    return;
  }
  // A token may hold part of a character: what is not valid UTF-8 is replaced.
  const nlohmann::ordered_json row{
      {"prompt", arguments.prompt}, {"text", loaded.tokenizer->decode(ids)}, {"ids", ids}};
  std::printf("%s\n", row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

}  // namespace

void add_generate_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("generate", "Continue a text");
  trainer::SamplingOptions& sampling = arguments->sampling;
  add_checkpoint_option(*command, arguments->checkpoint)->required();
  command->add_option("--prompt", arguments->prompt, "Text to go on from")
      ->required()
      ->type_name("TEXT");
  command->add_option("--max-tokens", sampling.max_tokens, "Tokens to make")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--temperature", sampling.temperature,
                   "Divides the logits; 0: the likeliest token")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--top-k", sampling.top_k, "Sample among the k likeliest tokens; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--top-p", sampling.top_p,
                   "Sample among the likeliest tokens that together reach p")
      ->capture_default_str()
      ->check(CLI::Range(1e-6, 1.0));
  command->add_option("--seed", sampling.seed, "Same seed, same text")->capture_default_str();
  command->add_flag("--json", arguments->json, "One JSON object: prompt, text, ids");
  add_backend_option(*command, arguments->backend);
  command->callback([arguments, &program] { run(*arguments, program); });
}

}  // namespace dagpam::launch
