// tests/trainer/checkpoint_fixtures.h: small checkpoints whose every value is known in closed form.
#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "configs/errors.h"
#include "trainer/checkpoint/blocks.h"
#include "trainer/checkpoint/boxes.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/writer.h"

namespace dagpam::checkpoint::testing {

inline constexpr char kRunId[] = "run-7";
inline const std::string kLease(32, 'a');
inline const std::string kOtherLease(32, 'b');

class TemporaryFolder {
 public:
  // In memory, where the system offers that: for tests of hundreds of saves, whose fsyncs would
  // take minutes.
  static constexpr char kMemory[] = "/dev/shm";
  explicit TemporaryFolder(bool in_memory = false) {
    const bool memory = in_memory && ::access(kMemory, W_OK) == 0;
    std::string name =
        (memory ? kMemory : std::filesystem::temp_directory_path().string()) + "/checkpoint.XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good()) << path;
}

// A tensor of a test's state. cut_dim: how ranks share it (-1: rank 0 gives the whole).
struct TestTensor {
  std::string name;
  Shape shape;
  int cut_dim = -1;
};

// Element i of a tensor, a whole number that float32 holds; differs by name, place and step.
// tests/peers/safetensors_read.py computes the same.
inline float value_at(const std::string& name, int64_t i, int64_t step) {
  return static_cast<float>(i % 65521 + static_cast<int64_t>(name.size()) * 70000 + step % 1000);
}

inline std::vector<float> whole(const TestTensor& tensor, int64_t step) {
  std::vector<float> out(static_cast<size_t>(elements(tensor.shape).value_or(0)));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = value_at(tensor.name, static_cast<int64_t>(i), step);
  }
  return out;
}

// Rank's rows of a dimension of n rows: the first n % ranks ranks have one more.
inline std::pair<int64_t, int64_t> rows_of(int64_t n, int rank, int ranks) {
  const int64_t each = n / ranks;
  const int64_t more = n % ranks;
  return {rank * each + std::min<int64_t>(rank, more), each + (rank < more ? 1 : 0)};
}

// Elements of a part, element by element: the oracle for every read.
inline std::vector<float> part_of(const TestTensor& tensor, const Box& part, int64_t step) {
  std::vector<float> out;
  const std::vector<float> all = whole(tensor, step);
  for (int64_t i = 0; i < static_cast<int64_t>(all.size()); ++i) {
    int64_t rest = i;
    bool inside = true;
    for (size_t d = tensor.shape.size(); d-- > 0;) {
      const int64_t index = rest % tensor.shape[d];
      rest /= tensor.shape[d];
      inside &= index >= part.start[d] && index < part.start[d] + part.shape[d];
    }
    if (inside) out.push_back(all[static_cast<size_t>(i)]);
  }
  return out;
}

inline std::vector<TestTensor> small_state() {
  return {{"embedding.weight", {10, 6}, 0},
          {"layers.0.w_neg", {4, 7}, 1},
          {"layers.0.norm.weight", {7}, -1},
          {"optimizer.exp_avg.w", {5, 3, 2}, 2},
          {"lambda.plus", {}, -1},
          {"empty", {0, 4}, -1},
          {"optimizer.exp_avg_sq.w", {5, 3, 2}, 1}};
}

// Two shards of more than one block each.
inline std::vector<TestTensor> large_state() {
  std::vector<TestTensor> state = small_state();
  state.push_back({"layers.1.w", {2200, 1024}, 0});
  return state;
}

inline configs::Manifest base_manifest(int ranks) {
  configs::Manifest manifest;
  manifest.set_tokens_seen(123456);
  manifest.set_seed(1337);
  manifest.set_config_digest(digest_of(as_bytes("config")));
  manifest.set_tokenizer_digest(digest_of(as_bytes("tokenizer")));
  manifest.mutable_grid()->set_data(1);
  manifest.mutable_grid()->set_tensor(ranks);
  manifest.mutable_position()->set_next_sample(4800);
  auto* source = manifest.mutable_position()->add_sources();
  source->set_digest(digest_of(as_bytes("data")));
  source->set_drawn(4800);
  manifest.mutable_schedule()->set_decay_steps(2000);
  manifest.mutable_schedule()->set_lr(0.1);
  manifest.set_loss(1.25);
  return manifest;
}

inline std::vector<FileCopy> copies() {
  return {{kConfigName, "name: \"test\"\n"}, {kTokenizerName, "{\"kind\":\"byte\"}"}};
}

struct Save {
  FileSystem& fs = posix_file_system();
  std::string directory = {};
  int64_t step = 100;
  int ranks = 2;
  std::vector<TestTensor> state = small_state();
  std::string lease = kLease;
  std::function<void()> before_rename = {};
  std::string run_id = kRunId;

