#include "trainer/checkpoint/reader.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "configs/errors.h"
#include "trainer/checkpoint/blocks.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::checkpoint {
namespace {

using configs::Manifest;

// A shard's header needs no more than this for its pieces: a longer one is not read.
constexpr int64_t kHeaderBytes = 4096;
constexpr int64_t kHeaderBytesEach = 2048;

// Reads short stretches through a window, so that a cut along an inner dimension does not take a
// system call for each row.
class WindowReader {
 public:
  explicit WindowReader(const InputFile& file) : file_(file) {}

  void read(int64_t offset, std::span<std::byte> out) {
    const int64_t size = static_cast<int64_t>(out.size());
    if (size >= kWindow) return file_.read(offset, out);
    if (offset < begin_ || offset + size > begin_ + static_cast<int64_t>(window_.size())) {
      window_.resize(static_cast<size_t>(std::min(kWindow, file_.bytes() - offset)));
      file_.read(offset, window_);
      begin_ = offset;
    }
    std::memcpy(out.data(), window_.data() + (offset - begin_), out.size());
  }

 private:
  static constexpr int64_t kWindow = 256 << 10;
  const InputFile& file_;
  std::vector<std::byte> window_;
  int64_t begin_ = 0;
};

}  // namespace

Checkpoint::Checkpoint(std::string path, Manifest manifest)
    : path_(std::move(path)), manifest_(std::move(manifest)) {}

void Checkpoint::open_files(FileSystem& fs, const OpenOptions& options) {
  for (const Manifest::File& file : manifest_.files()) {
    files_.push_back(std::make_unique<InputFile>(fs, path_ + "/" + file.name()));
    if (files_.back()->bytes() != file.bytes()) {
      throw CheckpointError(files_.back()->path() + ": has " +
                            std::to_string(files_.back()->bytes()) + " bytes, " + kManifestName +
                            " says " + std::to_string(file.bytes()) +
                            ": the file is damaged; choose another checkpoint");
    }
  }
  for (int i = 0; i < manifest_.files_size(); ++i) {
    const Manifest::File& file = manifest_.files(i);
    verify_blocks(*files_[static_cast<size_t>(i)], {file.blocks().begin(), file.blocks().end()},
                  i % options.parts != options.part);
  }
}

// Fills tensors_ from the manifest, then finds each piece in its shard.
void Checkpoint::match_headers() {
  std::vector<std::map<std::string, Box>> expected(files_.size());
  for (int t = 0; t < manifest_.tensors_size(); ++t) {
    const Manifest::Tensor& tensor = manifest_.tensors(t);
    tensors_[tensor.name()] = {t, dtype_bytes(tensor.dtype()), {}};
    for (const Manifest::Piece& piece : tensor.pieces()) {
      expected[static_cast<size_t>(piece.file())].emplace(tensor.name(), box_of(piece));
    }
  }
  for (int i = 0; i < manifest_.files_size(); ++i) {
    if (!manifest_.files(i).name().starts_with("shard-")) continue;
    match_header(i, expected[static_cast<size_t>(i)]);
  }
}

void Checkpoint::match_header(int file, const std::map<std::string, Box>& expected) {
  const InputFile& input = *files_[static_cast<size_t>(file)];
  const int64_t limit = kHeaderBytes + kHeaderBytesEach * static_cast<int64_t>(expected.size());
  const SafetensorsHeader header = read_safetensors_header(input, std::min(limit, kMaxHeaderBytes));
  const auto refuse = [&](const std::string& problem) {
    throw CheckpointError(input.path() + ": " + problem + ": it belongs to another checkpoint");
  };
  const std::map<std::string, std::string> wanted{{"run_id", manifest_.run_id()},
                                                  {"step", std::to_string(manifest_.step())},
                                                  {"shard", manifest_.files(file).name()}};
  for (const auto& [key, value] : wanted) {
    const auto found = header.metadata.find(key);
    const std::string text = found == header.metadata.end() ? "" : found->second;
    if (text != value) refuse(key + " is " + in_quotes(text) + ", expected " + in_quotes(value));
  }
  for (const SafetensorsEntry& entry : header.entries) {
    const auto piece = expected.find(entry.name);
    if (piece == expected.end()) refuse("has the tensor " + in_quotes(entry.name) + " too many");
    StoredTensor& tensor = tensors_.at(entry.name);
    if (piece->second.shape != entry.shape ||
        manifest_.tensors(tensor.index).dtype() != entry.dtype) {
      refuse("tensor " + in_quotes(entry.name) + " is a " + to_text(entry.shape) + " of " +
             entry.dtype + ", expected " + to_text(piece->second.shape) + " of " +
             manifest_.tensors(tensor.index).dtype());
    }
    tensor.pieces.push_back({piece->second, file, entry.begin});
  }
  if (header.entries.size() != expected.size()) {
    refuse("has " + std::to_string(header.entries.size()) + " tensors, expected " +
           std::to_string(expected.size()));
  }
}

