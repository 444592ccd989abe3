// configs/field_text.h: single fields of a config as text.
#pragma once

#include <string>

#include "configs/run.pb.h"

namespace dagpam::configs {

// The value behind a dotted path as differing_fields() gives it ("model.layers",
// "data.train.0.prefix"): as it is written in text format, strings without quotes, a list's entries
// with commas between them. A field left out has the schema's default; "" where there is none, or
// no such path.
std::string field_text(const RunConfig& config, const std::string& path);

}  // namespace dagpam::configs
