// configs/ranges.h: the range of every number in a config. A test holds that none is missing.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "configs/run.pb.h"

namespace dagpam::configs {

struct Range {
  std::string_view path;  // of the field; entries of lists have no index in it
  double low;
  double high;
  bool low_open = false;   // low itself is refused
  bool high_open = false;  // high itself is refused
  std::string_view remedy;
};

// In schema order. train.seed stands in it with the whole of uint64.
std::span<const Range> ranges();

// Every set number against its range, every set string: UTF-8 without control characters. Throws
// ConfigError at the first one outside, in schema order.
void check_fields(const RunConfig& config);

// The same of any message against ranges of its own.
void check_fields(const google::protobuf::Message& message, std::span<const Range> ranges);

}  // namespace dagpam::configs
