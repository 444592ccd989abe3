// trainer/huggingface/new_folder.h: a folder that appears whole or not at all.
#pragma once

#include <string>
#include <string_view>

#include "trainer/checkpoint/file_system.h"

namespace dagpam::huggingface {

// Is filled under the name .NAME.partial-PID beside its place, made durable, and then renamed. What
// a killed program leaves under that name may be removed.
class NewFolder {
 public:
  // Throws ConfigError naming `option` where `path` is there and is not an empty folder; IoError.
  NewFolder(checkpoint::FileSystem& fs, std::string path, const std::string& option);
  ~NewFolder();  // removes what was not committed
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::string& staging() const { return staging_; }  // an empty folder until it is filled
  void write(const std::string& name, std::string_view bytes) const;

  // Gives the staging folder, or the folder `inner` in it, its name. Afterwards staging() is gone.
  void commit(const std::string& inner = "");

 private:
  checkpoint::FileSystem& fs_;
  std::string path_, parent_, staging_;
};

}  // namespace dagpam::huggingface
