#include "parallel/flight_recorder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>
#include <thread>

namespace dagpam::parallel {
namespace {

// Looks at a slot in which nothing moves: the first at once, the others a millisecond apart, since
// its writer may wait for a core.
constexpr int kQuickLooks = 1000, kLooks = kQuickLooks + 200;

// Across processes and across runs of the system.
uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}

[[noreturn]] void refuse(const std::string& path, const char* what, int error) {
  throw std::system_error(error, std::generic_category(), path + ": " + what);
}

// What /proc says of a process: its state in a word.
std::string state_of(int64_t process) {
  std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
  std::string line;
  std::getline(stat, line);
  const size_t name_end = line.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos || name_end + 2 >= line.size()) return "is gone";
  switch (line[name_end + 2]) {
    case 'T':
    case 't':
      return "is stopped";
    case 'Z':
    case 'X':
      return "is dead";
    case 'D':
      return "waits for a device";
    case 'R':
      return "is running";
    default:
      return "is asleep";
  }
}

}  // namespace

FlightRecorder::FlightRecorder(int rank, int ranks)
    : rank_(rank), ranks_(ranks), own_(static_cast<size_t>(ranks)), slots_(own_.data()) {
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  write([](Slot& slot) { slot.words[kProcess].store(static_cast<uint64_t>(::getpid())); });
}

void FlightRecorder::share(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) refuse(path, "cannot be opened", errno);
  // Taken from the disk now: a page that finds none later would end the process.
  const int full = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes()));
  void* memory =
      full != 0 ? MAP_FAILED : ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = full != 0 ? full : errno;
  ::close(fd);
  if (memory == MAP_FAILED) refuse(path, "cannot be mapped", error);
  const Slot& mine = own_[static_cast<size_t>(rank_)];
  slots_ = static_cast<Slot*>(memory);
  write([&](Slot& slot) {
    for (size_t i = kVersion + 1; i < kSlotWords; ++i) slot.words[i].store(mine.words[i].load());
  });
}

FlightRecorder::~FlightRecorder() {
  if (slots_ != own_.data()) ::munmap(slots_, bytes());
}

// An odd version says that the slot is being written.
template <class Fn>
void FlightRecorder::write(const Fn& fn) {
  Slot& slot = slots_.load()[rank_];
  const uint64_t version = slot.words[kVersion].load(std::memory_order_relaxed) | 1;
  slot.words[kVersion].store(version);
  fn(slot);
  slot.words[kTime].store(now_ns());
  slot.words[kVersion].store(version + 1);
}

void FlightRecorder::put_text(Slot& slot, size_t first, size_t words, std::string_view text) {
  for (size_t i = 0; i < words; ++i) {
    uint64_t word = 0;
    const size_t begin = std::min(i * sizeof word, text.size());
    std::memcpy(&word, text.data() + begin, std::min(sizeof word, text.size() - begin));
    slot.words[first + i].store(word, std::memory_order_release);
  }
}

void FlightRecorder::section(std::string_view name, int64_t step) {
  write([&](Slot& slot) {
    put_text(slot, kSection, kSectionWords, name);
    slot.words[kStep].store(static_cast<uint64_t>(step));
  });
}

void FlightRecorder::collective_begins(std::string_view what) {
  write([&](Slot& slot) {
    put_text(slot, kCollective, kCollectiveWords, what);
    slot.words[kCalls].fetch_add(1);
  });
}

void FlightRecorder::collective_waits(std::string_view what) {
  write([&](Slot& slot) { put_text(slot, kCollective, kCollectiveWords, what); });
}

FlightEntry FlightRecorder::entry(int rank) const {
  const Slot& slot = slots_.load()[rank];
  std::array<uint64_t, kSlotWords> words{};
  // A slot that is being written is read again. One whose version stands still and odd belongs to a
  // writer that died or was stopped in the middle: it is taken as it is.
  int idle = 0;
  for (uint64_t last = 0; idle < kLooks;) {
    const uint64_t before = slot.words[kVersion].load();
    for (size_t i = 0; i < kSlotWords; ++i) words[i] = slot.words[i].load();
    if (before % 2 == 0 && before == slot.words[kVersion].load()) break;
    idle = before == last ? idle + 1 : 0;
    last = before;
    if (idle < kQuickLooks) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  const auto text = [&](size_t first, size_t count) {
    std::string bytes(count * sizeof(uint64_t), '\0');
    std::memcpy(bytes.data(), &words[first], bytes.size());
    bytes.resize(std::strlen(bytes.c_str()));
    // The file may have come from anywhere.
    std::replace_if(
        bytes.begin(), bytes.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return bytes;
  };
  FlightEntry entry;
  entry.rank = rank;
  entry.process = static_cast<int64_t>(words[kProcess]);
  entry.section = text(kSection, kSectionWords);
  entry.step = static_cast<int64_t>(words[kStep]);
  entry.collective = text(kCollective, kCollectiveWords);
  entry.calls = static_cast<int64_t>(words[kCalls]);
  entry.seconds_ago = static_cast<double>(static_cast<int64_t>(now_ns() - words[kTime])) * 1e-9;
  return entry;
}

std::vector<FlightEntry> FlightRecorder::read() const {
  std::vector<FlightEntry> entries;
  for (int rank = 0; rank < ranks_; ++rank) entries.push_back(entry(rank));
  return entries;
}

std::string to_text(const std::vector<FlightEntry>& entries) {
  std::string text;
  for (const FlightEntry& entry : entries) {
    text += (text.empty() ? "rank " : "\nrank ") + std::to_string(entry.rank) + ": ";
    if (entry.process == 0) {
      text += "no word on this node";
      continue;
    }
    char ago[32];
    std::snprintf(ago, sizeof ago, "%.1f", entry.seconds_ago);
    text += "section " + (entry.section.empty() ? "none" : entry.section) + ", step " +
            std::to_string(entry.step) + ", call " + std::to_string(entry.calls) +
            (entry.collective.empty() ? "" : " " + entry.collective) + ", " + ago +
            " s ago (process " + std::to_string(entry.process) + " " + state_of(entry.process) +
            ")";
  }
  return text;
}

}  // namespace dagpam::parallel
