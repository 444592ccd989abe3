// trainer/huggingface/tokenizer_files.h: tokenizers in the form of the `tokenizers` package.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/huggingface/text_file.h"

namespace dagpam::huggingface {

// tokenizer.json and tokenizer_config.json for what data::Tokenizer::to_json() describes. The
// package gives the ids of encode_prompt: those of encode, but word gives no <eos> for a last line
// without a line end. A character or word that the vocabulary lacks is an error there as here. Of
// kind spm it is tokenizer.model alone (a SentencePiece model), with tokenizer_config.json.
std::vector<TextFile> tokenizer_files(const std::string& tokenizer_json, int64_t context);

}  // namespace dagpam::huggingface
