// trainer/checkpoint/file_operations.h: whole, checked file operations over a FileSystem.
//
// Every result is looked at; interrupted calls are repeated, short ones continued. What fails
// throws IoError naming the operation, the path and the system's text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/checkpoint/file_system.h"

namespace dagpam::checkpoint {

// A file being written from its start. Until finish() returns, nothing is promised about its
// content.
class OutputFile {
 public:
  OutputFile(FileSystem& fs, std::string path);  // creates or empties it
  ~OutputFile();                                 // closes, without a check
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void finish();  // fsync, close; the content is durable, its name only after sync_folder

 private:
  FileSystem& fs_;
  std::string path_;
  int fd_ = -1;
};

// A regular file open for reading; stays readable when its name goes away.
class InputFile {
 public:
  // Throws CheckpointError where it is missing, or a link, folder, FIFO or device; nothing of that
  // is opened.
  InputFile(FileSystem& fs, std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t bytes() const { return bytes_; }  // when it was opened

  // out <- bytes [offset, offset + out.size()). Throws CheckpointError where the file ends before
  // that.
  void read(int64_t offset, std::span<std::byte> out) const;

 private:
  FileSystem& fs_;
  std::string path_;
  int fd_ = -1;
  int64_t bytes_ = 0;
};

std::optional<FileStatus> status_of(FileSystem& fs, const std::string& path);  // nullopt: not there
std::vector<std::string> list_folder(FileSystem& fs, const std::string& path);  // sorted
bool make_folder(FileSystem& fs, const std::string& path);                      // false: it exists
void make_folders(FileSystem& fs, const std::string& path);  // and its parents, durable; may exist
void sync_folder(FileSystem& fs, const std::string& path);   // makes the names in it durable
void rename_path(FileSystem& fs, const std::string& from, const std::string& to);
void remove_folder(FileSystem& fs,
                   const std::string& path);  // with its files; one with a folder in it throws

// For messages: printable, in quotes, at most 120 characters, whatever a file may have held.
std::string in_quotes(const std::string& text);

}  // namespace dagpam::checkpoint
