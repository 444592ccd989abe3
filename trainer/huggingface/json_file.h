// trainer/huggingface/json_file.h: a JSON object of a Hugging Face folder, and its fields.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/file_system.h"

namespace dagpam::huggingface {

// Every reader throws CheckpointError naming the file and the field where it is missing or has
// another type or range.
class JsonFile {
 public:
  // The file is there, regular, at most 256 MiB, and one JSON object without repeated keys.
  JsonFile(checkpoint::FileSystem& fs, std::string path);
  ~JsonFile();

  const std::string& path() const { return path_; }
  const nlohmann::json& object() const { return *object_; }
  bool has(const std::string& name) const;  // null counts as absent

  int64_t integer(const std::string& name) const;  // from 0 on
  double number(const std::string& name) const;    // finite
  bool boolean(const std::string& name) const;
  std::string text(const std::string& name) const;

  [[noreturn]] void refuse(const std::string& name, const std::string& expected) const;

 private:
  const nlohmann::json& field(const std::string& name, const char* expected) const;

  std::string path_;
  std::unique_ptr<nlohmann::json> object_;
};

}  // namespace dagpam::huggingface
