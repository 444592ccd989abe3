// step_graph.h with CUDA in the build, by LibTorch's CUDAGraph, whose allocator keeps a graph's
// tensors apart.
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "trainer/step_graph.h"

namespace dagpam::trainer {
namespace {

class CudaStepGraph : public StepGraph {
 public:
  // The default stream cannot be recorded.
  explicit CudaStepGraph(at::Device device)
      : stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  void run(const std::function<void()>& work) override { in_order(work); }

  void record(const std::function<void()>& work) override {
    in_order([&] {
      // Another thread may allocate or copy meanwhile: it writes a checkpoint.
      graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      work();
      graph_.capture_end();
    });
    // What run() took for the same tensors is free, and of another pool than the graph's.
    c10::cuda::CUDACachingAllocator::emptyCache();
  }

  void replay() override {
    in_order([&] { graph_.replay(); });
  }

 private:
  void in_order(const std::function<void()>& work) {
    const c10::cuda::CUDAStream caller = c10::cuda::getCurrentCUDAStream(stream_.device_index());
    begin_.record(caller);
    begin_.block(stream_);
    {
      const c10::cuda::CUDAStreamGuard guard(stream_);
      work();
    }
    end_.record(stream_);
    end_.block(caller);
  }

  c10::cuda::CUDAStream stream_;
  at::cuda::CUDAEvent begin_, end_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace

std::unique_ptr<StepGraph> make_step_graph(at::Device device) {
  return device.is_cuda() ? std::make_unique<CudaStepGraph>(device) : nullptr;
}

}  // namespace dagpam::trainer
