// data/digest.h: the digest that names data files and tokenizers.
#pragma once

#include <string>
#include <string_view>

namespace dagpam::data {

// 32 lower-case hex digits of XXH3-128, canonical (big-endian) order, as `xxh128sum` prints them.
std::string xxh3_hex(std::string_view bytes);

}  // namespace dagpam::data
