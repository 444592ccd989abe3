#include "launch/bench/bench_checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "configs/errors.h"
#include "launch/bench/bench_save.h"
#include "launch/bench/row.h"
#include "trainer/checkpoint/blocks.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/writer.h"

namespace dagpam::launch {

namespace {

namespace fs = std::filesystem;
using checkpoint::kBlockBytes;
using checkpoint::posix_file_system;
using Bytes = std::vector<std::byte>;

constexpr int64_t kTensorBytes = int64_t{16} << 20;

template <typename Work>
double milliseconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

// A folder for the files of the benchmark, gone at the end.
class Workshop {
 public:
  explicit Workshop(const CheckpointBenchOptions& options)
      : path_(options.folder + "/.bench-checkpoint-" + std::to_string(::getpid())) {
    std::error_code error;
    const auto space = fs::space(options.folder, error);
    const auto room = static_cast<int64_t>(space.available >> 20);
    const int64_t needed = 3 * options.mib + 16;
    if (!error && room < needed) {
      throw IoError("--dir " + options.folder + ": " + std::to_string(room) + " MiB are free, " +
                    std::to_string(needed) +
                    " are needed: free some space or give a smaller --mib");
    }
    if (!error) fs::create_directory(path_, error);
    if (error) {
      throw IoError("--dir " + options.folder + ": cannot make a folder there: " + error.message() +
                    ": give a folder that can be written");
    }
  }
  ~Workshop() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  // Removes what a round wrote. A write over blocks that the disk has already can be several times
  // as fast as one to new blocks, which is what a checkpoint's is: so no file is written twice, and
  // what is free is given back to the disk (by mounts that discard) before the next round.
  void make_room() const {
    fs::remove(plain());
    fs::remove(digested());
    const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ::syncfs(fd);
    ::close(fd);
  }

  std::string plain() const { return path_ + "/plain"; }
  std::string digested() const { return path_ + "/digested"; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }
  std::string saves() const { return path_ + "/saves"; }

 private:
  std::string path_;
};

// Numbers that no disk can compress.
Bytes random_bytes(int64_t size) {
  Bytes bytes(static_cast<size_t>(size));
  std::mt19937_64 random(1);
  for (size_t i = 0; i + sizeof(uint64_t) <= bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t number = random();
    std::memcpy(&bytes[i], &number, sizeof number);
  }
  return bytes;
}

// `each` gets the bytes in stretches of `size`, the last one shorter.
template <typename Span, typename Each>
void in_parts(Span bytes, int64_t size, const Each& each) {
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), static_cast<size_t>(size));
    each(bytes.first(n));
    bytes = bytes.subspan(n);
  }
}

void plain_write(const std::string& path, std::span<const std::byte> bytes) {
  checkpoint::OutputFile file(posix_file_system(), path);
  in_parts(bytes, kBlockBytes, [&](std::span<const std::byte> block) { file.write(block); });
  file.finish();
}

void digested_write(const std::string& path, std::span<const std::byte> bytes) {
  checkpoint::BlockWriter file(posix_file_system(), path);
  file.write(bytes);
  file.finish();
}

void plain_read(const std::string& path, Bytes& block) {
  const checkpoint::InputFile file(posix_file_system(), path);
  for (int64_t at = 0; at < file.bytes(); at += kBlockBytes) {
    const auto n = static_cast<size_t>(std::min(kBlockBytes, file.bytes() - at));
    file.read(at, std::span(block).first(n));
  }
}

configs::Manifest base_manifest() {
  const std::string digest = checkpoint::digest_of({});
  configs::Manifest manifest;
  manifest.set_tokens_seen(0);
  manifest.set_seed(0);
  manifest.set_config_digest(digest);
  manifest.set_tokenizer_digest(digest);
  manifest.mutable_grid()->set_data(1);
  manifest.mutable_grid()->set_tensor(1);
  manifest.mutable_position()->set_next_sample(0);
  return manifest;
}

std::string write_checkpoint(const std::string& directory, int64_t step,
                             std::span<const std::byte> bytes) {
  checkpoint::CheckpointWriter writer(posix_file_system(),
                                      {directory, step, "bench", std::string(32, '0')});
  std::vector<checkpoint::TensorPiece> pieces;
  in_parts(bytes, kTensorBytes, [&](std::span<const std::byte> part) {
    const std::vector<int64_t> shape{static_cast<int64_t>(part.size())};
    pieces.push_back({"tensor." + std::to_string(pieces.size()), "U8", shape, {{0}, shape}, part});
  });
  const std::string record = writer.write_shard(0, 1, pieces);
  return writer.commit(base_manifest(), {record},
                       {{checkpoint::kConfigName, ""}, {checkpoint::kTokenizerName, "{}"}});
}

