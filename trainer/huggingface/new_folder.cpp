#include "trainer/huggingface/new_folder.h"

#include <unistd.h>

#include <utility>

#include "configs/errors.h"
#include "trainer/checkpoint/blocks.h"
#include "trainer/checkpoint/file_operations.h"

namespace dagpam::huggingface {

using checkpoint::FileStatus;

namespace {

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

void remove_tree(checkpoint::FileSystem& fs, const std::string& path) {
  for (const std::string& name : checkpoint::list_folder(fs, path)) {
    const std::string inner = path + "/" + name;
    const auto status = checkpoint::status_of(fs, inner);
    if (status && status->kind == FileStatus::Kind::kFolder) remove_tree(fs, inner);
  }
  checkpoint::remove_folder(fs, path);
}

}  // namespace

NewFolder::NewFolder(checkpoint::FileSystem& fs, std::string path, const std::string& option)
    : fs_(fs), path_(without_slashes(std::move(path))) {
  const size_t slash = path_.find_last_of('/');
  const std::string name = path_.substr(slash == std::string::npos ? 0 : slash + 1);
  parent_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
  if (name.empty() || name == "." || name == "..") {
    throw ConfigError(option + ": '" + path_ + "' names no new folder: give it a name");
  }
  const auto there = checkpoint::status_of(fs_, path_);
  if (there &&
      (there->kind != FileStatus::Kind::kFolder || !checkpoint::list_folder(fs_, path_).empty())) {
    throw ConfigError(option + ": " + path_ +
                      " is there and is no empty folder: nothing was changed; choose a new name");
  }
  checkpoint::make_folders(fs_, parent_);
  staging_ = parent_ + "/." + name + ".partial-" + std::to_string(::getpid());
  if (checkpoint::status_of(fs_, staging_)) remove_tree(fs_, staging_);  // of a dead process
  checkpoint::make_folder(fs_, staging_);
}

NewFolder::~NewFolder() {
  if (staging_.empty()) return;
  try {
    remove_tree(fs_, staging_);
  } catch (const Error&) {
    return;  // its name says what it is
  }
}

void NewFolder::write(const std::string& name, std::string_view bytes) const {
  checkpoint::OutputFile file(fs_, staging_ + "/" + name);
  file.write(checkpoint::as_bytes(bytes));
  file.finish();
}

void NewFolder::commit(const std::string& inner) {
  const std::string ready = inner.empty() ? staging_ : staging_ + "/" + inner;
  checkpoint::sync_folder(fs_, ready);
  checkpoint::rename_path(fs_, ready, path_);
  if (!inner.empty()) remove_tree(fs_, staging_);
  staging_.clear();
  checkpoint::sync_folder(fs_, parent_);
}

}  // namespace dagpam::huggingface
