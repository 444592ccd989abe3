// A shard (safetensors) within a checkpoint whose sizes and digests are true, and the same bytes as
// a safetensors file of another program.
#include "tests/fuzz/checkpoint_in_memory.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::fuzz {
namespace {

using checkpoint::testing::MemoryFileSystem;
using configs::Manifest;

const std::string kShard = std::string(kCheckpointFolder) + "/" + checkpoint::shard_name(0, 1);

std::string with_length(const std::string& json, const std::string& data) {
  const uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + json + data;
}

// The checkpoint with these bytes as its shard.
void put_shard(MemoryFileSystem& file_system, const std::string& bytes) {
  static const Manifest original =
      checkpoint::parse_manifest(manifest_text(), "MANIFEST.textproto");
  Manifest manifest = original;
  Manifest::File& file = *manifest.mutable_files(2);
  file.set_bytes(static_cast<int64_t>(bytes.size()));
  file.clear_blocks();
  if (!bytes.empty()) file.add_blocks(checkpoint::digest_of(checkpoint::as_bytes(bytes)));
  file_system.put(std::string(kCheckpointFolder) + "/MANIFEST.textproto",
                  checkpoint::print_manifest(manifest));
  file_system.put(kShard, bytes);
}

void read_everything(const checkpoint::Checkpoint& checkpoint) {
  for (const auto& tensor : checkpoint.manifest().tensors()) {
    const auto count = checkpoint::elements(checkpoint::shape_of(tensor));
    std::vector<float> values(static_cast<size_t>(*count));
    checkpoint.read_tensor(tensor.name(), checkpoint::TensorRange{},
                           std::as_writable_bytes(std::span(values)));
  }
}

// Entries lie one after the other and fill the file.
void read_header(MemoryFileSystem& file_system) {
  const checkpoint::InputFile file(file_system, kShard);
  const checkpoint::SafetensorsHeader header = checkpoint::read_safetensors_header(file);
  int64_t end = header.entries.empty() ? file.bytes() : header.entries.front().begin;
  for (const auto& entry : header.entries) {
    require(entry.begin == end && entry.end >= entry.begin, "entries follow each other");
    const auto count = checkpoint::elements(entry.shape);
    require(count && *count * checkpoint::dtype_bytes(entry.dtype) == entry.end - entry.begin,
            "an entry has the bytes of its shape");
    end = entry.end;
  }
  require(end == file.bytes(), "entries fill the file");
}

}  // namespace

std::vector<Seed> seeds() {
  const std::string good = checkpoint_in_memory().get(kShard);
  uint64_t length = 0;
  std::memcpy(&length, good.data(), sizeof length);
  const std::string json = good.substr(8, length);
  const std::string data = good.substr(8 + length);
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = json;
    text.replace(text.find(from), from.size(), to);
    return with_length(text, data);
  };
  return {
      {good, true},
      {with_length(json, data.substr(1)), false},
      {changed("[10,6]", "[4294967296,4294967296]"), false},
      {changed("[10,6]", "[[[[[[10,6]]]]]]"), false},
      {changed("\"F32\"", "\"F64\""), false},
      {changed("data_offsets", "data_offset"), false},
      {changed("embedding.weight", "../weight"), false},
      {changed("run-7", "run-8"), false},
      {with_length(std::string(5000, '['), data), false},
      {with_length("{}", ""), false},
      {with_length("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", "ab"), false},
      {std::string(8, '\xff') + json, false},
      {std::string("\x80\x04\x95 pickle"), false},
      {"PK\x03\x04", false},
      {"", false}};
}

bool run(std::string_view input) {
  static MemoryFileSystem file_system = checkpoint_in_memory();  // but for what put_shard puts
  put_shard(file_system, std::string(input));
  try {
    read_header(file_system);
  } catch (const CheckpointError& error) {
    require_one_line(error);
  }
  try {
    read_everything(*checkpoint::open_checkpoint(file_system, kCheckpointFolder));
    return true;
  } catch (const CheckpointError& error) {
    require_one_line(error);
    return false;
  }
}

}  // namespace dagpam::fuzz
