// trainer/replica_check.h: do all ranks that should hold the same weights still hold them?
//
// A bit that flips in one copy's memory, or one sum that a faulty processor gets wrong, changes no
// loss that anybody would notice, and never goes away (Llama 3's authors count six such cases in 54
// days, arXiv 2407.21783). Copies of the model hold equal bits by construction: a digest of each
// parameter, compared over ranks, finds the one that strayed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/parameter.h"
#include "parallel/topology.h"

namespace dagpam::trainer {

// A parameter of which not all ranks hold the same bits.
struct Straying {
  size_t parameter = 0;
  std::vector<int> odd;       // ranks that differ from most of those that should hold the same
  std::vector<int> suspects;  // where there is no such majority: all of them
};

// digests[rank][parameter]; is_cut[parameter]: its parts lie on the tensor-parallel ranks, so the
// same part is held by one rank of each copy, else the whole by every rank.
std::vector<Straying> find_straying(const std::vector<std::vector<uint64_t>>& digests,
                                    const std::vector<bool>& is_cut,
                                    const parallel::Topology& topology);

// Digests of what this rank holds of each parameter (XXH3, 64 bits). Reads the values: waits for
// the device.
std::vector<uint64_t> digests_of(const std::vector<parallel::ParameterPtr>& parameters);

// All ranks of `world` call, between steps; one all_gather of 8 bytes a rank and parameter. Throws
// CorruptionError on every rank, with the step, the parameter and the ranks, where they differ.
void check_replicas(const std::vector<parallel::ParameterPtr>& parameters,
                    const parallel::Topology& topology, parallel::Communicator& world,
                    int64_t step);

}  // namespace dagpam::trainer
