#include <cuda_runtime.h>

#include "parallel/column_tiles.cuh"
#include "trainer/kernels/activation_kernel.h"

namespace dagpam::trainer::kernels {
namespace {

using parallel::ColumnTiles;

template <KernelActivation kKind, bool kGradient, int kPack, class Real>
__global__ void __launch_bounds__(parallel::kTileLanes* parallel::kTileGroups)
    activation_kernel(ColumnTiles tiles, ActivationProblem<Real> problem) {
  const parallel::TileThread thread = parallel::own_tile(tiles);
  ActivationColumns<Real, kPack> own;
  if (thread.column < problem.width) {
    own = activation_columns<kPack>(problem, thread.column);
    activation_part<kKind, kGradient>(problem, thread, &own);
  }
  if (!kGradient) return;
  if (problem.bias_parts != nullptr) {
    parallel::write_tile_sums<kPack>(own.sums, thread, problem.width, problem.bias_parts);
  }
  if (kKind == KernelActivation::kSwiglu && problem.gate_bias_parts != nullptr) {
    parallel::write_tile_sums<kPack>(own.gate_sums, thread, problem.width, problem.gate_bias_parts);
  }
}

template <KernelActivation kKind, int kPack, class Real>
int launch_pack(bool gradient, const ColumnTiles& tiles, const ActivationProblem<Real>& problem,
                void* stream) {
  const dim3 blocks = parallel::tile_blocks(tiles), threads = parallel::tile_threads();
  const auto on = static_cast<cudaStream_t>(stream);
  if (gradient) {
    activation_kernel<kKind, true, kPack><<<blocks, threads, 0, on>>>(tiles, problem);
  } else {
    activation_kernel<kKind, false, kPack><<<blocks, threads, 0, on>>>(tiles, problem);
  }
  return cudaGetLastError();
}

template <KernelActivation kKind, class Real>
int launch_kind(bool gradient, const ColumnTiles& tiles, const ActivationProblem<Real>& problem,
                void* stream) {
  constexpr int kWidest = parallel::rows::kWidestPack<Real>;
  if (problem.width == 0) return cudaSuccess;
  return tiles.pack == kWidest ? launch_pack<kKind, kWidest>(gradient, tiles, problem, stream)
                               : launch_pack<kKind, 1>(gradient, tiles, problem, stream);
}

template <class Real>
int launch(KernelActivation kind, bool gradient, const ColumnTiles& tiles,
           const ActivationProblem<Real>& problem, void* stream) {
  switch (kind) {
    case KernelActivation::kRelu:
      return launch_kind<KernelActivation::kRelu>(gradient, tiles, problem, stream);
    case KernelActivation::kGelu:
      return launch_kind<KernelActivation::kGelu>(gradient, tiles, problem, stream);
    case KernelActivation::kGeluTanh:
      return launch_kind<KernelActivation::kGeluTanh>(gradient, tiles, problem, stream);
    case KernelActivation::kSwiglu:
      return launch_kind<KernelActivation::kSwiglu>(gradient, tiles, problem, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

int launch_activation(KernelActivation kind, bool gradient, const ColumnTiles& tiles,
                      const ActivationProblem<float>& problem, void* stream) {
  return launch(kind, gradient, tiles, problem, stream);
}

int launch_activation(KernelActivation kind, bool gradient, const ColumnTiles& tiles,
                      const ActivationProblem<parallel::rows::Bf16>& problem, void* stream) {
  return launch(kind, gradient, tiles, problem, stream);
}

}  // namespace dagpam::trainer::kernels
