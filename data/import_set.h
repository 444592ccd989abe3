// data/import_set.h: token files of other programs to a data set: `dagpam data import`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/sidecar.h"

namespace dagpam::data {

enum class ImportForm {
  kMegatron,  // PATH.bin and PATH.idx (data/megatron_index.h), given as PATH
  kLlmc,      // llm.c's .bin with its header (data/llmc_file.h)
  kNanogpt,   // nanoGPT's .bin (data/shakespeare_char/prepare.py): u16 tokens and nothing else
};

// Where documents begin and end in a file that does not say it.
enum class ImportDocuments {
  kFile,       // as the file has them; without an index, the file is one
  kAfterEod,   // behind each end-of-text token, over the borders of files (nanoGPT's convention)
  kBeforeEod,  // before each (llm.c's)
};

struct ImportOptions {
  std::vector<std::string> train, valid, test;
  ImportForm form = ImportForm::kMegatron;
  ImportDocuments documents = ImportDocuments::kFile;
  std::string tokenizer;  // T of make_tokenizer, not char or word: what the ids mean
  std::string out;        // PREFIX
  std::function<void()> check;
};

// Writes PREFIX.{train,valid,test}.{bin,idx} and PREFIX.json as prepare() does, from files that
// hold ids already; returns what PREFIX.json says, in which bytes and characters of the text are
// unknown. Throws ConfigError (bad options, a tokenizer without end-of-text token where one is
// needed), DataError (a file that is missing or not of that form, an id outside the vocabulary) and
// IoError.
Sidecar import_set(const ImportOptions& options);

}  // namespace dagpam::data
