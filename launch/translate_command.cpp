// `dagpam translate`: the lines of a text by an encoder-decoder.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "data/atomic_file.h"
#include "data/input_file.h"
#include "data/lines.h"
#include "data/pair_sidecar.h"
#include "launch/checkpoint_model.h"
#include "launch/program.h"
#include "parallel/backend.h"
#include "trainer/evaluation/beam_search.h"
#include "trainer/telemetry/log.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  std::string checkpoint, input, output;
  trainer::BeamOptions beam;
  int64_t batch = 32;
  bool json = false;
  std::string backend = "AUTO";
};

// The sources of the input's lines, with their end token; empty where a line is blank.
std::vector<std::vector<int32_t>> read_sources(const std::string& path,
                                               const CheckpointModel& loaded, int32_t end) {
  const data::InputFile file(path);
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, text.data(), text.size());
  const auto context = static_cast<size_t>(loaded.saved.config.model().context());
  std::vector<std::vector<int32_t>> sources;
  data::LineReader lines(text);
  for (std::string_view line; lines.next(line);) {
    const std::string where = path + ":" + std::to_string(lines.number());
    std::vector<int32_t>& source = sources.emplace_back();
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      loaded.tokenizer->encode_prompt(line, source);
    } catch (const DataError& error) {
      throw DataError(where + ": " + error.what());
    }
    if (source.empty()) continue;
    source.push_back(end);
    if (source.size() <= context) continue;
    throw DataError(where + ": " + std::to_string(source.size()) +
                    " tokens with the end, more than the model's context of " +
                    std::to_string(context) + ": cut the line into sentences");
  }
  return sources;
}

std::vector<trainer::Translation> translate_all(const Arguments& arguments,
                                                const trainer::EncoderDecoder& model,
                                                const std::vector<std::vector<int32_t>>& sources) {
  // Sentences of like length together; what is empty stays so.
  std::vector<size_t> order(sources.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t i) { return sources[i].empty(); });
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sources[a].size() > sources[b].size(); });
  std::vector<trainer::Translation> all(sources.size());
  for (size_t i = 0; i < order.size();) {
    std::vector<std::vector<int32_t>> batch;
    const size_t first = i;
    for (; i < order.size() && std::ssize(batch) < arguments.batch; ++i) {
      batch.push_back(sources[order[i]]);
    }
    auto found = trainer::translate(model, batch, arguments.beam);
    for (size_t j = 0; j < found.size(); ++j) all[order[first + j]] = std::move(found[j]);
    char line[64];
    std::snprintf(line, sizeof line, "translated %zu of %zu", i, order.size());
    trainer::show_progress(line);
  }
  return all;
}

void run(Arguments& arguments, Program&) {
  std::error_code none;
  if (std::filesystem::equivalent(arguments.input, arguments.output, none)) {
    throw ConfigError("--output: " + arguments.output + " is the input: name another file");
  }
  const auto alone = parallel::open_alone(parallel::parse_backend(arguments.backend)).communicator;
  const CheckpointModel loaded = load_checkpoint_model(arguments.checkpoint, *alone);
  const trainer::EncoderDecoder& model = loaded.translator();
  const data::SpecialIds special = data::pair_vocabulary(*loaded.tokenizer).special;
  arguments.beam.begin = special.bos;
  arguments.beam.end = special.eos;
  arguments.beam.never = {special.pad, special.bos};
  const auto sources = read_sources(arguments.input, loaded, special.eos);
  data::AtomicFile out(arguments.output);
  int64_t cut = 0;
  for (const trainer::Translation& found : translate_all(arguments, model, sources)) {
    std::string line = loaded.tokenizer->decode(found.tokens);
    // A line stays one, whatever the model says.
    std::replace(line.begin(), line.end(), '\n', ' ');
    if (arguments.json) {
      const nlohmann::ordered_json row{{"text", line},
                                       {"log_probability", found.log_probability},
                                       {"score", found.score},
                                       {"tokens", found.tokens.size()},
                                       {"ended", found.ended}};
      line = row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    cut += found.ended || found.tokens.empty() ? 0 : 1;
    line += '\n';
    out.write(line.data(), line.size());
  }
  out.commit();
  data::sync_folder_of(arguments.output);
  std::printf("%s: %zu lines", arguments.output.c_str(), sources.size());
  if (cut > 0) std::printf(", %lld of them cut at their length limit", static_cast<long long>(cut));
  std::printf("\n");
}

}  // namespace

void add_translate_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("translate", "Translate the lines of a text");
  trainer::BeamOptions& beam = arguments->beam;
  command
      ->add_option("--checkpoint", arguments->checkpoint,
                   "Checkpoint folder, or a run folder (its latest), of an encoder-decoder")
      ->required()
      ->type_name("CHECKPOINT");
  command->add_option("--input", arguments->input, "Text, UTF-8, a sentence a line")
      ->required()
      ->type_name("FILE");
  command->add_option("--output", arguments->output, "Its translation, line by line")
      ->required()
      ->type_name("FILE");
  command->add_option("--beam", beam.beam, "Texts that are followed at once; 1: greedy")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1024}));
  command
      ->add_option("--length-penalty", beam.length_penalty,
                   "Power of (5 + tokens) / 6 that divides a text's log-probability")
      ->capture_default_str()
      ->check(CLI::Range(-10.0, 10.0));
  command
      ->add_option("--max-ratio", beam.max_ratio,
                   "Most tokens of a translation: so many times its source's, and 10 more")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1000.0));
  command->add_option("--batch", arguments->batch, "Sentences computed at once")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{65536}));
  command->add_flag("--json", arguments->json,
                    "One JSON object a line: text, log_probability (nats), score, tokens, ended");
  add_backend_option(*command, arguments->backend);
  command->callback([arguments, &program] { run(*arguments, program); });
}

}  // namespace dagpam::launch
