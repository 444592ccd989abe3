// configs/parse.h: protobuf text format in, a message or one readable line out.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <string>

namespace dagpam::configs {

using Written =
    google::protobuf::TextFormat::ParseInfoTree;  // which fields a text names, and where

// Where a text comes from, for messages.
struct Source {
  std::string file;  // as the user named it; empty: an override of the command line
  std::string path;  // of the message that the text fills, dotted; empty: the whole config
};

// Parses `text` into `out` (cleared first) and records in `written` what it names. Throws
// ConfigError that names file, line, column and field: not UTF-8, unknown or repeated field, wrong
// type, unknown enum value, a number that does not fit, more than 100 levels of nesting. Checks no
// ranges.
void parse_text(const std::string& text, const Source& source, google::protobuf::Message& out,
                Written& written);

// Copies what `written` names from `from` over `into`: single values field by field, lists as a
// whole (an empty list empties it).
void overlay(google::protobuf::Message& into, const google::protobuf::Message& from,
             const Written& written);

// The whole of a text file that `option` of the command line names. Throws ConfigError where there
// is no such file, it cannot be read, is no regular file or holds more than 1 MiB.
std::string read_config_file(const std::string& file, const std::string& option = "--config");

}  // namespace dagpam::configs
