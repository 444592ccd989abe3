// data/text_error.h: a text that a tokenizer refuses, with the place.
#pragma once

#include <string>
#include <string_view>

#include "configs/errors.h"

namespace dagpam::data {

// "SOURCE: PROBLEM at byte 5 (line 1, column 6): REMEDY"
class TextError : public DataError {
 public:
  TextError(const std::string& source, std::string_view text, size_t offset,
            const std::string& problem, const std::string& remedy);

  // The same error for a text of which the refused one is the part that starts at byte `begin`.
  TextError within(const std::string& source, std::string_view whole, size_t begin) const;

  size_t offset() const { return offset_; }  // byte, from 0

 private:
  size_t offset_;
  std::string problem_, remedy_;
};

}  // namespace dagpam::data
