#include "launch/prepare_command.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "data/prepare.h"
#include "launch/comm_peers.h"
#include "trainer/stop_signal.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  data::PrepareOptions prepare;
  std::string documents = "file", json_key;
  int threads = 0;
};

// Of all texts; what cannot be read is refused later.
int64_t text_bytes(const data::PrepareOptions& options) {
  uintmax_t bytes = 0;
  for (const auto* files : {&options.train, &options.valid, &options.test}) {
    for (const std::string& file : *files) {
      std::error_code error;
      const uintmax_t size = std::filesystem::file_size(file, error);
      if (!error) bytes += size;
    }
  }
  return static_cast<int64_t>(bytes);
}

data::DocumentOptions documents_of(const Arguments& arguments) {
  if (arguments.json_key.empty()) return {data::parse_document_form(arguments.documents), ""};
  return {data::DocumentForm::kJsonLines, arguments.json_key};
}

void prepare(const Arguments& arguments, Program& program) {
  const trainer::StopSignal signal;
  data::PrepareOptions options = arguments.prepare;
  options.documents = documents_of(arguments);
  options.give_up = [&] { return signal.received() != 0; };
  run_with_peers(program, arguments.threads, text_bytes(options), [&](data::Peers& peers) {
    const data::Sidecar made = data::prepare(options, peers);
    if (peers.rank() == 0) print_made(options.out, made);
  });
}

}  // namespace

void print_made(const std::string& prefix, const data::Sidecar& made) {
  std::printf("%s: vocabulary %lld, tokenizer %s\n", prefix.c_str(),
              static_cast<long long>(made.vocab_size), made.tokenizer_digest.c_str());
  for (const data::SplitFields& split : data::kSplits) {
    if (made.*split.tokens < 0) continue;
    std::printf("  %-5s %12lld tokens", split.name, static_cast<long long>(made.*split.tokens));
    if (made.*split.bytes >= 0) {
      std::printf(" %12lld characters %12lld bytes", static_cast<long long>(made.*split.characters),
                  static_cast<long long>(made.*split.bytes));
    }
    std::printf("\n");
  }
}

void add_prepare_command(CLI::App& data, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = data.add_subcommand(
      "prepare",
      "Text files to PREFIX.{train,valid,test}.{bin,idx} and PREFIX.json, alone or under mpirun");
  data::PrepareOptions& options = arguments->prepare;
  command
      ->add_option("--train", options.train, "Training text, UTF-8; the vocabulary comes from it")
      ->required()
      ->type_name("FILE...");
  command->add_option("--valid", options.valid, "Validation text")->type_name("FILE...");
  command->add_option("--test", options.test, "Test text")->type_name("FILE...");
  command
      ->add_option("--tokenizer", options.tokenizer,
                   "byte; char; word (whitespace words, <eos> a line); gpt2:DIR (encoder.json, "
                   "vocab.bpe); spm:MODEL (of dagpam-tokenize); json:FILE (PREFIX.json of another "
                   "set, or tokenizer.json of a checkpoint)")
      ->required()
      ->type_name("T");
  CLI::Option* documents =
      command
          ->add_option("--documents", arguments->documents,
                       "What a document is: a file; a line; or what stands between blank lines")
          ->capture_default_str()
          ->check(CLI::IsMember({"file", "line", "blank-line"}));
  command
      ->add_option("--json-key", arguments->json_key,
                   "The texts are JSON lines, an object a line: its field of this name is a "
                   "document")
      ->type_name("KEY")
      ->excludes(documents);
  command->add_flag("--append-eod", options.append_eod,
                    "The tokenizer's end-of-text token (gpt2: <|endoftext|>) behind each document");
  command
      ->add_option("--threads", arguments->threads,
                   "Threads a rank; 0: OMP_NUM_THREADS, else the node's cores shared out")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  command->add_option("--out", options.out, "Prefix of the files to write")
      ->required()
      ->type_name("PREFIX");
  command->callback([arguments, &program] { prepare(*arguments, program); });
}

}  // namespace dagpam::launch
