#include "launch/bench/peer.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "configs/errors.h"

namespace dagpam::launch {

namespace {

nlohmann::json parse(const std::string& line, const std::string& command) {
  auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object())
    throw IoError("--peer " + command + ": answered no JSON object: " + line);
  return object;
}

}  // namespace

Peer::Peer(const std::string& command) : command_(command) {
  std::array<int, 2> in{}, out{};  // read end, write end
  if (pipe(in.data()) != 0 || pipe(out.data()) != 0) {
    throw IoError("--peer " + command + ": no pipe: " + std::strerror(errno));
  }
  pid_ = fork();
  if (pid_ < 0) throw IoError("--peer " + command + ": cannot start: " + std::strerror(errno));
  if (pid_ == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    for (const int fd : {in[0], in[1], out[0], out[1]}) close(fd);
    execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  signal(SIGPIPE, SIG_IGN);  // a peer that ended shows as an error of the next line
  to_ = fdopen(in[1], "w");
  from_ = fdopen(out[0], "r");
  const auto ready = parse(read_line(), command_);
  name_ = ready.value("peer", command_);
  first_step_s_ = ready.value("first_step_s", 0.0);
}

Peer::~Peer() {
  std::fclose(to_);
  std::fclose(from_);
  waitpid(pid_, nullptr, 0);
}

std::string Peer::read_line() {
  std::string line;
  int c = 0;
  while ((c = std::fgetc(from_)) != EOF && c != '\n') line.push_back(static_cast<char>(c));
  if (c == EOF && line.empty()) throw IoError("--peer " + command_ + ": ended before it answered");
  return line;
}

PeerTiming Peer::run(int64_t repetitions) {
  std::fprintf(to_, "%lld\n", static_cast<long long>(repetitions));
  std::fflush(to_);
  const auto answer = parse(read_line(), command_);
  if (!answer.contains("step_ms") || !answer["step_ms"].is_number()) {
    throw IoError("--peer " + command_ + ": answered without step_ms: " + answer.dump());
  }
  return {answer["step_ms"].get<double>(), answer.value("peak_memory", 0.0)};
}

}  // namespace dagpam::launch
