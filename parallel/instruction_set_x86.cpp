// instruction_set.h on x86-64 processors.
#include "parallel/instruction_set.h"

namespace dagpam::parallel {

InstructionSet instruction_set() {
  static const InstructionSet chosen = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
      return InstructionSet::kPortable;
    }
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    return wide ? InstructionSet::kAvx512 : InstructionSet::kAvx2;
  }();
  return chosen;
}

}  // namespace dagpam::parallel
