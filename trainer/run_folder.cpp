#include "trainer/run_folder.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "configs/errors.h"

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

bool RunFolder::holds_a_run() const {
  std::error_code ignored;
  if (fs::exists(config(), ignored)) return true;
  return fs::is_directory(checkpoints(), ignored) && !fs::is_empty(checkpoints(), ignored);
}

void RunFolder::create() const {
  for (const std::string& folder : {root, root + "/logs", checkpoints()}) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error || !fs::is_directory(folder)) {
      throw IoError(folder + ": cannot make the run folder: " +
                    (error ? error.message() : "a file of that name is in the way") +
                    ": choose another --run-dir");
    }
  }
}

void RunFolder::write_config(const std::string& text) const {
  const std::string temporary = config() + ".tmp";
  std::ofstream out(temporary, std::ios::trunc | std::ios::binary);
  out << text;
  out.close();
  if (!out || std::rename(temporary.c_str(), config().c_str()) != 0) {
    throw IoError(config() + ": cannot write: " + std::strerror(errno));
  }
}

}  // namespace dagpam::trainer
