// Tensor-parallel regions, layers and loss in a group of any size, for ranks as threads and as
// processes: every rank of `group` runs them.
#pragma once

#include "parallel/communicator.h"

namespace dagpam::parallel::cases {

void regions_go_both_ways(Communicator& group);
void cut_layers_equal_whole_ones(Communicator& group);
void vocabulary_loss_equals_the_whole_one(Communicator& group);
void gradient_norm_counts_each_parameter_once(Communicator& group);

inline void all_tp_cases(Communicator& group) {
  regions_go_both_ways(group);
  cut_layers_equal_whole_ones(group);
  vocabulary_loss_equals_the_whole_one(group);
  gradient_norm_counts_each_parameter_once(group);
}

}  // namespace dagpam::parallel::cases
