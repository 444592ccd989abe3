#include "data/sidecar.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "configs/errors.h"
#include "data/sidecar_file.h"
#include "data/strict_json.h"

namespace dagpam::data {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int64_t kVersion = 1;
constexpr int64_t kUnknown = -1;

int64_t count_or_unknown(const json& object, const std::string& name, const std::string& where) {
  return object.contains(name) ? integer_field(object, name, 0, where) : kUnknown;
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
  require_format(object, kTextFormat, kVersion, path);
  require_only(
      object, {"format", "version", "vocab_size", "tokenizer_digest", "splits", "tokenizer"}, path);
  Sidecar sidecar;
  TokenizerFields tokenizer = tokenizer_fields(object, path);
  sidecar.vocab_size = tokenizer.vocab_size;
  sidecar.tokenizer_json = std::move(tokenizer.json);
  sidecar.tokenizer_digest = std::move(tokenizer.digest);
  const json& splits = any_field(object, "splits", path);
  if (!splits.is_object()) throw DataError(path + ": field 'splits': expected an object");
  require_only(splits, {"train", "valid", "test"}, path + ": splits");
  for (const SplitFields& fields : kSplits) {
    if (!splits.contains(fields.name)) continue;
    parse_split(splits[fields.name], fields, path + ": splits." + fields.name, sidecar);
  }
  return sidecar;
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
  return parse(read_sidecar_text(prefix), sidecar_path(prefix));
}

std::optional<Sidecar> find_sidecar(const std::string& prefix) {
  if (!sidecar_exists(prefix)) return std::nullopt;
  return read_sidecar(prefix);
}

void write_sidecar(const std::string& prefix, const Sidecar& sidecar) {
  const std::string path = sidecar_path(prefix);
  ordered_json object;
  object["format"] = kTextFormat;
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
  write_sidecar_text(prefix, text);
}

}  // namespace dagpam::data
