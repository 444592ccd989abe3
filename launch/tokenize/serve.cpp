#include "launch/tokenize/serve.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>

#include "configs/errors.h"
#include "data/atomic_file.h"
#include "launch/tokenize/spm_model.h"

namespace dagpam::tokenize {
namespace {

using data::SpmHead;
using data::SpmRequest;
using data::SpmStatus;

// False where the other end is gone before the first byte.
bool read_fully(int fd, void* out, size_t size) {
  char* at = static_cast<char*>(out);
  const char* const end = at + size;
  while (at < end) {
    const ssize_t got = ::read(fd, at, static_cast<size_t>(end - at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(std::string("serve: cannot read: ") + std::strerror(errno));
    if (got == 0 && at == out) return false;
    if (got == 0) throw DataError("serve: the input ended within a request");
    at += got;
  }
  return true;
}

void answer(int out, SpmStatus status, const void* bytes, size_t size) {
  const SpmHead head{static_cast<uint8_t>(status), {}, static_cast<uint32_t>(size)};
  data::write_fully(out, &head, sizeof(head), "serve");
  data::write_fully(out, bytes, size, "serve");
}

class Server {
 public:
  explicit Server(int out) : out_(out) {}

  void handle(SpmRequest request, const std::string& bytes) {
    if (request == SpmRequest::kModel) {
      model_.emplace(bytes, "model");
      answer(out_, SpmStatus::kDone, &model_->facts(), sizeof(data::SpmFacts));
      return;
    }
    if (!model_) throw DataError("serve: a request before the model");
    if (request == SpmRequest::kEncode) {
      ids_.clear();
      model_->encode(bytes, ids_);
      answer(out_, SpmStatus::kDone, ids_.data(), ids_.size() * sizeof(int32_t));
    } else if (request == SpmRequest::kDecode) {
      ids_.resize(bytes.size() / sizeof(int32_t));
      std::memcpy(ids_.data(), bytes.data(), ids_.size() * sizeof(int32_t));
      const std::string text = model_->decode(ids_);
      answer(out_, SpmStatus::kDone, text.data(), text.size());
    } else {
      throw DataError("serve: request of kind " + std::to_string(static_cast<int>(request)) +
                      ", expected a program of the same build at the other end");
    }
  }

 private:
  int out_;
  std::optional<SpmModel> model_;
  std::vector<int32_t> ids_;
};

}  // namespace

void serve(int in, int out) {
  // Signals of a terminal or a scheduler go to the whole group; this process ends with its parent,
  // which may need it to finish.
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) std::signal(number, SIG_IGN);
  Server server(out);
  SpmHead head;
  std::string bytes;
  while (read_fully(in, &head, sizeof(head))) {
    if (head.bytes > data::kSpmLargest) {
      throw DataError("serve: a request of " + std::to_string(head.bytes) +
                      " bytes, expected at most " + std::to_string(data::kSpmLargest));
    }
    bytes.resize(head.bytes);
    if (head.bytes > 0 && !read_fully(in, bytes.data(), bytes.size())) {
      throw DataError("serve: the input ended within a request");
    }
    try {
      server.handle(static_cast<SpmRequest>(head.kind), bytes);
    } catch (const DataError& error) {
      answer(out, SpmStatus::kRefused, error.what(), std::strlen(error.what()));
    }
  }
}

}  // namespace dagpam::tokenize
