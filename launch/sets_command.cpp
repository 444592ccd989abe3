#include "launch/sets_command.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <map>
#include <memory>

#include "configs/errors.h"
#include "data/import_set.h"
#include "data/merge_sets.h"
#include "data/split_set.h"
#include "launch/prepare_command.h"
#include "trainer/stop_signal.h"

namespace dagpam::launch {

namespace {

const std::map<std::string, data::ImportForm> kForms = {{"megatron", data::ImportForm::kMegatron},
                                                        {"llmc", data::ImportForm::kLlmc},
                                                        {"nanogpt", data::ImportForm::kNanogpt}};
const std::map<std::string, data::ImportDocuments> kDocuments = {
    {"file", data::ImportDocuments::kFile},
    {"after-eod", data::ImportDocuments::kAfterEod},
    {"before-eod", data::ImportDocuments::kBeforeEod}};

// A signal ends the work before anything is replaced.
class Stoppable {
 public:
  std::function<void()> check() const {
    return [this] {
      if (signal_.received() != 0) throw Interrupted("stopped by a signal: nothing was changed");
    };
  }

 private:
  trainer::StopSignal signal_;
};

struct MergeArguments {
  std::vector<std::string> sets;
  std::string out;
};

void add_merge(CLI::App& data) {
  auto arguments = std::make_shared<MergeArguments>();
  CLI::App* command =
      data.add_subcommand("merge", "Data sets of one tokenizer, one behind the other, to one set");
  command->add_option("sets", arguments->sets, "Prefixes, or llm.c's .bin files")
      ->required()
      ->type_name("PREFIX...");
  command->add_option("--out", arguments->out, "Prefix of the files to write")
      ->required()
      ->type_name("PREFIX");
  command->callback([arguments] {
    const Stoppable stop;
    print_made(arguments->out, data::merge_sets(arguments->sets, arguments->out, stop.check()));
  });
}

struct SplitArguments {
  data::SplitOptions split;
  std::vector<std::string> out;
};

void split(const SplitArguments& arguments) {
  const Stoppable stop;
  data::SplitOptions options = arguments.split;
  options.check = stop.check();
  for (const std::string& part : arguments.out) {
    options.parts.push_back(data::parse_split_part(part));
  }
  const std::vector<data::SplitCount> counts = data::split_set(options);
  for (size_t i = 0; i < counts.size(); ++i) {
    std::printf("%s.%s %12lld tokens %9lld documents\n", options.parts[i].prefix.c_str(),
                options.parts[i].split.c_str(), static_cast<long long>(counts[i].tokens),
                static_cast<long long>(counts[i].documents));
  }
}

void add_split(CLI::App& data) {
  auto arguments = std::make_shared<SplitArguments>();
  CLI::App* command = data.add_subcommand("split", "The documents of a data set over several");
  command->add_option("set", arguments->split.set, "Prefix, or an llm.c .bin file")
      ->required()
      ->type_name("PREFIX");
  command
      ->add_option("--out", arguments->out,
                   "What is written, and its share of the documents; SPLIT is train unless given")
      ->required()
      ->type_name("PREFIX[:SPLIT]=SHARE...");
  command->add_option("--split", arguments->split.split, "Split of the set to take documents from")
      ->capture_default_str()
      ->check(CLI::IsMember({"train", "valid", "test"}));
  command
      ->add_option_function<uint64_t>(
          "--seed", [arguments](const uint64_t& seed) { arguments->split.seed = seed; },
          "Draw documents; without it the first part gets the first ones, and so on")
      ->type_name("N");
  command->callback([arguments] { split(*arguments); });
}

struct ImportArguments {
  data::ImportOptions import;
  std::string form, documents = "file";
};

void add_import(CLI::App& data) {
  auto arguments = std::make_shared<ImportArguments>();
  data::ImportOptions& options = arguments->import;
  CLI::App* command =
      data.add_subcommand("import", "Token files of other programs to a data set of this one");
  command
      ->add_option("--format", arguments->form,
                   "megatron (PATH of PATH.bin and PATH.idx); llmc (.bin with llm.c's header); "
                   "nanogpt (.bin of u16 tokens alone)")
      ->required()
      ->check(CLI::IsMember({"megatron", "llmc", "nanogpt"}));
  command->add_option("--train", options.train, "Training tokens")
      ->required()
      ->type_name("FILE...");
  command->add_option("--valid", options.valid, "Validation tokens")->type_name("FILE...");
  command->add_option("--test", options.test, "Test tokens")->type_name("FILE...");
  command
      ->add_option("--tokenizer", options.tokenizer,
                   "What the ids mean: byte; gpt2:DIR; spm:MODEL; json:FILE (of another set, a "
                   "checkpoint or launch/nanogpt_meta)")
      ->required()
      ->type_name("T");
  command
      ->add_option("--documents", arguments->documents,
                   "Documents are as the file has them; or end with the tokenizer's end-of-text "
                   "token (nanoGPT), or begin with it (llm.c)")
      ->capture_default_str()
      ->check(CLI::IsMember({"file", "after-eod", "before-eod"}));
  command->add_option("--out", options.out, "Prefix of the files to write")
      ->required()
      ->type_name("PREFIX");
  command->callback([arguments] {
    const Stoppable stop;
    data::ImportOptions given = arguments->import;
    given.form = kForms.at(arguments->form);
    given.documents = kDocuments.at(arguments->documents);
    given.check = stop.check();
    print_made(given.out, data::import_set(given));
  });
}

}  // namespace

void add_sets_commands(CLI::App& data) {
  add_merge(data);
  add_split(data);
  add_import(data);
}

}  // namespace dagpam::launch
