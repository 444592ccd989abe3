// data/input_file.h: bytes of a file by position, with every read checked.
//
// Token files are read by pread and not through a memory map: a file that another program cuts
// short ends in a DataError here, where a map would end the process with SIGBUS. A map is 2 to 3
// times as fast on short windows, but the loader makes 100 million tokens a second as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace dagpam::data {

class InputFile {
 public:
  // Throws DataError where `path` is missing, unreadable or no regular file. Never waits (pipes).
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) = delete;

  // out <- bytes [offset, offset + size). Throws DataError where the file has become shorter,
  // IoError where the system fails. Any number of threads may read at once.
  void read(int64_t offset, void* out, size_t size) const;

  int64_t size() const { return size_; }  // when it was opened
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

}  // namespace dagpam::data
