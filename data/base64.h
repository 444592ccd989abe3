// data/base64.h: bytes in JSON: base64 of RFC 4648, with its padding and without line breaks.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dagpam::data {

std::string to_base64(std::string_view bytes);

// Nothing where the text is not exactly what to_base64 gives for some bytes.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace dagpam::data
