// attention/cpu_decode.h: one query a sequence against many keys, as generation has it: memory is
// what it waits for. Each key and each value is read once, in the order in which they lie, for both
// maps and for all query heads that share it. Knows no torch.
//
// Legend: B batch, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <cstdint>

#include "attention/cpu_problem.h"

namespace dagpam::attention::cpu {

// Problems of one query and no dropout.
template <typename T>
bool decodes(const Problem<T>& problem) {
  return problem.queries == 1 && problem.dropout == nullptr;
}

// Each sequence's key-value heads are cut into `slices` (1 to Hkv) parts of neighbours; a task is a
// part. Heads do not meet, so the answer's bits do not depend on the cut: one slice reads memory
// best, more keep more threads busy. -> B * slices tasks.
template <typename T>
void decode(const Problem<T>& problem, const Result<T>& result, int64_t slices, int64_t first_task,
            int64_t last_task);

}  // namespace dagpam::attention::cpu
