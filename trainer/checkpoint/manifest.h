// trainer/checkpoint/manifest.h: MANIFEST.textproto, from text to a checked message and back.
//
// A manifest that parse_manifest returns keeps every rule that can be seen without the other files:
// all fields present, names safe, sizes countable, every tensor covered exactly once by its pieces.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "configs/manifest.pb.h"
#include "trainer/checkpoint/boxes.h"

namespace dagpam::checkpoint {

inline constexpr int64_t kFormatVersion = 1;
inline constexpr char kManifestName[] = "MANIFEST.textproto";
inline constexpr char kConfigName[] = "config.textproto";
inline constexpr char kTokenizerName[] = "tokenizer.json";

// Limits of what is read at all: they bound the memory that a hostile file can take.
inline constexpr int64_t kMaxManifestBytes = int64_t{12} << 20;
inline constexpr int64_t kMaxManifestMessages = 200'000;  // files, tensors and pieces
inline constexpr int64_t kMaxManifestStrings = 400'000;
inline constexpr int64_t kMaxManifestValues = 2'000'000;

std::string program_version();

// Text with the digest as its last line. Throws CheckpointError where the manifest breaks a rule.
std::string print_manifest(configs::Manifest manifest);

// `path` is for messages. Throws CheckpointError: damaged (digest), written by a newer program
// (which one), or the first rule that is broken.
configs::Manifest parse_manifest(std::string_view text, const std::string& path);

// The rules; throws CheckpointError that starts with `path`.
void check_manifest(const configs::Manifest& manifest, const std::string& path);

std::string shard_name(int rank, int ranks);  // "shard-00001-of-00004.safetensors"
bool is_file_name(std::string_view name);     // letters, digits, . _ -; no . in front; at most 255
bool is_tensor_name(std::string_view name);   // printable, without spaces, quotes and backslashes
bool is_weight(std::string_view tensor);      // of the model; false: optimizer state
bool is_run_id(std::string_view id);          // 1 to 64 letters, digits and -

Box box_of(const configs::Manifest::Piece& piece);
Shape shape_of(const configs::Manifest::Tensor& tensor);

}  // namespace dagpam::checkpoint
