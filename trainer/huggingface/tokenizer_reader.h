// trainer/huggingface/tokenizer_reader.h: the tokenizer that comes with a Hugging Face folder.
#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"
#include "trainer/checkpoint/file_system.h"

namespace dagpam::huggingface {

// With `spec` "": what the folder holds of dagpam_tokenizer.json (of `dagpam export`), vocab.json
// and merges.txt (or encoder.json and vocab.bpe) of GPT-2, or tokenizer.json with a byte-level BPE
// that splits words as GPT-2 does, in this order. Else byte, gpt2:DIR, spm:MODEL, or json:FILE,
// the tokenizer of a data set of `dagpam data prepare`. Throws CheckpointError where the folder has
// none or one of another kind, ConfigError for another spec, DataError where its files are bad.
std::unique_ptr<data::Tokenizer> read_tokenizer(checkpoint::FileSystem& fs,
                                                const std::string& folder, const std::string& spec);

}  // namespace dagpam::huggingface
