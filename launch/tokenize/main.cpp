// launch/tokenize/main.cpp: the program `dagpam-tokenize`: SentencePiece models, trained and used.
//
// A program of its own, because Debian's libsentencepiece carries another protobuf than the one
// `dagpam` links: the two in one process crash. Links no libprotobuf, no LibTorch, no MPI.
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <charconv>
#include <cstdio>
#include <iostream>

#include "configs/errors.h"
#include "configs/text.h"
#include "data/mapped_file.h"
#include "data/utf8.h"
#include "launch/tokenize/serve.h"
#include "launch/tokenize/spm_model.h"
#include "launch/tokenize/spm_train.h"
#include "launch/version.h"

namespace dagpam::tokenize {
namespace {

struct Arguments {
  TrainOptions train;
  std::string model;
};

void train_model(const TrainOptions& options) {
  const int64_t lines = train(options);
  std::printf("%s.model: %s, %lld symbols (pad %d, unk %d, bos %d, eos %d) from %lld lines\n",
              options.out.c_str(), options.kind.c_str(), static_cast<long long>(options.vocab_size),
              kPad, kUnknown, kBos, kEos, static_cast<long long>(lines));
}

SpmModel open_model(const std::string& path) {
  const data::MappedFile file(path);
  return SpmModel(file.bytes(), path);
}

// Calls handle(line, name of the line) for each line of standard input, and writes what it gives.
template <typename Handle>
void for_each_line(Handle handle) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    std::cout << handle(line, "line " + std::to_string(number)) << '\n';
    if (!std::cout) break;
  }
  std::cout.flush();
  if (!std::cout) throw IoError("standard output: cannot write");
}

void encode(const std::string& path) {
  const SpmModel model = open_model(path);
  std::vector<int32_t> ids;
  for_each_line([&](const std::string& line, const std::string& name) {
    const size_t bad = data::find_invalid_utf8(line);
    if (bad != line.size()) {
      throw DataError(name + ": not UTF-8 at byte " + std::to_string(bad) +
                      " of the line: convert the text to UTF-8");
    }
    ids.clear();
    model.encode(line, ids);
    std::string out;
    for (const int32_t id : ids) out += (out.empty() ? "" : " ") + std::to_string(id);
    return out;
  });
}

std::vector<int32_t> ids_of(const std::string& line, const std::string& name) {
  std::vector<int32_t> ids;
  const char* at = line.data();
  const char* const end = at + line.size();
  while (at < end) {
    if (*at == ' ') {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc{} || (next < end && *next != ' ')) {
      throw DataError(name + ": '" + configs::one_line({at, static_cast<size_t>(end - at)}, 40) +
                      "', expected token ids with a space between");
    }
    ids.push_back(id);
    at = next;
  }
  return ids;
}

void decode(const std::string& path) {
  const SpmModel model = open_model(path);
  for_each_line([&](const std::string& line, const std::string& name) {
    try {
      return model.decode(ids_of(line, name));
    } catch (const DataError& error) {
      if (std::string_view(error.what()).starts_with(name)) throw;
      throw DataError(name + ": " + error.what());
    }
  });
}

void add_train(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("train", "A model from texts, all of them together");
  TrainOptions& options = arguments.train;
  command->add_option("--input", options.inputs, "Texts, UTF-8, a sentence a line")
      ->required()
      ->type_name("FILE...");
  command
      ->add_option("--vocab-size", options.vocab_size,
                   "Symbols, with pad 0, unk 1, bos 2, eos 3 and 256 bytes")
      ->required()
      ->check(CLI::Range(int64_t{261}, int64_t{1} << 24));
  command->add_option("--kind", options.kind, "bpe or unigram")
      ->capture_default_str()
      ->check(CLI::IsMember({"bpe", "unigram"}));
  command
      ->add_option("--character-coverage", options.character_coverage,
                   "Share of the text's characters that get symbols; the others become bytes")
      ->capture_default_str()
      ->check(CLI::Range(0.98, 1.0));
  command->add_option("--out", options.out, "Prefix: PREFIX.model and PREFIX.vocab")
      ->required()
      ->type_name("PREFIX");
  command->callback([&options] { train_model(options); });
}

void add_with_model(CLI::App& app, Arguments& arguments, const char* name, const char* help,
                    void (*run)(const std::string&)) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("--model", arguments.model, "A .model file")->required()->type_name("FILE");
  command->callback([&arguments, run] { run(arguments.model); });
}

int fail(ExitCode code, const std::string& message) {
  const std::string_view text(message);
  std::fprintf(stderr, "dagpam-tokenize: %s\n",
               configs::one_line(text.substr(0, text.find('\n')), 2000).c_str());
  return static_cast<int>(code);
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"dagpam-tokenize: SentencePiece models", "dagpam-tokenize"};
  app.set_version_flag("--version", launch::kVersion);
  app.require_subcommand(1);
  add_train(app, arguments);
  add_with_model(app, arguments, "encode", "Lines of standard input to ids, a space between",
                 encode);
  add_with_model(app, arguments, "decode", "Lines of ids to texts", decode);
  app.add_subcommand("serve", "For `dagpam`: requests on standard input, answers on its output")
      ->callback([] { serve(STDIN_FILENO, STDOUT_FILENO); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return fail(ExitCode::kBadConfig, std::string(error.what()) + ": see --help");
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::exception& error) {
    return fail(ExitCode::kIo, error.what());
  }
  return 0;
}

}  // namespace
}  // namespace dagpam::tokenize

int main(int argc, char** argv) { return dagpam::tokenize::run(argc, argv); }
