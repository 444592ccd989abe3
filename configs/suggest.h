// configs/suggest.h: "did you mean": the remedy for a name that the schema does not have.
#pragma once

#include <google/protobuf/descriptor.h>

#include <optional>
#include <string>
#include <vector>

namespace dagpam::configs {

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b, letter case
// ignored.
size_t edit_distance(const std::string& a, const std::string& b);

// The candidate that `name` is most likely a slip of, if one is close enough.
std::optional<std::string> closest(const std::string& name,
                                   const std::vector<std::string>& candidates);

// What to write instead of the unknown field `name` of the block `parent`, which stands at `path`
// ("" for the whole config): a near name of the same block, else the block in which that name (or
// its usual name in other programs) stands, else the names that the block has.
std::string suggest_field(const google::protobuf::Descriptor& parent, const std::string& path,
                          const std::string& name);

// The names of all values, in schema order.
std::vector<std::string> value_names(const google::protobuf::EnumDescriptor& type);

// What to write instead of the unknown value `name`.
std::string suggest_value(const google::protobuf::EnumDescriptor& type, const std::string& name);

}  // namespace dagpam::configs
