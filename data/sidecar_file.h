// data/sidecar_file.h: PREFIX.json as a file, and the fields that every kind of data set has in it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace dagpam::data {

inline constexpr char kTextFormat[] = "dagpam data set";  // field "format" of `data prepare`
inline constexpr char kPairFormat[] = "dagpam pair set";  // and of `data pairs`

std::string sidecar_path(const std::string& prefix);
bool sidecar_exists(const std::string& prefix);

// The text of PREFIX.json. Throws DataError where it is missing or too large for one.
std::string read_sidecar_text(const std::string& prefix);

// Writes it whole or not at all, durably.
void write_sidecar_text(const std::string& prefix, const std::string& text);

// Field "format" alone; DataError where there is none.
std::string sidecar_format(const std::string& prefix);

// DataError unless the object says `format`, version `version`; where it is the other kind of data
// set the message says so. These come first: another version may well have other fields.
void require_format(const nlohmann::json& object, const std::string& format, int64_t version,
                    const std::string& path);

// Fields "tokenizer", "tokenizer_digest" and "vocab_size" (from 1); DataError where the digest is
// another.
struct TokenizerFields {
  std::string json, digest;
  int64_t vocab_size = 0;
};
TokenizerFields tokenizer_fields(const nlohmann::json& object, const std::string& path);

// A name of a file as text that is UTF-8 whatever the file was called.
std::string printable(const std::string& name);

// Of object fields; DataError names `where`.
int64_t integer_field(const nlohmann::json& object, const std::string& name, int64_t least,
                      const std::string& where);
std::string digest_field(const nlohmann::json& object, const std::string& name,
                         const std::string& where);

}  // namespace dagpam::data
