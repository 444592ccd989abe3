#include "trainer/huggingface/json_file.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "configs/errors.h"
#include "configs/text.h"
#include "data/strict_json.h"
#include "trainer/checkpoint/file_operations.h"

namespace dagpam::huggingface {

namespace {

constexpr int64_t kLargest = int64_t{256} << 20;

std::string read_text(checkpoint::FileSystem& fs, const std::string& path) {
  const checkpoint::InputFile file(fs, path);
  if (file.bytes() > kLargest) {
    throw CheckpointError(path + ": " + std::to_string(file.bytes()) +
                          " bytes, expected JSON of at most " + std::to_string(kLargest));
  }
  std::string text(static_cast<size_t>(file.bytes()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace

JsonFile::JsonFile(checkpoint::FileSystem& fs, std::string path) : path_(std::move(path)) {
  const std::string text = read_text(fs, path_);
  try {
    object_ = std::make_unique<nlohmann::json>(data::parse_object(text, path_));
  } catch (const DataError& error) {
    throw CheckpointError(error.what());
  }
}

JsonFile::~JsonFile() = default;

bool JsonFile::has(const std::string& name) const {
  const auto found = object_->find(name);
  return found != object_->end() && !found->is_null();
}

void JsonFile::refuse(const std::string& name, const std::string& expected) const {
  const auto found = object_->find(name);
  // A string may hold what is no UTF-8 only if the parser let it: it does not.
  const std::string value =
      found == object_->end() ? "missing" : configs::one_line(found->dump(), 60);
  throw CheckpointError(path_ + ": " + name + " is " + value + ", expected " + expected);
}

const nlohmann::json& JsonFile::field(const std::string& name, const char* expected) const {
  if (!has(name)) refuse(name, expected);
  return (*object_)[name];
}

int64_t JsonFile::integer(const std::string& name) const {
  constexpr char kExpected[] = "a whole number from 0 on";
  const nlohmann::json& value = field(name, kExpected);
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    refuse(name, kExpected);
  }
  return value.get<int64_t>();
}

double JsonFile::number(const std::string& name) const {
  constexpr char kExpected[] = "a finite number";
  const nlohmann::json& value = field(name, kExpected);
  if (!value.is_number() || !std::isfinite(value.get<double>())) refuse(name, kExpected);
  return value.get<double>();
}

bool JsonFile::boolean(const std::string& name) const {
  constexpr char kExpected[] = "true or false";
  const nlohmann::json& value = field(name, kExpected);
  if (!value.is_boolean()) refuse(name, kExpected);
  return value.get<bool>();
}

std::string JsonFile::text(const std::string& name) const {
  constexpr char kExpected[] = "a string";
  const nlohmann::json& value = field(name, kExpected);
  if (!value.is_string()) refuse(name, kExpected);
  return value.get<std::string>();
}

}  // namespace dagpam::huggingface
