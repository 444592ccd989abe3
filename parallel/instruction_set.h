// parallel/instruction_set.h: which build of a row kernel this processor runs. A row kernel is one
// source that knows neither torch nor the standard library, compiled once for each of these sets
// (dagpam_row_kernels in launch/cmake/dagpam_targets.cmake). Where there is only one, all builds
// are the portable one.
#pragma once

namespace dagpam::parallel {

enum class InstructionSet { kPortable, kAvx2, kAvx512 };

// The fastest set that this processor runs.
InstructionSet instruction_set();

// That of three builds of a table of kernels which belongs to `set`.
template <class Kernels>
const Kernels& kernels_for(InstructionSet set, const Kernels& portable, const Kernels& avx2,
                           const Kernels& avx512) {
  return set == InstructionSet::kAvx512 ? avx512 : set == InstructionSet::kAvx2 ? avx2 : portable;
}

}  // namespace dagpam::parallel
