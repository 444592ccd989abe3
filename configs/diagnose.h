// configs/diagnose.h: a parser's complaint, said so that its reader knows what to change.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>

#include "configs/parse.h"
#include "configs/scan.h"

namespace dagpam::configs {

// A text that protobuf refused: its first complaint and the place that came with it.
struct Refusal {
  const std::string& text;
  const Source& source;
  const google::protobuf::Descriptor& root;  // of the message that the text fills
  Place place;
  std::string complaint;
};

// "run.textproto:3:11: model.layers: 'four' is not a whole number: write digits, as in layers: 4"
std::string explain(const Refusal& refusal);

// "run.textproto:3:11" with both counted from 1, the column in characters; "--set model.layers" for
// overrides.
std::string where(const std::string& text, const Source& source, const Place& place,
                  const std::string& path);

}  // namespace dagpam::configs
