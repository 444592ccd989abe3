// data/mapped_file.h: a whole file as bytes, by memory map.
#pragma once

#include <string>
#include <string_view>

namespace dagpam::data {

// Maps a regular file read-only for the object's life. An empty file gives an empty view. Throws
// DataError naming path and cause where it is missing, unreadable or no regular file. The file must
// not shrink meanwhile.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  // The kernel may drop the pages of [0, end) again: keeps memory bounded in one pass over a large
  // file.
  void release(size_t end) const;

 private:
  std::string path_;
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace dagpam::data
