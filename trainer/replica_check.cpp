#include "trainer/replica_check.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <xxhash.h>

#include <algorithm>
#include <map>

#include "configs/errors.h"

namespace dagpam::trainer {

namespace {

std::string list_of(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == ranks.size() ? " and " : ", ") + std::to_string(ranks[i]);
  }
  return (ranks.size() == 1 ? "rank " : "ranks ") + text;
}

// Of ranks that should hold the same: who does not.
void compare_group(const std::vector<int>& group, const std::vector<std::vector<uint64_t>>& digests,
                   Straying& found) {
  std::map<uint64_t, std::vector<int>> by_digest;
  for (const int rank : group) {
    by_digest[digests[static_cast<size_t>(rank)][found.parameter]].push_back(rank);
  }
  if (by_digest.size() == 1) return;
  const auto most = std::max_element(
      by_digest.begin(), by_digest.end(),
      [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
  if (2 * most->second.size() <= group.size()) {
    found.suspects.insert(found.suspects.end(), group.begin(), group.end());
    return;
  }
  for (const auto& [digest, ranks] : by_digest) {
    if (digest == most->first) continue;
    found.odd.insert(found.odd.end(), ranks.begin(), ranks.end());
  }
}

std::string words_of(const Straying& found, const std::string& name, size_t more, int64_t step) {
  std::string text = "step " + std::to_string(step) + ": " + name;
  if (!found.odd.empty()) {
    text += " on " + list_of(found.odd) + " is not what the other copies of the model hold";
  } else {
    text += " is not the same on " + list_of(found.suspects) +
            ", too few copies to tell which is right";
  }
  if (more > 0) text += " (and " + std::to_string(more) + " more parameters)";
  return text +
         ": memory or a processor has gone wrong; test that machine, leave it out, and resume from "
         "the last checkpoint before this step that another check had passed";
}

}  // namespace

std::vector<Straying> find_straying(const std::vector<std::vector<uint64_t>>& digests,
                                    const std::vector<bool>& is_cut,
                                    const parallel::Topology& topology) {
  std::vector<std::vector<int>> parts;  // ranks that hold the same part of a cut parameter
  std::vector<int> all;
  for (int part = 0; part < topology.tp(); ++part) parts.push_back(topology.dp_group(part));
  for (int rank = 0; rank < topology.world(); ++rank) all.push_back(rank);
  std::vector<Straying> straying;
  for (size_t i = 0; i < is_cut.size(); ++i) {
    Straying found{i, {}, {}};
    if (is_cut[i]) {
      for (const auto& group : parts) compare_group(group, digests, found);
    } else {
      compare_group(all, digests, found);
    }
    std::sort(found.odd.begin(), found.odd.end());
    if (!found.odd.empty() || !found.suspects.empty()) straying.push_back(std::move(found));
  }
  return straying;
}

std::vector<uint64_t> digests_of(const std::vector<parallel::ParameterPtr>& parameters) {
  std::vector<uint64_t> digests;
  for (const auto& parameter : parameters) {
    const at::Tensor value = parameter->value.detach().cpu().contiguous();
    digests.push_back(XXH3_64bits(value.data_ptr(), value.nbytes()));
  }
  return digests;
}

void check_replicas(const std::vector<parallel::ParameterPtr>& parameters,
                    const parallel::Topology& topology, parallel::Communicator& world,
                    int64_t step) {
  const auto count = static_cast<int64_t>(parameters.size());
  const std::vector<uint64_t> own = digests_of(parameters);
  at::Tensor mine = at::zeros({count}, at::kLong);
  std::copy(own.begin(), own.end(), mine.data_ptr<int64_t>());
  at::Tensor all = at::empty({world.size() * count}, at::kLong);
  world.all_gather(all, mine);
  const auto* gathered = all.data_ptr<int64_t>();
  std::vector<std::vector<uint64_t>> digests;
  for (int64_t rank = 0; rank < world.size(); ++rank) {
    digests.emplace_back(gathered + rank * count, gathered + (rank + 1) * count);
  }
  std::vector<bool> is_cut;
  for (const auto& parameter : parameters) is_cut.push_back(parameter->shard.cut_dim >= 0);
  const std::vector<Straying> straying = find_straying(digests, is_cut, topology);
  if (straying.empty()) return;
  const Straying& first = straying.front();
  throw CorruptionError(
      words_of(first, parameters[first.parameter]->name, straying.size() - 1, step));
}

}  // namespace dagpam::trainer
