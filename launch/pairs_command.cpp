#include "launch/pairs_command.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <memory>

#include "data/pair_padding.h"
#include "data/prepare_pairs.h"
#include "trainer/stop_signal.h"

namespace dagpam::launch {
namespace {

void print_side(const char* name, const data::PairSide& side) {
  std::printf("  %s %lld tokens, longest %lld", name, static_cast<long long>(side.tokens),
              static_cast<long long>(side.longest));
}

void prepare(const data::PreparePairsOptions& given) {
  const trainer::StopSignal signal;
  data::PreparePairsOptions options = given;
  options.give_up = [&] { return signal.received() != 0; };
  print_pairs(options.out, data::prepare_pairs(options));
}

void add_split(CLI::App& command, const std::string& split, data::PairFiles& files) {
  CLI::Option* source = command.add_option("--" + split + "-source", files.source,
                                           "Sentences to translate, UTF-8, one a line");
  CLI::Option* target = command.add_option("--" + split + "-target", files.target,
                                           "Their translations, line by line");
  for (CLI::Option* option : {source, target}) {
    option->type_name("FILE");
    if (split == "train") option->required();
  }
}

}  // namespace

void print_pairs(const std::string& prefix, const data::PairSidecar& sidecar) {
  std::printf("%s: sentence pairs, vocabulary %lld (pad %d, bos %d, eos %d), tokenizer %s\n",
              prefix.c_str(), static_cast<long long>(sidecar.vocab_size), sidecar.special.pad,
              sidecar.special.bos, sidecar.special.eos, sidecar.tokenizer_digest.c_str());
  for (const data::PairSplit& split : sidecar.splits) {
    std::printf("  %-5s %9lld pairs", split.name.c_str(), static_cast<long long>(split.pairs));
    print_side("source", split.source);
    print_side("target", split.target);
    if (split.skipped_empty > 0) {
      std::printf("  left out for an empty side: %lld",
                  static_cast<long long>(split.skipped_empty));
    }
    if (split.dropped_long > 0) {
      std::printf("  left out for more than %lld tokens: %lld",
                  static_cast<long long>(sidecar.max_tokens),
                  static_cast<long long>(split.dropped_long));
    }
    std::printf("\n");
  }
}

void print_padding(const std::string& prefix, int64_t batch_tokens) {
  const data::PairPadding sum = data::padding_of_epoch(prefix, 1, batch_tokens, 0);
  const auto share = [](int64_t part, int64_t whole) {
    return 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  std::printf(
      "  an epoch in batches of at most %lld tokens a side: %lld batches of %lld to %lld pairs; "
      "padding: source %.1f %%, target %.1f %%\n",
      static_cast<long long>(batch_tokens), static_cast<long long>(sum.batches),
      static_cast<long long>(sum.fewest_rows), static_cast<long long>(sum.most_rows),
      share(sum.source_padding, sum.source_cells), share(sum.target_padding, sum.target_cells));
}

void add_pairs_command(CLI::App& data) {
  auto options = std::make_shared<data::PreparePairsOptions>();
  CLI::App* command = data.add_subcommand(
      "pairs", "Two texts, a sentence a line, to a set of sentence pairs for translation");
  add_split(*command, "train", options->train);
  add_split(*command, "valid", options->valid);
  add_split(*command, "test", options->test);
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "For both sides: spm:MODEL (of dagpam-tokenize), or what `data prepare` takes")
      ->required()
      ->type_name("T");
  command
      ->add_option("--max-tokens", options->max_tokens,
                   "Leave out training pairs with a longer sentence, eos counted; 0: no limit")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  command->add_flag("--skip-empty", options->skip_empty,
                    "Leave out pairs with an empty side, in place of an error");
  command->add_option("--out", options->out, "Prefix of the files to write")
      ->required()
      ->type_name("PREFIX");
  command->callback([options] { prepare(*options); });
}

}  // namespace dagpam::launch
