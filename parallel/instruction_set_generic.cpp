// instruction_set.h where there is only the portable build.
#include "parallel/instruction_set.h"

namespace dagpam::parallel {

InstructionSet instruction_set() { return InstructionSet::kPortable; }

}  // namespace dagpam::parallel
