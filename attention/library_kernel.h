// attention/library_kernel.h: which of LibTorch's kernels serves its scaled dot product attention:
// pinned by name, or chosen for a shape by measuring them once.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dagpam::attention {

// kPlain is LibTorch's composition of matrix products and a softmax.
enum class LibraryKernel { kPlain, kFlash, kEfficient, kCudnn };
constexpr std::array kLibraryKernels{LibraryKernel::kPlain, LibraryKernel::kFlash,
                                     LibraryKernel::kEfficient, LibraryKernel::kCudnn};
const char* name_of(LibraryKernel kernel);  // plain, flash, efficient, cudnn

// While it lives, the process's calls take `kernel` alone, and the plain one where it does not
// serve. One thread at a time.
class PinnedKernel {
 public:
  explicit PinnedKernel(LibraryKernel kernel);
  ~PinnedKernel();
  PinnedKernel(const PinnedKernel&) = delete;
  PinnedKernel& operator=(const PinnedKernel&) = delete;

 private:
  std::array<bool, kLibraryKernels.size()> before_;
};

// A call as the library sees it.
struct LibraryCall {
  at::Tensor q, k, v;  // [B, H, N, D], [B, Hkv, M, D]
  std::optional<at::Tensor> mask = {};
  bool causal = false, grouped = false;
};
at::Tensor call_library(const LibraryCall& call);  // [B, H, N, D]

// What the library would take, under the pins that hold. Without running anything.
LibraryKernel kernel_of(const LibraryCall& call);

// The fastest kernel for each problem, measured once. Owned by the caller; one thread at a time.
class KernelChoices {
 public:
  static constexpr double kNotServed = std::numeric_limits<double>::infinity();
  using Measure = std::function<double(LibraryKernel)>;  // milliseconds or kNotServed

  // Measures each of `candidates` the first time that `problem` is seen, and notes (notes.h) times
  // and choice; nothing where none serves or kMostProblems are known: the library then chooses.
  std::optional<LibraryKernel> choose(const std::string& problem,
                                      const std::vector<LibraryKernel>& candidates,
                                      const Measure& measure);

  static constexpr size_t kMostProblems = 16;

 private:
  std::map<std::string, std::optional<LibraryKernel>> known_;
};

// Of a training call on a GPU in a half type (self-attention on whole sequences, from 128 tokens
// on): the kernel whose forward and backward took least time on random numbers of this shape, with
// at most 16384 tokens. Where repeatable results are asked for (train.deterministic): flash,
// without a measurement, since of the others one does not repeat and clocks choose differently from
// run to run. Nothing for other calls, or where the caller has pinned a kernel: the library
// chooses.
std::optional<LibraryKernel> choose_kernel(const LibraryCall& call);

// Milliseconds of forward and backward of `call`'s shape by `kernel`: the least of a few runs on
// random numbers. kNotServed where the library would not take it, or fails. Waits for the device.
double measure_kernel(const LibraryCall& call, LibraryKernel kernel);

}  // namespace dagpam::attention