void load(const std::string& path, Bytes& out) {
  const auto opened = checkpoint::open_checkpoint(posix_file_system(), path);
  int number = 0;
  in_parts(std::span(out), kTensorBytes, [&](std::span<std::byte> part) {
    opened->read_tensor("tensor." + std::to_string(number++), checkpoint::TensorRange{}, part);
  });
}

// What was synced leaves the page cache.
void drop_pages(const std::string& path) {
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(path).parent_path())) {
    if (!entry.is_regular_file()) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

using Rounds = std::vector<double>;

double fastest(Rounds times) { return *std::min_element(times.begin(), times.end()); }

struct Times {
  Rounds write, plain_write, digested_write, digest, verify, load, plain_read;
};

// Who goes first changes from round to round.
template <typename Ours, typename Theirs>
void take_turns(int64_t round, const Ours& ours, const Theirs& theirs) {
  if (round % 2 == 0) theirs();
  ours();
  if (round % 2 != 0) theirs();
}

void run_round(const Workshop& workshop, int64_t round, const Bytes& bytes, Bytes& copy,
               Times& times) {
  std::string path;
  const std::function<void()> writes[] = {
      [&] {
        times.plain_write.push_back(milliseconds_of([&] { plain_write(workshop.plain(), bytes); }));
      },
      [&] {
        times.write.push_back(milliseconds_of(
            [&] { path = write_checkpoint(workshop.checkpoints(), round, bytes); }));
      },
      [&] {
        times.digested_write.push_back(
            milliseconds_of([&] { digested_write(workshop.digested(), bytes); }));
      }};
  for (int64_t i = 0; i < 3; ++i) writes[(round + i) % 3]();
  times.digest.push_back(milliseconds_of([&] {
    in_parts(std::span(bytes), kBlockBytes,
             [](std::span<const std::byte> block) { checkpoint::digest_of(block); });
  }));
  Bytes block(static_cast<size_t>(kBlockBytes));
  const auto cold = [&](std::vector<double>& to, const auto& work) {
    drop_pages(workshop.plain());
    to.push_back(milliseconds_of(work));
  };
  take_turns(
      round,
      [&] {
        cold(times.verify, [&] { checkpoint::open_checkpoint(posix_file_system(), path); });
        cold(times.load, [&] { load(path, copy); });
      },
      [&] { cold(times.plain_read, [&] { plain_read(workshop.plain(), block); }); });
  if (copy != bytes) throw CheckpointError(path + ": what was read is not what was written");
  checkpoint::remove_folder(posix_file_system(), path);
  workshop.make_room();
}

}  // namespace

void bench_checkpoint(const CheckpointBenchOptions& options) {
  const Workshop workshop(options);
  const Bytes bytes = random_bytes(options.mib << 20);
  Bytes copy(bytes.size());
  Times times;
  for (int64_t round = 0; round < options.rounds; ++round) {
    run_round(workshop, round, bytes, copy, times);
  }
  const auto print = [&](const std::string& name, const char* kernel, const Rounds& ours,
                         const char* peer, const Rounds& theirs, double (*figure)(Rounds)) {
    BenchRow row;
    row.name = name;
    row.shape = std::to_string(options.mib) + " MiB";
    row.kernel = kernel;
    row.ours_ms = figure(ours);
    row.spread = spread(ours);
    row.per_second = static_cast<double>(bytes.size()) / row.ours_ms * 1e3;
    row.unit = "bytes";
    row.peer = peer;
    row.peer_ms = figure(theirs);
    print_row(row, options.json);
  };
  const auto print_writes = [&](const std::string& which, double (*figure)(Rounds)) {
    print(which + "write", "4 MiB blocks, digests, fsync, rename", times.write,
          "plain write, fsync", times.plain_write, figure);
    print(which + "digested write", "4 MiB blocks, digests, fsync", times.digested_write,
          "plain write, fsync", times.plain_write, figure);
  };
  print_writes("", median);
  print_writes("fastest ", fastest);
  print("digest", "XXH3-128, one thread", times.digest, "that write", times.write, median);
  print("verify", "4 MiB blocks, digests", times.verify, "plain read", times.plain_read, median);
  print("load", "verified, then read", times.load, "plain read", times.plain_read, median);
  bench_save(options, workshop.saves());
}

}  // namespace dagpam::launch
