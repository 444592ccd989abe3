#include "data/staged_files.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "configs/errors.h"
#include "data/atomic_file.h"

namespace dagpam::data {
namespace {

namespace fs = std::filesystem;

// In the order in which they appear under their names: an .idx after its .bin, the description
// last. Stopped between two, the old description still names the tokens and digests of the old
// files.
constexpr const char* kSuffixes[] = {".train.bin", ".train.idx", ".valid.bin", ".valid.idx",
                                     ".test.bin",  ".test.idx",  ".json"};

}  // namespace

StagedFiles::StagedFiles(const std::string& prefix)
    : final_(prefix), staged_(prefix + ".partial-" + std::to_string(::getpid())) {
  if (prefix.empty() || prefix.back() == '/') {
    throw ConfigError("--out '" + prefix + "': expected a folder and the start of a file name");
  }
  const fs::path folder = fs::path(prefix).parent_path();
  std::error_code error;
  if (!folder.empty() && !fs::is_directory(folder, error)) {
    throw IoError("--out '" + prefix + "': folder '" + folder.string() +
                  "' does not exist: create it first");
  }
  for (const char* suffix : kSuffixes) {
    if (fs::is_directory(final_ + suffix, error)) {
      throw IoError(final_ + suffix +
                    ": is a folder, expected a file or nothing: choose another --out");
    }
  }
}

StagedFiles::~StagedFiles() {
  for (const char* suffix : kSuffixes) ::unlink((staged_ + suffix).c_str());
}

void StagedFiles::require_not_output(const std::string& path) const {
  for (const char* suffix : kSuffixes) {
    std::error_code error;  // equivalent() is false with an error where either is missing
    if (fs::equivalent(path, final_ + suffix, error)) {
      throw ConfigError("--out '" + final_ + "': would replace the input " + path +
                        ": choose another --out");
    }
  }
}

void StagedFiles::publish() {
  for (const char* suffix : kSuffixes) {
    const std::string from = staged_ + suffix, to = final_ + suffix;
    std::error_code error;
    if (fs::exists(from, error)) {
      fs::rename(from, to, error);
    } else {
      fs::remove(to, error);
    }
    if (error) throw IoError(to + ": cannot be replaced: " + error.message());
  }
  sync_folder_of(final_);
}

}  // namespace dagpam::data
