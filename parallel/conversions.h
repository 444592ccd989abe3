// parallel/conversions.h: many tensors' numbers to tensors of another type, on a GPU by few
// launches: of some hundred parameters most are small, and a launch takes longer than their bytes.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace dagpam::parallel {

// Of as many elements each.
struct Conversion {
  at::Tensor from, to;
  bool add = false;  // to <- to + from, else to <- from, rounded once to the nearest
};

// Whether convert() makes one launch of this one and others.
bool converts_together(const at::Tensor& from, const at::Tensor& to);

// All of one device, in any order: none reads or writes what another one writes. The same numbers
// as copy_ and add_ give.
void convert(const std::vector<Conversion>& conversions);

}  // namespace dagpam::parallel
