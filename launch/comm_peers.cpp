#include "launch/comm_peers.h"

#include <algorithm>
#include <cstdlib>

#include "data/thread_peers.h"
#include "parallel/communicator.h"
#include "parallel/launcher.h"
#include "parallel/session.h"

namespace dagpam::launch {

namespace {

class CommPeers final : public data::Peers {
 public:
  explicit CommPeers(parallel::Communicator& group) : group_(group) {}
  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  std::vector<std::string> all_gather(const std::string& mine) override {
    return group_.all_gather_bytes(mine);
  }

 private:
  parallel::Communicator& group_;
};

int worth_while(int cores, int64_t bytes) {
  constexpr int64_t kLeastBytes = int64_t{4} << 20;
  return static_cast<int>(std::clamp<int64_t>(bytes / kLeastBytes, 1, cores));
}

// The same on every rank: the fewest that any would take.
int agreed(data::Peers& ranks, int threads) {
  for (const std::string& other : ranks.all_gather(std::to_string(threads))) {
    threads = std::min(threads, std::stoi(other));
  }
  return threads;
}

}  // namespace

void run_with_peers(Program& program, int threads, int64_t bytes,
                    const std::function<void(data::Peers&)>& work) {
  const auto claim = parallel::launcher_claim(std::getenv);
  if (!claim || claim->processes == 1) {
    if (threads == 0) threads = worth_while(cores_of_a_rank(1), bytes);
    data::Alone alone;
    return data::run_in_threads(alone, threads, work);
  }
  // A rank waits for the others as long as they encode: days, where there is that much.
  constexpr int64_t kPatience = int64_t{30} * 24 * 3600;
  CommPeers ranks(program.world(kPatience, "MPI"));
  if (threads == 0) {
    threads = worth_while(cores_of_a_rank(program.session->local_size()), bytes / ranks.size());
  }
  try {
    data::run_in_threads(ranks, agreed(ranks, threads), work);
  } catch (const Interrupted&) {
    if (ranks.rank() == 0) throw;
    program.exit_code = ExitCode::kInterrupted;
  }
}

}  // namespace dagpam::launch
