// configs/cluster.h: from a file to one complete, checked ClusterConfig (cluster.proto).
#pragma once

#include <string>

#include "configs/cluster.pb.h"

namespace dagpam::configs {

// Reads a text-format file, fills in every default and checks it. Throws ConfigError with one line:
// file, line and column or field, the value, what was expected, what to do.
ClusterConfig load_cluster(const std::string& file);

// The same of a text; `file` is for messages.
ClusterConfig parse_cluster(const std::string& text, const std::string& file);

// Text format, every field on its own line; parse_cluster() gives an equal message.
std::string print(const ClusterConfig& cluster);

}  // namespace dagpam::configs
