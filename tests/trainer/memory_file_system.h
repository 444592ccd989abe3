// tests/trainer/memory_file_system.h: a file system in memory that can lose power.
//
// It knows what was made durable: the content of a file by fsync of the file, the names in a folder
// by fsync of the folder. power_cut() gives what a disk may hold afterwards: of everything that was
// not made durable, any part. Names that were changed but not synced are lost or kept one by one,
// in no order: that is more than any journal allows itself, and what POSIX promises.
#pragma once

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/file_system.h"

namespace dagpam::checkpoint::testing {

class MemoryFileSystem : public FileSystem {
 public:
  struct Node;
  using NodePointer = std::shared_ptr<Node>;
  // A name that was given, taken away (node is null) or moved, and not synced since.
  struct NameChange {
    std::string from, to;
    NodePointer node;
  };
  struct Node {
    bool is_folder = false;
    std::string bytes, durable_bytes;                         // of a file
    std::map<std::string, NodePointer> names, durable_names;  // of a folder
    std::vector<NameChange> changes;
  };
  enum class Keep { kNothing, kEverything, kAnyPart };

  MemoryFileSystem() : root_(std::make_shared<Node>()) { root_->is_folder = true; }

  // What stands on the disk after the power came back.
  MemoryFileSystem power_cut(Keep keep, std::mt19937_64& random) const {
    MemoryFileSystem after;
    after.root_ = after_cut(*root_, keep, random);
    return after;
  }

  void put(const std::string& path, const std::string& bytes) {
    const int fd = MemoryFileSystem::open_write(path);
    MemoryFileSystem::write(fd, std::as_bytes(std::span(bytes)));
    MemoryFileSystem::close(fd);
  }
  std::string get(const std::string& path) const { return find(path)->bytes; }
  size_t open_descriptors() const { return open_.size(); }

  int open_write(const std::string& path) override {
    const auto [folder, name] = parent(path);
    if (!folder) return fail(ENOENT);
    NodePointer& node = folder->names[name];
    if (node && node->is_folder) return fail(EISDIR);
    if (!node) {
      node = std::make_shared<Node>();
      folder->changes.push_back({"", name, node});
    }
    node->bytes.clear();
    return give(node);
  }
  int open_read(const std::string& path) override {
    const NodePointer node = find(path);
    return node ? give(node) : fail(ENOENT);
  }
  int open_folder(const std::string& path) override {
    const NodePointer node = find(path);
    if (!node) return fail(ENOENT);
    return node->is_folder ? give(node) : fail(ENOTDIR);
  }
  int close(int fd) override { return open_.erase(fd) == 1 ? 0 : fail(EBADF); }

  ssize_t write(int fd, std::span<const std::byte> bytes) override {
    open_.at(fd)->bytes.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return static_cast<ssize_t>(bytes.size());
  }
  ssize_t pread(int fd, std::span<std::byte> out, int64_t offset) override {
    const std::string_view bytes = open_.at(fd)->bytes;
    if (offset < 0) return fail(EINVAL);
    if (offset >= static_cast<int64_t>(bytes.size())) return 0;
    const std::string_view part = bytes.substr(static_cast<size_t>(offset), out.size());
    std::memcpy(out.data(), part.data(), part.size());
    return static_cast<ssize_t>(part.size());
  }
  int fsync(int fd) override {
    Node& node = *open_.at(fd);
    node.durable_bytes = node.bytes;
    node.durable_names = node.names;
    node.changes.clear();
    return 0;
  }

  int fstat(int fd, FileStatus& out) override { return describe(*open_.at(fd), out); }
  int lstat(const std::string& path, FileStatus& out) override {
    const NodePointer node = find(path);
    return node ? describe(*node, out) : fail(ENOENT);
  }
  int rename(const std::string& from, const std::string& to) override {
    const auto [folder, name] = parent(from);
    const auto [target, target_name] = parent(to);
    if (!folder || folder != target) return fail(EXDEV);  // never asked for
    const auto place = folder->names.find(name);
    if (place == folder->names.end()) return fail(ENOENT);
    const NodePointer node = place->second;
    const auto old = folder->names.find(target_name);
    if (old != folder->names.end() && !old->second->names.empty()) return fail(ENOTEMPTY);
    folder->names.erase(place);
    folder->names[target_name] = node;
    folder->changes.push_back({name, target_name, node});
    return 0;
  }
  int mkdir(const std::string& path) override {
    const auto [folder, name] = parent(path);
    if (!folder) return fail(ENOENT);
    NodePointer& node = folder->names[name];
    if (node) return fail(EEXIST);
    node = std::make_shared<Node>();
    node->is_folder = true;
    folder->changes.push_back({"", name, node});
    return 0;
  }
  int unlink(const std::string& path) override { return remove(path, /*folder=*/false); }
  int rmdir(const std::string& path) override { return remove(path, /*folder=*/true); }
  int list(const std::string& path, std::vector<std::string>& names) override {
    const NodePointer node = find(path);
    if (!node) return fail(ENOENT);
    names.clear();
    for (const auto& [name, entry] : node->names) names.push_back(name);
    return 0;
  }
  int free_bytes(const std::string&, int64_t& out) override {
    out = int64_t{1} << 40;
    return 0;
  }

