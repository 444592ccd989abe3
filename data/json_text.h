// data/json_text.h: the text of a line of JSON lines (https://jsonlines.org).
#pragma once

#include <string>
#include <string_view>

namespace dagpam::data {

// text <- field `key` of the JSON object `line`. Throws DataError naming `source`, and what was
// expected, where the line is no single JSON object or not UTF-8, is nested deeper than 64, has a
// key twice at its top, or the field is missing or no string. Nothing else of the object is kept.
void read_json_text(std::string_view line, const std::string& key, const std::string& source,
                    std::string& text);

}  // namespace dagpam::data
