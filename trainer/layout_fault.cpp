#include "trainer/layout_fault.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "configs/errors.h"

namespace dagpam::trainer {

namespace {

using parallel::CommFault;
using Op = CommFault::Op;
using Kind = CommFault::Kind;
using Place = LayoutFault::Place;

}  // namespace

bool LayoutFault::applies(const Layout& layout) const {
  switch (place) {
    case Place::kDp:
      return layout.dp > 1 && layout.zero == needs_zero;
    case Place::kData:
      return layout.dp > 1;
    case Place::kTp:
      return layout.tp > 1 && layout.sequence == needs_sequence;
    default:
      return true;
  }
}

const std::vector<LayoutFault>& layout_faults() {
  static const std::vector<LayoutFault> faults{
      {"dp-drop",
       "a bucket of gradients is not summed over the copies",
       Place::kDp,
       {Op::kAllReduce, Kind::kDrop, 0},
       false},
      {"dp-scale",
       "a rank adds 1.001 times its gradients of a bucket",
       Place::kDp,
       {Op::kAllReduce, Kind::kScale, 0},
       false},
      {"tp-drop",
       "a layer's output is not summed over the ranks that share it",
       Place::kTp,
       {Op::kAllReduce, Kind::kDrop, 1},
       false},
      {"tp-scale",
       "a rank adds 1.001 times its term of a layer's output",
       Place::kTp,
       {Op::kAllReduce, Kind::kScale, 1},
       false},
      {"gather-drop",
       "a rank does not get the other ranks' tokens",
       Place::kTp,
       {Op::kAllGather, Kind::kDrop, 0},
       true},
      {"gather-rotate",
       "a rank gets the parts of a sequence in another order",
       Place::kTp,
       {Op::kAllGather, Kind::kRotate, 0},
       true},
      {"scatter-drop",
       "a rank's tokens are not summed over the ranks",
       Place::kTp,
       {Op::kReduceScatter, Kind::kDrop, 1},
       true},
      {"scatter-scale",
       "a rank adds 1.001 times its term of a layer's output",
       Place::kTp,
       {Op::kReduceScatter, Kind::kScale, 1},
       true},
      {"zero-scatter-drop",
       "a rank updates its rows by its own gradients alone",
       Place::kDp,
       {Op::kReduceScatter, Kind::kDrop, 0},
       false,
       true},
      {"zero-gather-drop",
       "a rank does not get the rows that others updated",
       Place::kDp,
       {Op::kAllGather, Kind::kDrop, 0},
       false,
       true},
      {"gradient-scale",
       "a parameter's gradient is 1.001 times as large on a rank",
       Place::kGradient,
       {},
       false},
      {"update-skip", "a parameter is not updated on a rank", Place::kUpdate, {}, false},
      {"data-repeat", "a copy trains on the sequences of its neighbour", Place::kData, {}, false},
      {"start-differs",
       "a parameter starts with 1.001 times its value on a rank",
       Place::kStart,
       {},
       false},
      {"dropout-differs",
       "a rank draws the dropout masks of the step after",
       Place::kDropout,
       {},
       false},
  };
  return faults;
}

const LayoutFault& find_layout_fault(const std::string& name) {
  std::string names;
  for (const LayoutFault& fault : layout_faults()) {
    if (fault.name == name) return fault;
    names += (names.empty() ? "" : ", ") + fault.name;
  }
  throw ConfigError("--inject: '" + name + "' is not a fault: expected one of " + names);
}

void inject(const LayoutFault& fault, parallel::Grid& grid) {
  auto& group = fault.place == Place::kDp ? grid.dp : grid.tp;
  group = parallel::make_faulty_communicator(std::move(group), fault.comm);
}

const parallel::ParameterSlice& struck_slice(const TrainingStep& step) {
  const auto& all = step.gradients().slices();
  const auto matrix = std::find_if(all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2),
                                   all.end(), [](const auto& s) { return s.value.dim() > 1; });
  return matrix == all.end() ? all.front() : *matrix;
}

}  // namespace dagpam::trainer
