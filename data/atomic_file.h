// data/atomic_file.h: a file that appears under its name whole, or not at all.
//
// Bytes go to NAME.tmp-PID-N in the same folder; every write, fsync and close is checked
// (interrupted and short writes are continued); commit() renames. A fault before that leaves what
// was under NAME before. Every failure throws IoError: path, what was tried, the system's reason.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dagpam::data {

// Whether a file must outlive a power cut; one that only passes something on need not.
enum class Durability { kDurable, kPassing };

class AtomicFile {
 public:
  // Creates the temporary file. The folder must exist.
  explicit AtomicFile(std::string path);
  // Removes the temporary file unless commit() was reached.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Appends; buffered, so an error may show up in a later call.
  void write(const void* bytes, size_t size);

  // Writes out the buffer, makes the content durable and closes the file. Nothing can be written
  // afterwards.
  void sync(Durability durability = Durability::kDurable);

  // Renames to the final name, over a file of that name. Calls sync() where the caller did not. The
  // name is durable after sync_folder_of(path).
  void commit();

  const std::string& path() const { return path_; }  // the final name

 private:
  void flush();

  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  bool committed_ = false;
  std::vector<char> buffer_;
};

// Writes all of `bytes`, however often the system stops in the middle (signals, short writes).
// `path` names the file in the IoError.
void write_fully(int fd, const void* bytes, size_t size, const std::string& path);

// Makes the names in the folder that holds `path` durable.
void sync_folder_of(const std::string& path);

}  // namespace dagpam::data
