// data/staged_files.h: the files of a data set, made beside the old ones and put in their place
// together.
//
// They are called PREFIX.partial-PID-N.train.bin and so on. PREFIX.partial-PID-N.lock is locked
// (flock) as long as its maker lives, on whatever machine: files whose lock can be had belong to a
// call that was killed, and the next call removes them.
#pragma once

#include <string>
#include <vector>

namespace dagpam::data {

// Files are written as prefix() + ".train.bin" and so on; prefix() is PREFIX.partial-PID-N.
class StagedFiles {
 public:
  // Makes the prefix's folder where it is missing, and removes what killed calls for the same
  // prefix left. Throws ConfigError where the prefix is empty or ends in '/', IoError where its
  // folder cannot be made or written, or a name that will be written is a folder.
  explicit StagedFiles(const std::string& prefix);
  // Removes what was staged and not published: all files whose names start with prefix() + ".", and
  // folders that were made for them and have stayed empty.
  ~StagedFiles();
  StagedFiles(const StagedFiles&) = delete;
  StagedFiles& operator=(const StagedFiles&) = delete;

  const std::string& prefix() const { return staged_; }

  // Throws ConfigError where `path` is a file that publish() would replace or remove.
  void require_not_output(const std::string& path) const;

  // Renames every staged file to its final name, PREFIX.json last, removes files of the old data
  // set that have no successor, and makes the folder durable. The staged files must be durable.
  // IoError.
  void publish();

 private:
  std::string final_, staged_;
  std::vector<std::string> made_;  // folders, outermost first
  int lock_ = -1;                  // descriptor of staged_ + ".lock"
};

}  // namespace dagpam::data
