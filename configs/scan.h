// configs/scan.h: what stands around the place where a parser stopped.
#pragma once

#include <string>
#include <vector>

namespace dagpam::configs {

// Both counted from 0; a tab moves the column to the next multiple of 8, as protobuf's tokenizer
// counts.
struct Place {
  int line = 0;
  int column = 0;
};

// A text-format message as read up to a place, without a schema.
struct Surroundings {
  std::vector<std::string> blocks;  // names of the open blocks, outermost first
  Place block_opened;               // where the innermost one's name stands
  std::string field;                // last field name read in that block, "" at its beginning
  Place field_at;
  bool expects_value = false;  // after "field:" or inside its list
  std::string value;           // last value read for `field`, sign included
  Place value_at;
  std::string next;  // the token at the place, sign joined to its number; "" at the end of the text
};

// Never throws, whatever the text. Time and memory are linear in the text.
Surroundings scan_until(const std::string& text, const Place& stop);

}  // namespace dagpam::configs
