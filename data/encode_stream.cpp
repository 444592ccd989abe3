#include "data/encode_stream.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "configs/errors.h"
#include "data/text_error.h"

namespace dagpam::data {
namespace {

std::string read_string(const std::string& line, const std::string& source) {
  const nlohmann::json value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!value.is_string()) throw DataError(source + ": expected a JSON string");
  return value.get<std::string>();
}

}  // namespace

void encode_json_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out,
                       EncodedAs as) {
  std::string line;
  std::vector<int32_t> ids;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    const std::string source = "line " + std::to_string(number);
    const std::string text = read_string(line, source);
    ids.clear();
    try {
      as == EncodedAs::kText ? tokenizer.encode(text, ids) : tokenizer.encode_prompt(text, ids);
    } catch (const TextError& error) {
      throw error.within(source, text, 0);
    }
    out << nlohmann::json(ids).dump() << '\n';
    if (!out)
      throw IoError("standard output: cannot write the ids of line " + std::to_string(number));
  }
  out.flush();
  if (!out) throw IoError("standard output: cannot write");
}

}  // namespace dagpam::data
