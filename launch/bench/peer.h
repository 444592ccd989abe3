// launch/bench/peer.h: another program that times the same work in turn with us.
//
// The peer is a command of the user's shell that speaks lines of JSON: when it is ready it prints
// an object with "peer" (its name) and, where it measured that, "first_step_s" (seconds from its
// start to the end of its first step); for each line "N" on its standard input it does N
// repetitions and prints an object with "step_ms" (median) and "peak_memory" (bytes, its process).
// End of input ends it. tests/peers/ holds some.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <string>

namespace dagpam::launch {

struct PeerTiming {
  double step_ms = 0;
  double peak_memory = 0;  // bytes
};

class Peer {
 public:
  // Starts it and waits until it is ready. Throws IoError where it cannot be started or ends.
  explicit Peer(const std::string& command);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  const std::string& name() const { return name_; }
  double first_step_s() const { return first_step_s_; }  // 0: not told
  PeerTiming run(int64_t repetitions);

 private:
  std::string read_line();

  std::string command_, name_;
  double first_step_s_ = 0;
  pid_t pid_ = -1;
  std::FILE *to_ = nullptr, *from_ = nullptr;
};

}  // namespace dagpam::launch
