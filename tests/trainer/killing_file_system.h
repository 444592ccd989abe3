// tests/trainer/killing_file_system.h: the operating system's file system, which ends the process
// (SIGKILL) at a named point of a save.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

#include "tests/trainer/forwarding_file_system.h"

namespace dagpam::checkpoint::testing {

// What a path belongs to: shard0, shard1 ... (of a rank), copy (config, tokenizer), manifest,
// temporary (the folder of a save), step (a folder's final name), trash (of retention),
// checkpoints (the folder of all).
inline std::string part_of(const std::string& path) {
  const auto has = [&](const char* part) { return path.find(part) != std::string::npos; };
  if (has("/.trash-")) return "trash";
  if (has("/.tmp-step-")) {
    constexpr size_t kDigits = 5;
    const size_t shard = path.find("/shard-");
    if (shard != std::string::npos) {
      return "shard" + std::to_string(std::stoi(path.substr(shard + 7, kDigits)));
    }
    if (has("/MANIFEST")) return "manifest";
    return has("config.textproto") || has("tokenizer.json") ? "copy" : "temporary";
  }
  return has("/step-") ? "step" : "checkpoints";
}

// The order "WHEN OPERATION PART N [END] [save K]": before, during (a write) or after the N-th such
// call since the process began its K-th save (2: so each start gets one step further; 0: since its
// start), e.g. "after rename step 1". END in place of the kill: exit (with 0, and without a word to
// anybody), throw (an exception that the program does not know), hang (the call never returns),
// slow (it takes two seconds). Several threads may call.
class KillingFileSystem final : public ForwardingFileSystem {
 public:
  KillingFileSystem(FileSystem& real, const std::string& order) : ForwardingFileSystem(real) {
    int calls = 0;
    std::istringstream words(order);
    words >> when_ >> operation_ >> part_ >> calls;
    left_ = calls;
    for (std::string word; words >> word;) {
      if (word == "save") {
        words >> save_;
      } else {
        end_ = word;
      }
    }
  }

  int before(const std::string& operation, const std::string& path) override {
    if (struck() && when_ == "after") strike();  // the call had failed: another rank was first
    const std::string part = part_of(path);
    {
      const std::lock_guard lock(order_mutex_);
      if (operation == "mkdir" && part == "temporary") saves_.insert(path);
      struck() = saves_.size() >= save_ && operation == operation_ && part == part_ && --left_ == 0;
    }
    if (struck() && when_ == "before") strike();
    return 0;
  }
  void succeeded(const std::string&, const std::string&) override {
    if (struck() && when_ == "after") strike();
  }
  size_t write_at_most(size_t bytes) override {
    return struck() && when_ == "during" ? bytes / 2 : bytes;
  }
  ssize_t write(int fd, std::span<const std::byte> bytes) override {
    const ssize_t n = ForwardingFileSystem::write(fd, bytes);
    if (struck() && when_ == "during") strike();
    return n;
  }

 private:
  void strike() const {
    while (end_ == "hang") ::pause();
    if (end_ == "slow") {
      ::sleep(2);
    } else if (end_ == "exit") {
      ::_exit(0);
    } else if (end_ == "throw") {
      throw std::runtime_error("an exception from nowhere");
    } else {
      ::kill(::getpid(), SIGKILL);
    }
  }
  // Whether this thread's present call is the one.
  static bool& struck() {
    thread_local bool it_is = false;
    return it_is;
  }

  std::string when_, operation_, part_, end_;
  std::mutex order_mutex_;
  std::set<std::string> saves_;  // their folders
  int left_ = 0;
  size_t save_ = 2;
};

}  // namespace dagpam::checkpoint::testing
