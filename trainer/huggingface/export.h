// trainer/huggingface/export.h: a checkpoint as a folder that Hugging Face's libraries read.
//
// config.json, generation_config.json, model.safetensors (or shards and their index), the files of
// the tokenizer, dagpam_tokenizer.json (the checkpoint's own, for `dagpam import`), and the Python
// files of python/, which compute the model in PyTorch. Parameters keep their names.
#pragma once

#include <cstdint>
#include <string>

namespace dagpam::huggingface {

inline constexpr int64_t kShardBytes = 5'000'000'000;
inline constexpr char kOwnTokenizerName[] = "dagpam_tokenizer.json";

struct ExportOptions {
  std::string checkpoint;             // a checkpoint folder, or a run folder (its latest)
  std::string out;                    // a new folder
  int64_t shard_bytes = kShardBytes;  // of weights a file; a larger tensor has a file of its own
};

struct Exported {
  std::string checkpoint;                       // the folder that was taken
  int64_t tensors = 0, numbers = 0, files = 0;  // files of weights
};

// One process; LibTorch is not used. Throws CheckpointError where the checkpoint does not verify,
// ConfigError where `out` is there or the model is an encoder-decoder; nothing is left behind.
Exported export_checkpoint(const ExportOptions& options);

}  // namespace dagpam::huggingface
