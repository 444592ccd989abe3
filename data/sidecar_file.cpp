#include "data/sidecar_file.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "configs/text.h"
#include "data/atomic_file.h"
#include "data/digest.h"
#include "data/input_file.h"
#include "data/strict_json.h"

namespace dagpam::data {
namespace {

using nlohmann::json;

constexpr int64_t kLargestFile = int64_t{1} << 28;

}  // namespace

std::string sidecar_path(const std::string& prefix) { return prefix + ".json"; }

bool sidecar_exists(const std::string& prefix) {
  struct stat status {};
  return ::stat(sidecar_path(prefix).c_str(), &status) == 0;
}

std::string read_sidecar_text(const std::string& prefix) {
  const InputFile file(sidecar_path(prefix));
  if (file.size() > kLargestFile) {
    throw DataError(file.path() + ": its size is " + std::to_string(file.size()) +
                    " bytes, expected at most " + std::to_string(kLargestFile));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

void write_sidecar_text(const std::string& prefix, const std::string& text) {
  AtomicFile file(sidecar_path(prefix));
  file.write(text.data(), text.size());
  file.commit();
  sync_folder_of(file.path());
}

std::string sidecar_format(const std::string& prefix) {
  const std::string path = sidecar_path(prefix);
  return string_field(parse_object(read_sidecar_text(prefix), path), "format", path);
}

void require_format(const json& object, const std::string& format, int64_t version,
                    const std::string& path) {
  const std::string found = string_field(object, "format", path);
  if (found != format && found == kPairFormat) {
    throw DataError(path +
                    ": is a set of sentence pairs, expected one text: prepare it with "
                    "`dagpam data prepare`, or use it with an encoder-decoder model");
  }
  if (found != format && found == kTextFormat) {
    throw DataError(path +
                    ": is one text, expected a set of sentence pairs: prepare it with "
                    "`dagpam data pairs`, or use it with a decoder model");
  }
  if (found != format) {
    throw DataError(path + ": field 'format': expected '" + format + "'");
  }
  const int64_t found_version = integer_field(object, "version", 1, path);
  if (found_version != version) {
    throw DataError(path + ": field 'version' is " + std::to_string(found_version) + ", expected " +
                    std::to_string(version) + ": prepare the data with this program");
  }
}

TokenizerFields tokenizer_fields(const json& object, const std::string& path) {
  TokenizerFields fields;
  fields.vocab_size = integer_field(object, "vocab_size", 1, path);
  fields.json = string_field(object, "tokenizer", path);
  fields.digest = digest_field(object, "tokenizer_digest", path);
  const std::string digest = xxh3_hex(fields.json);
  if (digest != fields.digest) {
    throw DataError(path + ": field 'tokenizer' has digest " + digest + ", expected " +
                    fields.digest + " (tokenizer_digest): the file is damaged");
  }
  return fields;
}

std::string printable(const std::string& name) {
  const std::string text = json(name).dump(-1, ' ', false, json::error_handler_t::replace);
  return json::parse(text).get<std::string>();
}

int64_t integer_field(const json& object, const std::string& name, int64_t least,
                      const std::string& where) {
  const json& value = any_field(object, name, where);
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
  if (fits && value.get<int64_t>() >= least) return value.get<int64_t>();
  throw DataError(where + ": field '" + name + "' is " + configs::one_line(value.dump(), 40) +
                  ", expected a whole number from " + std::to_string(least));
}

std::string digest_field(const json& object, const std::string& name, const std::string& where) {
  std::string digest = string_field(object, name, where);
  const bool good =
      digest.size() == 32 && digest.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!good) {
    throw DataError(where + ": field '" + name + "' is '" + configs::one_line(digest, 40) +
                    "', expected 32 lower-case hex digits");
  }
  return digest;
}

}  // namespace dagpam::data