const Manifest::Tensor* Checkpoint::find(const std::string& name) const {
  const auto place = tensors_.find(name);
  return place == tensors_.end() ? nullptr : &manifest_.tensors(place->second.index);
}

void Checkpoint::read_tensor(const std::string& name, const TensorRange& range,
                             std::span<std::byte> out) const {
  const Manifest::Tensor* tensor = find(name);
  if (tensor == nullptr) throw CheckpointError(path_ + ": holds no tensor " + in_quotes(name));
  const std::optional<Box> box =
      slice_of(shape_of(*tensor), range.cut_dim, range.offset, range.size);
  if (!box) {
    throw CheckpointError(path_ + ": tensor " + in_quotes(name) + " of shape " +
                          to_text(shape_of(*tensor)) + " has no rows " +
                          std::to_string(range.offset) + " + " + std::to_string(range.size) +
                          " of dimension " + std::to_string(range.cut_dim));
  }
  read_tensor(name, *box, out);
}

void Checkpoint::read_tensor(const std::string& name, const Box& box,
                             std::span<std::byte> out) const {
  const Manifest::Tensor* tensor = find(name);
  if (tensor == nullptr) throw CheckpointError(path_ + ": holds no tensor " + in_quotes(name));
  const StoredTensor& stored = tensors_.at(name);
  const int64_t count = is_inside(box, shape_of(*tensor)) ? elements(box.shape).value_or(-1) : -1;
  if (count < 0 || count * stored.element_bytes != static_cast<int64_t>(out.size())) {
    throw CheckpointError(path_ + ": tensor " + in_quotes(name) + " of shape " +
                          to_text(shape_of(*tensor)) + ": " + to_text(box) + " is not " +
                          std::to_string(out.size()) + " bytes of it");
  }
  for (const StoredPiece& piece : stored.pieces) {
    const std::optional<Box> common = intersection(box, piece.box);
    if (count == 0 || !common) continue;
    WindowReader reader(*files_[static_cast<size_t>(piece.file)]);
    for_each_run(*common, piece.box, box, [&](int64_t from, int64_t to, int64_t n) {
      reader.read(piece.begin + from * stored.element_bytes,
                  out.subspan(static_cast<size_t>(to * stored.element_bytes),
                              static_cast<size_t>(n * stored.element_bytes)));
    });
  }
}

std::string Checkpoint::read_copy(const std::string& name) const {
  for (int i = 0; i < manifest_.files_size(); ++i) {
    if (manifest_.files(i).name() != name) continue;
    std::string bytes(static_cast<size_t>(manifest_.files(i).bytes()), '\0');
    files_[static_cast<size_t>(i)]->read(0, std::as_writable_bytes(std::span(bytes)));
    return bytes;
  }
  throw CheckpointError(path_ + ": holds no file " + in_quotes(name));
}

std::unique_ptr<Checkpoint> open_checkpoint(FileSystem& fs, const std::string& path,
                                            const OpenOptions& options) {
  Manifest manifest = read_manifest(fs, path);
  check_names(fs, path, manifest);
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint(path, std::move(manifest)));
  checkpoint->open_files(fs, options);
  checkpoint->match_headers();
  return checkpoint;
}

Manifest read_manifest(FileSystem& fs, const std::string& path) {
  const std::optional<FileStatus> folder = status_of(fs, path);
  if (!folder) throw CheckpointError(path + ": no such checkpoint: see `dagpam ckpt ls`");
  const InputFile file(fs, path + "/" + kManifestName);
  if (file.bytes() > kMaxManifestBytes) {
    throw CheckpointError(file.path() + ": " + std::to_string(file.bytes()) +
                          " bytes pass the limit of " + std::to_string(kMaxManifestBytes));
  }
  std::string text(static_cast<size_t>(file.bytes()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  Manifest manifest = parse_manifest(text, file.path());
  const std::optional<int64_t> step = step_of(path);
  if (step && *step != manifest.step()) {
    throw CheckpointError(path + ": holds step " + std::to_string(manifest.step()) +
                          ": the folder was renamed; call it " + step_name(manifest.step()));
  }
  return manifest;
}

void check_names(FileSystem& fs, const std::string& path, const Manifest& manifest) {
  std::set<std::string> expected{kManifestName};
  for (const Manifest::File& file : manifest.files()) expected.insert(file.name());
  for (const std::string& name : list_folder(fs, path)) {
    if (expected.erase(name) == 0) {
      throw CheckpointError(path + ": the file " + in_quotes(name) + " is not in " + kManifestName +
                            ": move it out of the checkpoint");
    }
  }
  if (!expected.empty()) {
    throw CheckpointError(path + "/" + *expected.begin() +
                          ": missing: restore it or choose another checkpoint");
  }
}

}  // namespace dagpam::checkpoint
