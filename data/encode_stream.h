// data/encode_stream.h: texts to ids line by line, for other programs: `dagpam data encode`.
#pragma once

#include <iosfwd>

#include "data/tokenizer.h"

namespace dagpam::data {

enum class EncodedAs { kText, kPrompt };  // by encode() or by encode_prompt()

// Each line of `in` is a text as a JSON string; writes its ids as a JSON array on a line of `out`,
// e.g. "[15496,11]". Throws DataError naming the line where it is no JSON string or the tokenizer
// refuses the text, IoError where `out` fails.
void encode_json_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out,
                       EncodedAs as = EncodedAs::kText);

}  // namespace dagpam::data
