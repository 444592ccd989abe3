// parallel/faulty_communicator.h: a group that goes wrong on purpose, to prove that checks notice.
#pragma once

#include <cstdint>
#include <memory>

#include "parallel/communicator.h"

namespace dagpam::parallel {

// What goes wrong, on the rank whose communicator this is, in one call on float tensors.
struct CommFault {
  enum class Op { kAllReduce, kAllGather, kReduceScatter };
  enum class Kind {
    kDrop,    // the rank talks to its peers but keeps what it had: its own part alone
    kScale,   // it adds or gives 1.001 times its numbers
    kRotate,  // all_gather: the parts arrive one place on
  };
  Op op = Op::kAllReduce;
  Kind kind = Kind::kDrop;
  int64_t call = 0;  // the how-maniest such call, counted from 0
};

// `inner` with that fault. All other calls are inner's. Groups split from it have none.
std::unique_ptr<Communicator> make_faulty_communicator(std::unique_ptr<Communicator> inner,
                                                       const CommFault& fault);

}  // namespace dagpam::parallel
