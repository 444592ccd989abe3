#include "trainer/agreement.h"

#include <ATen/ops/zeros.h>

#include <utility>

namespace dagpam::trainer {

namespace {

at::Tensor no_votes() { return at::zeros({static_cast<int64_t>(Vote::kCount)}, at::kLong); }

}  // namespace

Agreement::Agreement(parallel::Communicator& world)
    : world_(world), mine_(no_votes()), under_way_(no_votes()), known_(no_votes()) {}

void Agreement::bring(Vote vote, bool yes) {
  mine_.data_ptr<int64_t>()[static_cast<int64_t>(vote)] = yes;
}

void Agreement::exchange() {
  settle();
  std::swap(mine_, under_way_);
  work_ = world_.all_reduce_async(under_way_);
  mine_.zero_();
}

int64_t Agreement::count(Vote vote) const {
  return known_.data_ptr<int64_t>()[static_cast<int64_t>(vote)];
}

void Agreement::settle() {
  if (!work_) return;
  work_->wait();
  work_.reset();
  std::swap(known_, under_way_);
}

}  // namespace dagpam::trainer
