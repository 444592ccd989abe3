// trainer/huggingface/import.h: a Hugging Face folder as a checkpoint of step 0, which `train
// --init-from`, eval, generate and export take.
#pragma once

#include <cstdint>
#include <string>

#include "parallel/communicator.h"

namespace dagpam::huggingface {

struct ImportOptions {
  std::string from;       // the folder: config.json, safetensors, tokenizer
  std::string out;        // the checkpoint's folder, which is new
  std::string tokenizer;  // as read_tokenizer() (tokenizer_reader.h) has it; "": the folder's
  std::string attention;  // of GPT-2 weights: SOFTMAX (also "") or DAGPAM
  uint64_t seed = 1337;   // of parameters that GPT-2 lacks: the w_neg of DAGPAM
};

struct Imported {
  std::string model_type;
  int64_t tensors = 0, numbers = 0;
};

// One process: `alone` has one rank. Files that save_pretrained() of transformers wrote are taken
// too; of other types than F32 they are widened. Throws CheckpointError naming file and tensor:
// one that is missing, unknown, of another shape or type, or holds numbers that are not finite;
// ConfigError where `out` is there. Nothing is left behind then.
Imported import_folder(const ImportOptions& options, parallel::Communicator& alone);

}  // namespace dagpam::huggingface
