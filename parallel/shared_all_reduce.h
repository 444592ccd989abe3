// parallel/shared_all_reduce.h: the ticks of an all_reduce (shared_transfer.h). For the
// shared_*.cpp files.
#pragma once

#include <memory>

#include "parallel/shared_transfer.h"

namespace dagpam::parallel {

std::unique_ptr<SharedTransfer> make_all_reduce(const SharedCall& call, const SharedSlabs& slabs,
                                                SharedTensors& tensors);

}  // namespace dagpam::parallel
