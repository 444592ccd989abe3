// `dagpam ckpt`: checkpoints as people handle them.
#include <cstdio>

#include "launch/program.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/compare.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/report.h"
#include "trainer/checkpoint/run_lock.h"

namespace dagpam::launch {

namespace {

using checkpoint::posix_file_system;

struct Arguments {
  std::string path, other;
  int64_t keep = 0;
  bool weights = false;
};

// checkpoints/ of a run folder, or the folder itself.
std::string directory_of(const std::string& path) {
  checkpoint::FileStatus status;
  const std::string inner = path + "/checkpoints";
  const bool run = posix_file_system().lstat(inner, status) == 0 &&
                   status.kind == checkpoint::FileStatus::Kind::kFolder;
  return run ? inner : path;
}

std::unique_ptr<checkpoint::Checkpoint> open(const std::string& path) {
  auto& fs = posix_file_system();
  return checkpoint::open_checkpoint(fs, checkpoint::find_checkpoint(fs, path));
}

void list(const Arguments& arguments) {
  const auto rows = checkpoint::rows(posix_file_system(), directory_of(arguments.path));
  if (rows.empty()) throw CheckpointError(arguments.path + ": no checkpoint in it");
  std::fputs(checkpoint::to_table(rows).c_str(), stdout);
}

void verify(const Arguments& arguments) {
  const auto saved = open(arguments.path);
  std::printf("%s: good: %d files, %d tensors, every digest checked\n", saved->path().c_str(),
              saved->manifest().files_size(), saved->manifest().tensors_size());
}

void show(const Arguments& arguments) {
  auto& fs = posix_file_system();
  const std::string path = checkpoint::find_checkpoint(fs, arguments.path);
  std::fputs(checkpoint::show(checkpoint::read_manifest(fs, path)).c_str(), stdout);
}

void diff(const Arguments& arguments, Program& program) {
  const auto a = open(arguments.path), b = open(arguments.other);
  const auto comparison = checkpoint::compare(
      *a, *b, arguments.weights ? checkpoint::Compared::kWeights : checkpoint::Compared::kAll);
  for (const auto& difference : comparison.differences) {
    std::printf("%s: %s\n", difference.tensor.c_str(), difference.what.c_str());
  }
  if (comparison.equal()) {
    std::printf("equal: %lld tensors, bit by bit\n", static_cast<long long>(comparison.tensors));
  }
  if (!comparison.equal()) program.exit_code = ExitCode::kDifferent;
}

void prune(const Arguments& arguments) {
  // The lock keeps a run from saving, and another prune from removing, meanwhile.
  const std::string directory = directory_of(arguments.path);
  const std::string run_dir = directory == arguments.path ? arguments.path + "/.." : arguments.path;
  const checkpoint::RunLock lock(run_dir);
  const auto removed =
      checkpoint::prune(posix_file_system(), directory, {arguments.keep, 0}, lock.lease());
  for (const int64_t step : removed)
    std::printf("removed step %lld\n", static_cast<long long>(step));
  if (removed.empty()) std::printf("nothing to remove\n");
}

}  // namespace

void add_ckpt_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* ckpt = app.add_subcommand("ckpt", "List, verify, show, compare and prune checkpoints");
  ckpt->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, const char* what) {
    CLI::App* command = ckpt->add_subcommand(name, help);
    command->add_option("path", arguments->path, what)->required();
    return command;
  };
  add("ls", "List the checkpoints of a run", "Run folder, or its checkpoints/")
      ->callback([arguments] { list(*arguments); });
  const char* checkpoint = "Checkpoint folder, or a run folder (its latest)";
  add("verify", "Check every file of a checkpoint in full", checkpoint)->callback([arguments] {
    verify(*arguments);
  });
  add("show", "Print what a checkpoint holds", checkpoint)->callback([arguments] {
    show(*arguments);
  });
  CLI::App* difference =
      add("diff", "Compare every tensor bit by bit; exit 1 where one differs", checkpoint);
  difference->add_option("other", arguments->other, checkpoint)->required();
  difference->add_flag("--weights", arguments->weights,
                       "The model's weights alone, without the optimizer's state");
  difference->callback([arguments, &program] { diff(*arguments, program); });
  CLI::App* pruned =
      add("prune", "Remove all but the newest checkpoints", "Run folder, or its checkpoints/");
  pruned->add_option("--keep", arguments->keep, "Newest checkpoints to keep")
      ->required()
      ->check(CLI::PositiveNumber);
  pruned->callback([arguments] { prune(*arguments); });
}

}  // namespace dagpam::launch
