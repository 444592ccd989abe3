// `dagpam export` and `dagpam import`: checkpoints as Hugging Face folders, and back.
#include <cstdio>
#include <string>

#include "launch/program.h"
#include "parallel/backend.h"
#include "trainer/huggingface/export.h"
#include "trainer/huggingface/import.h"

namespace dagpam::launch {

namespace {

// The one format so far.
const CLI::IsMember kFormats({"hf"});

struct ExportArguments {
  huggingface::ExportOptions options;
  std::string format;
};

struct ImportArguments {
  huggingface::ImportOptions options;
  std::string format;
};

void run_export(const ExportArguments& arguments) {
  const huggingface::Exported done = huggingface::export_checkpoint(arguments.options);
  std::printf("%s: %lld tensors, %lld numbers, in %lld file%s of weights, from %s\n",
              arguments.options.out.c_str(), static_cast<long long>(done.tensors),
              static_cast<long long>(done.numbers), static_cast<long long>(done.files),
              done.files == 1 ? "" : "s", done.checkpoint.c_str());
}

void run_import(const ImportArguments& arguments) {
  // Weights are only moved: no GPU, no other ranks.
  const auto alone = parallel::open_alone(parallel::parse_backend("MPI")).communicator;
  const huggingface::Imported done = huggingface::import_folder(arguments.options, *alone);
  std::printf("%s: %lld tensors, %lld numbers, from %s (%s)\n", arguments.options.out.c_str(),
              static_cast<long long>(done.tensors), static_cast<long long>(done.numbers),
              arguments.options.from.c_str(), done.model_type.c_str());
}

}  // namespace

void add_export_command(CLI::App& app, Program&) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command =
      app.add_subcommand("export", "A checkpoint as a folder for Hugging Face's transformers");
  huggingface::ExportOptions& options = arguments->options;
  add_checkpoint_option(*command, options.checkpoint)->required();
  command->add_option("--to", arguments->format, "Format: hf")->required()->check(kFormats);
  command->add_option("--out", options.out, "Folder to make")->required()->type_name("FOLDER");
  command
      ->add_option("--shard-size", options.shard_bytes,
                   "Bytes of weights a file; what is more goes into several with an index")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->type_name("BYTES");
  command->callback([arguments] { run_export(*arguments); });
}

void add_import_command(CLI::App& app, Program&) {
  auto arguments = std::make_shared<ImportArguments>();
  CLI::App* command = app.add_subcommand(
      "import", "A folder of Hugging Face's transformers (dagpam's, or GPT-2's) as a checkpoint");
  huggingface::ImportOptions& options = arguments->options;
  command->add_option("--from", arguments->format, "Format: hf")->required()->check(kFormats);
  command->add_option("folder", options.from, "Folder with config.json and safetensors")
      ->required()
      ->type_name("FOLDER");
  command->add_option("--out", options.out, "Checkpoint folder to make")
      ->required()
      ->type_name("CHECKPOINT");
  command
      ->add_option("--attention", options.attention,
                   "Of GPT-2 weights: SOFTMAX (default), or DAGPAM, which starts with both lambdas "
                   "0 and so computes the same")
      ->type_name("KIND");
  command
      ->add_option("--tokenizer", options.tokenizer,
                   "byte, gpt2:DIR, spm:MODEL, or json:FILE, that of a data set; default: the "
                   "folder's own")
      ->type_name("T");
  command->add_option("--seed", options.seed, "Of parameters that GPT-2 lacks, under DAGPAM")
      ->capture_default_str();
  command->callback([arguments] { run_import(*arguments); });
}

}  // namespace dagpam::launch
