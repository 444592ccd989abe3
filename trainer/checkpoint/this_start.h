// trainer/checkpoint/this_start.h: where, when and which, for files that tell of a start of the
// program.
#pragma once

#include <string>

namespace dagpam::checkpoint {

std::string host_name();  // of this node; "" where it has none
std::string utc_now();    // 2026-11-23T22:13:23Z

// 8 * `words` hexadecimal digits from the system's source of random bits: a name that no other
// start has.
std::string random_hex(int words = 4);

}  // namespace dagpam::checkpoint
