// attention/hopper/instances.h: the kernels by type and width. Each instance is a file of its own,
// made by CMake from instance.cu.in; attention/CMakeLists.txt lists them.
#pragma once

#include "attention/hopper/backward_params.h"
#include "attention/hopper/forward_params.h"
#include "attention/hopper/tensor_map.h"

namespace dagpam::attention::hopper {

struct ForwardLaunch {
  ForwardMaps<TensorMap> maps;
  ForwardParams params;
  void* stream = nullptr;
};
template <class T, int D>
void launch_forward(const ForwardLaunch& launch);

struct BackwardLaunch {
  BackwardMaps<TensorMap> maps;
  FinishMaps<TensorMap> finish_maps;
  RowsParams rows;
  BackwardParams main;
  FinishParams finish;
  void* stream = nullptr;
};
template <class T, int D>
void launch_backward(const BackwardLaunch& launch);

void launch_ranges(const RangesParams& params, void* stream);

}  // namespace dagpam::attention::hopper