  std::string write_shard(CheckpointWriter& writer, int rank) const {
    std::vector<TensorPiece> pieces;
    std::vector<std::vector<float>> values;
    for (const TestTensor& tensor : state) {
      if (tensor.cut_dim < 0 && rank > 0) continue;
      int64_t offset = 0;
      int64_t size = 0;
      if (tensor.cut_dim >= 0) {
        std::tie(offset, size) =
            rows_of(tensor.shape[static_cast<size_t>(tensor.cut_dim)], rank, ranks);
      }
      const Box box = *slice_of(tensor.shape, tensor.cut_dim, offset, size);
      values.push_back(part_of(tensor, box, step));
      pieces.push_back(
          {tensor.name, "F32", tensor.shape, box, std::as_bytes(std::span(values.back()))});
    }
    return writer.write_shard(rank, ranks, pieces);
  }

  // All ranks one after the other, as one process.
  std::string run() const {
    CheckpointWriter writer(fs, {directory, step, run_id, lease});
    std::vector<std::string> records;
    for (int rank = 0; rank < ranks; ++rank) records.push_back(write_shard(writer, rank));
    return writer.commit(base_manifest(ranks), records, copies(), before_rename);
  }
};

inline std::vector<float> read(const Checkpoint& checkpoint, const std::string& name,
                               const TensorRange& range, size_t count) {
  std::vector<float> out(count, -1);
  checkpoint.read_tensor(name, range, std::as_writable_bytes(std::span(out)));
  return out;
}

// The message of the CheckpointError that opening throws; "" where it opens.
inline std::string problem_of(const std::string& path, FileSystem& fs = posix_file_system()) {
  try {
    open_checkpoint(fs, path);
    return "";
  } catch (const CheckpointError& error) {
    return error.what();
  }
}

// Manifest text with a true digest, whatever it says.
inline std::string sealed(const std::string& body) {
  return body + "digest: \"" + digest_of(as_bytes(body)) + "\"\n";
}

// Changes the manifest of a checkpoint and makes its digest true again.
inline void edit_manifest(const std::string& path,
                          const std::function<void(configs::Manifest&)>& edit) {
  const std::string file = path + "/" + kManifestName;
  configs::Manifest manifest;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(read_file(file), &manifest));
  manifest.clear_digest();
  edit(manifest);
  std::string text;
  ASSERT_TRUE(google::protobuf::TextFormat::PrintToString(manifest, &text));
  write_file(file, sealed(text));
}

// Replaces a file of a checkpoint and makes its size and digests in the manifest true again.
inline void replace_file(const std::string& path, const std::string& name,
                         const std::string& bytes) {
  write_file(path + "/" + name, bytes);
  edit_manifest(path, [&](configs::Manifest& manifest) {
    for (auto& file : *manifest.mutable_files()) {
      if (file.name() != name) continue;
      file.set_bytes(static_cast<int64_t>(bytes.size()));
      file.clear_blocks();
      for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(kBlockBytes)) {
        file.add_blocks(digest_of(
            as_bytes(std::string_view(bytes).substr(at, static_cast<size_t>(kBlockBytes)))));
      }
    }
  });
}

}  // namespace dagpam::checkpoint::testing
