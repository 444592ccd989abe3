#include "data/sidecar.h"

#include <sys/stat.h>

#include <algorithm>
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
using nlohmann::ordered_json;

constexpr char kFormat[] = "dagpam data set";
constexpr int64_t kVersion = 1;
constexpr int64_t kLargestFile = int64_t{1} << 28;
constexpr int64_t kUnknown = -1;

std::string file_name(const std::string& prefix) { return prefix + ".json"; }

const json& field(const json& object, const std::string& name, const std::string& where) {
  const auto found = object.find(name);
  if (found == object.end()) throw DataError(where + ": field '" + name + "' is missing");
  return *found;
}

int64_t integer_field(const json& object, const std::string& name, int64_t least,
                      const std::string& where) {
  const json& value = field(object, name, where);
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
  if (fits && value.get<int64_t>() >= least) return value.get<int64_t>();
  throw DataError(where + ": field '" + name + "' is " + configs::one_line(value.dump(), 40) +
                  ", expected a whole number from " + std::to_string(least));
}

int64_t count_or_unknown(const json& object, const std::string& name, const std::string& where) {
  return object.contains(name) ? integer_field(object, name, 0, where) : kUnknown;
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

void parse_source(const json& source, const std::string& split, const std::string& where,
                  Sidecar& sidecar) {
  if (!source.is_object()) throw DataError(where + ": expected an object");
  require_only(source, {"name", "bytes", "digest"}, where);
  sidecar.sources.push_back({split, string_field(source, "name", where),
                             integer_field(source, "bytes", 0, where),
                             digest_field(source, "digest", where)});
}

void parse_split(const json& split, const SplitFields& fields, const std::string& where,
                 Sidecar& sidecar) {
  if (!split.is_object()) throw DataError(where + ": expected an object");
  require_only(split, {"tokens", "bytes", "characters", "digest", "sources"}, where);
  sidecar.*fields.tokens = integer_field(split, "tokens", 0, where);
  sidecar.*fields.bytes = count_or_unknown(split, "bytes", where);
  sidecar.*fields.characters = count_or_unknown(split, "characters", where);
  if (split.contains("digest")) sidecar.*fields.digest = digest_field(split, "digest", where);
  if (!split.contains("sources")) return;
  const json& sources = split["sources"];
  if (!sources.is_array()) throw DataError(where + ": field 'sources': expected an array");
  for (const json& source : sources) {
    parse_source(source, fields.name, where + ": sources", sidecar);
  }
}

Sidecar parse(const std::string& text, const std::string& path) {
  const json object = parse_object(text, path);
  // Format and version come first: another version may well have other fields.
  if (string_field(object, "format", path) != kFormat) {
    throw DataError(path + ": field 'format': expected '" + kFormat + "'");
  }
  const int64_t version = integer_field(object, "version", 1, path);
  if (version != kVersion) {
    throw DataError(path + ": field 'version' is " + std::to_string(version) + ", expected " +
                    std::to_string(kVersion) + ": prepare the data with this program");
  }
  require_only(
      object, {"format", "version", "vocab_size", "tokenizer_digest", "splits", "tokenizer"}, path);
  Sidecar sidecar;
  sidecar.vocab_size = integer_field(object, "vocab_size", 1, path);
  sidecar.tokenizer_json = string_field(object, "tokenizer", path);
  sidecar.tokenizer_digest = digest_field(object, "tokenizer_digest", path);
  const std::string digest = xxh3_hex(sidecar.tokenizer_json);
  if (digest != sidecar.tokenizer_digest) {
    throw DataError(path + ": field 'tokenizer' has digest " + digest + ", expected " +
                    sidecar.tokenizer_digest + " (tokenizer_digest): the file is damaged");
  }
  const json& splits = field(object, "splits", path);
  if (!splits.is_object()) throw DataError(path + ": field 'splits': expected an object");
  require_only(splits, {"train", "valid", "test"}, path + ": splits");
  for (const SplitFields& fields : kSplits) {
    if (!splits.contains(fields.name)) continue;
    parse_split(splits[fields.name], fields, path + ": splits." + fields.name, sidecar);
  }
  return sidecar;
}

// Text that is UTF-8 whatever the file was called.
std::string printable(const std::string& name) {
  const std::string text = json(name).dump(-1, ' ', false, json::error_handler_t::replace);
  return json::parse(text).get<std::string>();
}

ordered_json split_object(const Sidecar& sidecar, const SplitFields& fields) {
  ordered_json split;
  split["tokens"] = sidecar.*fields.tokens;
  if (sidecar.*fields.bytes != kUnknown) split["bytes"] = sidecar.*fields.bytes;
  if (sidecar.*fields.characters != kUnknown) split["characters"] = sidecar.*fields.characters;
  if (!(sidecar.*fields.digest).empty()) split["digest"] = sidecar.*fields.digest;
  split["sources"] = ordered_json::array();
  for (const SourceFile& source : sidecar.sources) {
    if (source.split != fields.name) continue;
    split["sources"].push_back(ordered_json{
        {"name", printable(source.name)}, {"bytes", source.bytes}, {"digest", source.digest}});
  }
  return split;
}

}  // namespace

Sidecar read_sidecar(const std::string& prefix) {
  const InputFile file(file_name(prefix));
  if (file.size() > kLargestFile) {
    throw DataError(file.path() + ": its size is " + std::to_string(file.size()) +
                    " bytes, expected at most " + std::to_string(kLargestFile));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, text.data(), text.size());
  return parse(text, file.path());
}

std::optional<Sidecar> find_sidecar(const std::string& prefix) {
  struct stat status {};
  if (::stat(file_name(prefix).c_str(), &status) != 0) return std::nullopt;
  return read_sidecar(prefix);
}

void write_sidecar(const std::string& prefix, const Sidecar& sidecar) {
  const std::string path = file_name(prefix);
  ordered_json object;
  object["format"] = kFormat;
  object["version"] = kVersion;
  object["vocab_size"] = sidecar.vocab_size;
  object["tokenizer_digest"] = sidecar.tokenizer_digest;
  object["splits"] = ordered_json::object();
  for (const SplitFields& fields : kSplits) {
    if (sidecar.*fields.tokens == kUnknown) continue;
    object["splits"][fields.name] = split_object(sidecar, fields);
  }
  object["tokenizer"] = sidecar.tokenizer_json;
  std::string text;
  try {
    text = object.dump(1) + "\n";
  } catch (const json::exception&) {
    throw DataError(path + ": the tokenizer's description is not UTF-8");
  }
  parse(text, path);  // what is written can be read
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
  sync_folder_of(path);
}

}  // namespace dagpam::data
