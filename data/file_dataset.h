// data/file_dataset.h: a TokenDataset over one token file of any supported format. Only data/ needs
// more of it than open_dataset gives.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/indexed_dataset.h"
#include "data/input_file.h"
#include "data/token_type.h"

namespace dagpam::data {

struct FileLayout {
  TokenType type = TokenType::kU16;
  int64_t first_byte = 0;  // of the first token
  int64_t tokens = 0;
  int64_t sequences = 0;
  std::vector<int64_t> document_starts;
};

class FileDataset final : public TokenDataset {
 public:
  FileDataset(std::string path, InputFile file, FileLayout layout, std::string digest);

  int64_t tokens() const override { return layout_.tokens; }
  std::span<const int64_t> document_starts() const override { return layout_.document_starts; }
  std::string digest() const override { return digest_; }
  std::string path() const override { return path_; }
  void read(int64_t offset, std::span<int64_t> out, int64_t vocab) const override;

  // Without the check of the ids.
  void read_unchecked(int64_t offset, std::span<int64_t> out) const;

  const FileLayout& layout() const { return layout_; }
  const InputFile& file() const { return file_; }

 private:
  std::string path_;
  InputFile file_;
  FileLayout layout_;
  std::string digest_;
};

// As open_dataset, which see.
std::unique_ptr<FileDataset> open_file_dataset(const std::string& path);

}  // namespace dagpam::data
