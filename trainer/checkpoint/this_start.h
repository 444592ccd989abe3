// trainer/checkpoint/this_start.h: where and when, for files that tell of a start of the program.
#pragma once

#include <string>

namespace dagpam::checkpoint {

std::string host_name();  // of this node; "" where it has none
std::string utc_now();    // 2026-11-23T22:13:23Z

}  // namespace dagpam::checkpoint
