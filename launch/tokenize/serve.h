// launch/tokenize/serve.h: the other end of data/spm_tokenizer.h.
#pragma once

namespace dagpam::tokenize {

// Answers the requests of data/spm_protocol.h on descriptor `in` through `out` until `in` ends,
// which it does when the program that asks is gone. Throws DataError for a request that is none,
// IoError where a descriptor fails.
void serve(int in, int out);

}  // namespace dagpam::tokenize
