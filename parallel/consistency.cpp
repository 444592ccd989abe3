#include "parallel/consistency.h"

#include <sstream>
#include <string>
#include <vector>

namespace dagpam::parallel {

void require_same_on_all_ranks(Communicator& group, const std::string& what,
                               const std::string& digest, const std::string& remedy) {
  constexpr int kNamed = 8;  // a message of one line, at any number of ranks
  const std::vector<std::string> all = group.all_gather_bytes(digest);
  std::ostringstream others;
  int differ = 0;
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] != all[0]) {
      if (differ < kNamed) {
        others << (differ == 0 ? "" : ", ") << "rank " << rank << " has '" << all[rank] << "'";
      }
      ++differ;
    }
  }
  if (differ > kNamed) {
    others << " and " << differ - kNamed << " more";
  }
  if (differ == 0) return;
  throw RanksDiffer(what + " is not the same on all " + std::to_string(group.size()) +
                    " ranks: rank 0 has '" + all[0] + "', " + others.str() + ": " + remedy);
}

}  // namespace dagpam::parallel
