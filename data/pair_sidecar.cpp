#include "data/pair_sidecar.h"

#include <algorithm>
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

const json& object_field(const json& object, const std::string& name, const std::string& where) {
  const auto found = object.find(name);
  if (found != object.end() && found->is_object()) return *found;
  throw DataError(where + ": field '" + name + "': expected an object");
}

PairSide parse_side(const json& side, const std::string& split, int64_t pairs,
                    const std::string& where) {
  require_only(side, {"tokens", "longest", "digest", "file"}, where);
  PairSide made;
  made.tokens = integer_field(side, "tokens", pairs, where);
  made.longest = integer_field(side, "longest", 1, where);
  made.digest = digest_field(side, "digest", where);
  const json& file = object_field(side, "file", where);
  require_only(file, {"name", "bytes", "digest"}, where + ".file");
  made.file = {split, string_field(file, "name", where), integer_field(file, "bytes", 0, where),
               digest_field(file, "digest", where)};
  return made;
}

PairSplit parse_split(const json& split, const std::string& name, const std::string& where) {
  require_only(split, {"pairs", "skipped_empty", "dropped_long", "source", "target"}, where);
  PairSplit made;
  made.name = name;
  made.pairs = integer_field(split, "pairs", 1, where);
  made.skipped_empty = integer_field(split, "skipped_empty", 0, where);
  made.dropped_long = integer_field(split, "dropped_long", 0, where);
  made.source =
      parse_side(object_field(split, "source", where), name, made.pairs, where + ".source");
  made.target =
      parse_side(object_field(split, "target", where), name, made.pairs, where + ".target");
  return made;
}

SpecialIds parse_special(const json& object, int64_t vocab, const std::string& path) {
  const auto id = [&](const char* name) {
    const int64_t value = integer_field(object, name, 0, path);
    if (value < vocab && value <= INT32_MAX) return static_cast<int32_t>(value);
    throw DataError(path + ": field '" + name + "' is " + std::to_string(value) +
                    ", expected an id of the vocabulary, 0 to " + std::to_string(vocab - 1));
  };
  const SpecialIds special{id("pad"), id("bos"), id("eos")};
  if (special.pad != special.bos && special.bos != special.eos && special.eos != special.pad) {
    return special;
  }
  throw DataError(path + ": fields 'pad', 'bos' and 'eos': expected three different ids");
}

PairSidecar parse(const std::string& text, const std::string& path) {
  const json object = parse_object(text, path);
  require_format(object, kPairFormat, kVersion, path);
  require_only(object,
               {"format", "version", "vocab_size", "tokenizer_digest", "pad", "bos", "eos",
                "max_tokens", "splits", "tokenizer"},
               path);
  TokenizerFields tokenizer = tokenizer_fields(object, path);
  PairSidecar sidecar;
  sidecar.vocab_size = tokenizer.vocab_size;
  sidecar.tokenizer_json = std::move(tokenizer.json);
  sidecar.tokenizer_digest = std::move(tokenizer.digest);
  sidecar.special = parse_special(object, sidecar.vocab_size, path);
  sidecar.max_tokens = integer_field(object, "max_tokens", 0, path);
  const json& splits = object_field(object, "splits", path);
  require_only(splits, {"train", "valid", "test"}, path + ": splits");
  for (const char* name : {"train", "valid", "test"}) {
    if (!splits.contains(name)) continue;
    const std::string where = path + ": splits." + name;
    sidecar.splits.push_back(parse_split(object_field(splits, name, where), name, where));
  }
  return sidecar;
}

ordered_json side_object(const PairSide& side) {
  return {{"tokens", side.tokens},
          {"longest", side.longest},
          {"digest", side.digest},
          {"file", ordered_json{{"name", printable(side.file.name)},
                                {"bytes", side.file.bytes},
                                {"digest", side.file.digest}}}};
}

ordered_json split_object(const PairSplit& split) {
  return {{"pairs", split.pairs},
          {"skipped_empty", split.skipped_empty},
          {"dropped_long", split.dropped_long},
          {"source", side_object(split.source)},
          {"target", side_object(split.target)}};
}

}  // namespace

const PairSplit* PairSidecar::find(const std::string& split) const {
  const auto found = std::find_if(splits.begin(), splits.end(),
                                  [&](const PairSplit& s) { return s.name == split; });
  return found == splits.end() ? nullptr : &*found;
}

PairVocabulary pair_vocabulary(const Tokenizer& tokenizer) {
  PairVocabulary made{tokenizer.special_ids(), tokenizer.vocab_size()};
  for (int32_t* id : {&made.special.pad, &made.special.bos, &made.special.eos}) {
    if (*id < 0) *id = static_cast<int32_t>(made.vocab_size++);
  }
  return made;
}

bool is_pair_set(const std::string& prefix) {
  return sidecar_exists(prefix) && sidecar_format(prefix) == kPairFormat;
}

PairSidecar read_pair_sidecar(const std::string& prefix) {
  return parse(read_sidecar_text(prefix), sidecar_path(prefix));
}

void write_pair_sidecar(const std::string& prefix, const PairSidecar& sidecar) {
  ordered_json object;
  object["format"] = kPairFormat;
  object["version"] = kVersion;
  object["vocab_size"] = sidecar.vocab_size;
  object["tokenizer_digest"] = sidecar.tokenizer_digest;
  object["pad"] = sidecar.special.pad;
  object["bos"] = sidecar.special.bos;
  object["eos"] = sidecar.special.eos;
  object["max_tokens"] = sidecar.max_tokens;
  object["splits"] = ordered_json::object();
  for (const PairSplit& split : sidecar.splits) object["splits"][split.name] = split_object(split);
  object["tokenizer"] = sidecar.tokenizer_json;
  std::string text;
  try {
    text = object.dump(1) + "\n";
  } catch (const json::exception&) {
    throw DataError(sidecar_path(prefix) + ": the tokenizer's description is not UTF-8");
  }
  parse(text, sidecar_path(prefix));  // what is written can be read
  write_sidecar_text(prefix, text);
}

}  // namespace dagpam::data
