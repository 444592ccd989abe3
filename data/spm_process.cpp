#include "data/spm_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>

#include "configs/errors.h"
#include "data/digest.h"

namespace dagpam::data {
namespace {

constexpr char kProgram[] = "dagpam-tokenize";

std::string program_path() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) throw IoError(std::string(kProgram) + ": cannot find this program's own folder");
  return (self.parent_path() / kProgram).string();
}

// Arguments of posix_spawn: both standard streams are the socket; SentencePiece's own notes on the
// third would stand between the lines of this program; no other descriptor is passed on.
class SpawnActions {
 public:
  explicit SpawnActions(int socket) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_adddup2(&actions_, socket, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, socket, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions_, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
  }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;

  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  return "ended with code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

std::shared_ptr<SpmProcess> SpmProcess::with_model(const std::string& bytes,
                                                   const std::string& source) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<SpmProcess>> running;
  const std::lock_guard lock(mutex);
  std::weak_ptr<SpmProcess>& slot = running[xxh3_hex(bytes)];
  if (std::shared_ptr<SpmProcess> there = slot.lock()) {
    const std::lock_guard inner(there->mutex_);
    if (there->why_lost_.empty()) return there;
  }
  std::shared_ptr<SpmProcess> made(new SpmProcess(bytes, source));
  slot = made;
  return made;
}

SpmProcess::SpmProcess(const std::string& bytes, const std::string& source)
    : program_(program_path()) {
  start();
  try {
    const std::string facts = ask(SpmRequest::kModel, bytes.data(), bytes.size());
    if (facts.size() == sizeof(facts_)) std::memcpy(&facts_, facts.data(), facts.size());
    if (facts.size() != sizeof(facts_) || facts_.protocol != kSpmProtocol) {
      throw IoError(program_ + ": is of another build than this program: build both again");
    }
  } catch (const DataError& error) {
    stop();
    const std::string_view message = error.what();  // "model: is no ..."
    throw DataError(source + std::string(message.substr(message.find(':'))));
  } catch (...) {
    stop();
    throw;
  }
}

SpmProcess::~SpmProcess() { stop(); }

void SpmProcess::start() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw IoError(program_ + ": cannot be talked to: " + std::strerror(errno));
  }
  socket_ = ends[0];
  const SpawnActions actions(ends[1]);
  std::string name = kProgram, serve = "serve";
  const std::array<char*, 3> words{name.data(), serve.data(), nullptr};
  const int error =
      ::posix_spawn(&pid_, program_.c_str(), actions.get(), nullptr, words.data(), environ);
  ::close(ends[1]);
  if (error == 0) return;
  pid_ = -1;
  ::close(socket_);
  throw IoError(program_ + ": cannot be started (" + std::strerror(error) +
                "), expected beside this program: build the target dagpam-tokenize");
}

// The child reads the end of its input and ends; shutdown, since a fork of this process may hold
// the socket too.
void SpmProcess::stop() {
  if (socket_ >= 0) {
    ::shutdown(socket_, SHUT_RDWR);
    ::close(socket_);
  }
  socket_ = -1;
  if (pid_ < 0) return;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  why_lost_ = describe_end(status);
}

void SpmProcess::encode(std::string_view text, std::vector<int32_t>& out) {
  const std::string bytes = ask(SpmRequest::kEncode, text.data(), text.size());
  const size_t before = out.size();
  out.resize(before + bytes.size() / sizeof(int32_t));
  std::memcpy(out.data() + before, bytes.data(), bytes.size() / sizeof(int32_t) * sizeof(int32_t));
}

std::string SpmProcess::decode(std::span<const int32_t> ids) {
  return ask(SpmRequest::kDecode, ids.data(), ids.size_bytes());
}

std::string SpmProcess::ask(SpmRequest kind, const void* bytes, size_t size) {
  if (size > kSpmLargest) {
    throw DataError("spm tokenizer: " + std::to_string(size) + " bytes at once, expected at most " +
                    std::to_string(kSpmLargest) + ": break the text into lines");
  }
  const std::lock_guard lock(mutex_);
  if (!why_lost_.empty()) lost();
  const SpmHead request{static_cast<uint8_t>(kind), {}, static_cast<uint32_t>(size)};
  send(&request, sizeof(request));
  send(bytes, size);
  SpmHead answer;
  receive(&answer, sizeof(answer));
  std::string out(answer.bytes, '\0');
  receive(out.data(), out.size());
  if (static_cast<SpmStatus>(answer.kind) != SpmStatus::kDone) throw DataError(out);
  return out;
}

void SpmProcess::send(const void* bytes, size_t size) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t sent = ::send(socket_, at, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) lost();
    at += sent;
    size -= static_cast<size_t>(sent);
  }
}

void SpmProcess::receive(void* bytes, size_t size) {
  char* at = static_cast<char*>(bytes);
  while (size > 0) {
    const ssize_t got = ::recv(socket_, at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) lost();
    at += got;
    size -= static_cast<size_t>(got);
  }
}

void SpmProcess::lost() {
  stop();
  throw IoError(program_ + ": " + why_lost_ +
                " while this program needed it: look for lack of memory, then start again");
}

}  // namespace dagpam::data
