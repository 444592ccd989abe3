// data/spm_process.h: `dagpam-tokenize serve` as a child of this process, with one model loaded.
//
// SentencePiece cannot live in this process (launch/tokenize/main.cpp says why). The program is the
// one that stands beside the running executable; a file never names it. The two speak over a pair
// of sockets (data/spm_protocol.h); the child ends when its end of them does, so it never outlives
// this process. posix_spawn: no copy of this process, with its MPI and its threads, is ever made.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/spm_protocol.h"

namespace dagpam::data {

// Any thread may call; calls wait for each other. IoError where the program is missing or is gone:
// then every later call throws too.
class SpmProcess {
 public:
  // The child that has this model, started if there is none; all that ask for the same bytes at a
  // time share one. `source` names the model in messages. Throws DataError where the bytes are no
  // model.
  static std::shared_ptr<SpmProcess> with_model(const std::string& bytes,
                                                const std::string& source);

  ~SpmProcess();  // ends the child
  SpmProcess(const SpmProcess&) = delete;
  SpmProcess& operator=(const SpmProcess&) = delete;

  const SpmFacts& facts() const { return facts_; }
  pid_t pid() const { return pid_; }

  void encode(std::string_view text, std::vector<int32_t>& out);  // appends
  std::string decode(std::span<const int32_t> ids);

 private:
  SpmProcess(const std::string& bytes, const std::string& source);

  void start();
  void stop();
  std::string ask(SpmRequest kind, const void* bytes, size_t size);
  void send(const void* bytes, size_t size);
  void receive(void* bytes, size_t size);
  [[noreturn]] void lost();

  const std::string program_;
  SpmFacts facts_;
  std::mutex mutex_;
  int socket_ = -1;
  pid_t pid_ = -1;
  std::string why_lost_;  // not empty: the child is gone
};

}  // namespace dagpam::data
