#include "data/text_error.h"

#include "data/utf8.h"

namespace dagpam::data {

TextError::TextError(const std::string& source, std::string_view text, size_t offset,
                     const std::string& problem, const std::string& remedy)
    : DataError(source + ": " + problem + " at " + to_string(locate(text, offset)) + ": " + remedy),
      offset_(offset),
      problem_(problem),
      remedy_(remedy) {}

TextError TextError::within(const std::string& source, std::string_view whole, size_t begin) const {
  return {source, whole, begin + offset_, problem_, remedy_};
}

}  // namespace dagpam::data
