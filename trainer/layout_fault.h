// trainer/layout_fault.h: errors that `dagpam check --inject` makes on purpose, each a bug that a
// parallel trainer could have, to show that the check would notice.
#pragma once

#include <string>
#include <vector>

#include "parallel/faulty_communicator.h"
#include "parallel/grid.h"
#include "trainer/layout.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

// They strike the layout's last rank, where they strike at all: some need a data-parallel group of
// two, some a tensor-parallel one, some sequence parallelism.
struct LayoutFault {
  enum class Place { kDp, kTp, kGradient, kUpdate, kData, kStart, kDropout };
  std::string name;
  std::string what;  // one line for --help and reports
  Place place = Place::kGradient;
  parallel::CommFault comm;  // of kDp and kTp
  bool needs_sequence = false, needs_zero = false;

  bool applies(const Layout& layout) const;
};

const std::vector<LayoutFault>& layout_faults();

// Throws ConfigError for another name, with the names there are.
const LayoutFault& find_layout_fault(const std::string& name);

// Puts a fault of kDp or kTp into the grid of the rank that calls.
void inject(const LayoutFault& fault, parallel::Grid& grid);

// The rows of a parameter that faults of kGradient, kUpdate and kStart strike: a
// matrix in the middle, which is not 0.
const parallel::ParameterSlice& struck_slice(const TrainingStep& step);

}  // namespace dagpam::trainer
