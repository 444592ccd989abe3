#include "trainer/run_folder.h"

#include <cstdio>
#include <filesystem>
#include <span>

#include "configs/errors.h"
#include "trainer/checkpoint/file_operations.h"
#include "trainer/checkpoint/this_start.h"

namespace dagpam::trainer {

namespace fs = std::filesystem;

namespace {

std::string rank_file(const std::string& folder, int rank, const char* extension) {
  char name[32];
  std::snprintf(name, sizeof name, "rank_%05d.%s", rank, extension);
  return folder + "/" + name;
}

}  // namespace

std::string RunFolder::log(int rank) const { return rank_file(root + "/logs", rank, "log"); }

std::string RunFolder::profile(int rank) const {
  return rank_file(root + "/profile", rank, "json");
}

std::string RunFolder::flight_recorder() const {
  return root + "/logs/flight_recorder_" + checkpoint::host_name();
}

bool RunFolder::holds_a_run() const {
  std::error_code ignored;
  if (fs::exists(config(), ignored)) return true;
  return fs::is_directory(checkpoints(), ignored) && !fs::is_empty(checkpoints(), ignored);
}

void RunFolder::create() const {
  auto& files = checkpoint::posix_file_system();
  try {
    for (const std::string& folder : {root, root + "/logs", checkpoints()}) {
      checkpoint::make_folders(files, folder);
      if (!fs::is_directory(folder)) {
        throw IoError(folder + ": cannot make the run folder: a file of that name is in the way");
      }
    }
    // An earlier start may have made them and died before their names were durable.
    checkpoint::sync_folder(files, root);
  } catch (const IoError& error) {
    throw IoError(std::string(error.what()) + ": choose another --run-dir");
  }
}

void RunFolder::write_config(const std::string& text) const {
  auto& files = checkpoint::posix_file_system();
  const std::string temporary = config() + ".tmp";
  checkpoint::OutputFile out(files, temporary);
  out.write(std::as_bytes(std::span(text)));
  out.finish();
  checkpoint::rename_path(files, temporary, config());
  checkpoint::sync_folder(files, root);
}

}  // namespace dagpam::trainer