 private:
  static int fail(int error) {
    errno = error;
    return -1;
  }
  int give(const NodePointer& node) {
    open_[next_] = node;
    return next_++;
  }
  static int describe(const Node& node, FileStatus& out) {
    out.kind = node.is_folder ? FileStatus::Kind::kFolder : FileStatus::Kind::kFile;
    out.bytes = static_cast<int64_t>(node.bytes.size());
    return 0;
  }

  static std::vector<std::string> parts_of(const std::string& path) {
    std::vector<std::string> parts;
    for (size_t begin = 0; begin < path.size();) {
      size_t end = path.find('/', begin);
      if (end == std::string::npos) end = path.size();
      if (end > begin) parts.push_back(path.substr(begin, end - begin));
      begin = end + 1;
    }
    return parts;
  }
  NodePointer walk(const std::vector<std::string>& parts, size_t count) const {
    NodePointer node = root_;
    for (size_t i = 0; i < count && node; ++i) {
      const auto place = node->names.find(parts[i]);
      node = place == node->names.end() ? nullptr : place->second;
    }
    return node;
  }
  NodePointer find(const std::string& path) const {
    const std::vector<std::string> parts = parts_of(path);
    return walk(parts, parts.size());
  }
  std::pair<NodePointer, std::string> parent(const std::string& path) const {
    const std::vector<std::string> parts = parts_of(path);
    if (parts.empty()) return {nullptr, ""};
    return {walk(parts, parts.size() - 1), parts.back()};
  }
  int remove(const std::string& path, bool is_folder) {
    const auto [folder, name] = parent(path);
    const NodePointer node = find(path);
    if (!node) return fail(ENOENT);
    if (node->is_folder != is_folder) return fail(is_folder ? ENOTDIR : EISDIR);
    if (!node->names.empty()) return fail(ENOTEMPTY);
    folder->names.erase(name);
    folder->changes.push_back({name, "", nullptr});
    return 0;
  }

  static bool keeps(Keep keep, std::mt19937_64& random) {
    return keep == Keep::kEverything || (keep == Keep::kAnyPart && random() % 2 == 0);
  }
  // What was written since the last fsync: lost, kept, cut, or of the right length with a stretch
  // of zeros.
  static std::string bytes_after(const Node& file, Keep keep, std::mt19937_64& random) {
    if (keep != Keep::kAnyPart) {
      return keep == Keep::kNothing ? file.durable_bytes : file.bytes;
    }
    if (file.bytes == file.durable_bytes || random() % 4 == 0) return file.durable_bytes;
    std::string bytes = file.bytes;
    const size_t safe = bytes.starts_with(file.durable_bytes) ? file.durable_bytes.size() : 0;
    const size_t at = safe + random() % (bytes.size() - safe + 1);
    switch (random() % 3) {
      case 0:
        return bytes;
      case 1:
        bytes.resize(at);
        return bytes;
      default:
        std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(), '\0');
        return bytes;
    }
  }
  static NodePointer after_cut(const Node& node, Keep keep, std::mt19937_64& random) {
    auto after = std::make_shared<Node>();
    after->is_folder = node.is_folder;
    if (!node.is_folder) {
      after->bytes = after->durable_bytes = bytes_after(node, keep, random);
      return after;
    }
    std::map<std::string, NodePointer> names = node.durable_names;
    for (const NameChange& change : node.changes) {
      if (!keeps(keep, random)) continue;
      names.erase(change.from);
      if (change.node) names[change.to] = change.node;
    }
    for (const auto& [name, entry] : names) {
      after->names[name] = after_cut(*entry, keep, random);
    }
    after->durable_names = after->names;
    return after;
  }

  NodePointer root_;
  std::map<int, NodePointer> open_;
  int next_ = 3;
};

}  // namespace dagpam::checkpoint::testing
