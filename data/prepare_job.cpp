#include "data/prepare_job.h"

#include <fcntl.h>
#include <unistd.h>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

// Beside the staged files: a peer on another node sees it too.
std::string failure_mark(const std::string& staged) { return staged + ".failed"; }

}  // namespace

void PrepareJob::check() const {
  if (options.give_up && options.give_up()) {
    throw Interrupted(options.out + ": stopped by a signal: nothing was changed");
  }
  if (peers.size() > 1 && ::access(failure_mark(staged).c_str(), F_OK) == 0) throw PeerFailed();
}

std::vector<std::string> PrepareJob::together(const std::function<std::string()>& work) const {
  return data::together(peers, work, [this] {
    // Where it cannot be made, the others find out when they are done.
    const int fd = ::open(failure_mark(staged).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0) ::close(fd);
  });
}

std::vector<TextPart> PrepareJob::share_of(const SplitTexts& split, const Cut& cut) const {
  return share_of_texts(split.files, peers.rank(), peers.size(), cut);
}

}  // namespace dagpam::data
