// data/strict_json.h: JSON that comes from a file.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace dagpam::data {

// One JSON object. Throws DataError naming `source` and the place where the text is no JSON object,
// is not UTF-8, is nested deeper than 8 or has a key twice.
nlohmann::json parse_object(std::string_view text, const std::string& source);

// Fields of `object`; DataError where the field is missing or of another type.
const nlohmann::json& any_field(const nlohmann::json& object, const std::string& name,
                                const std::string& source);
std::string string_field(const nlohmann::json& object, const std::string& name,
                         const std::string& source);
std::vector<std::string> strings_field(const nlohmann::json& object, const std::string& name,
                                       const std::string& source);

// DataError where the object has a field that is not named.
void require_only(const nlohmann::json& object, const std::vector<std::string>& names,
                  const std::string& source);

// Text for a message: in double quotes, controls escaped, only its start where it is long.
std::string quote_for_message(std::string_view text);

}  // namespace dagpam::data
