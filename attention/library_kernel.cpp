#include "attention/library_kernel.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "attention/notes.h"

namespace dagpam::attention {
namespace {

constexpr int64_t kLeastTokens = 128;       // below, the launch is the time
constexpr int64_t kMeasuredTokens = 16384;  // enough to fill a GPU, little enough to fit beside all
constexpr int kWarmUps = 2, kRuns = 5;

bool enabled(LibraryKernel kernel) {
  const at::Context& context = at::globalContext();
  switch (kernel) {
    case LibraryKernel::kPlain:
      return context.userEnabledMathSDP();
    case LibraryKernel::kFlash:
      return context.userEnabledFlashSDP();
    case LibraryKernel::kEfficient:
      return context.userEnabledMemEfficientSDP();
    case LibraryKernel::kCudnn:
      return context.userEnabledCuDNNSDP();
  }
  return false;
}

void enable(LibraryKernel kernel, bool on) {
  at::Context& context = at::globalContext();
  switch (kernel) {
    case LibraryKernel::kPlain:
      return context.setSDPUseMath(on);
    case LibraryKernel::kFlash:
      return context.setSDPUseFlash(on);
    case LibraryKernel::kEfficient:
      return context.setSDPUseMemEfficient(on);
    case LibraryKernel::kCudnn:
      return context.setSDPUseCuDNN(on);
  }
}

bool served(const LibraryCall& call, LibraryKernel kernel) {
  const PinnedKernel pin(kernel);
  return kernel_of(call) == kernel;
}

double milliseconds_of(at::Device device, const std::function<void()>& work) {
  if (device.is_cpu()) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
        .count();
  }
  const c10::impl::VirtualGuardImpl guard(device.type());
  c10::Event begin(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  c10::Event end(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  begin.record(guard.getStream(device));
  work();
  end.record(guard.getStream(device));
  end.synchronize();
  return begin.elapsedTime(end);
}

std::string text_of(const LibraryCall& call) {
  char text[160];
  std::snprintf(text, sizeof text,
                "%s, %lld x %lld tokens, %lld query and %lld key heads of %lld%s",
                c10::toString(call.q.scalar_type()), static_cast<long long>(call.q.size(0)),
                static_cast<long long>(call.q.size(2)), static_cast<long long>(call.q.size(1)),
                static_cast<long long>(call.k.size(1)), static_cast<long long>(call.q.size(3)),
                call.causal ? ", causal" : "");
  return text;
}

std::string milliseconds_text(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, " %.3f ms", ms);
  return text;
}

}  // namespace

const char* name_of(LibraryKernel kernel) {
  switch (kernel) {
    case LibraryKernel::kPlain:
      return "plain";
    case LibraryKernel::kFlash:
      return "flash";
    case LibraryKernel::kEfficient:
      return "efficient";
    case LibraryKernel::kCudnn:
      return "cudnn";
  }
  return "unknown";
}

PinnedKernel::PinnedKernel(LibraryKernel kernel) : before_() {
  for (size_t i = 0; i < kLibraryKernels.size(); ++i) {
    before_[i] = enabled(kLibraryKernels[i]);
    enable(kLibraryKernels[i],
           kLibraryKernels[i] == kernel || kLibraryKernels[i] == LibraryKernel::kPlain);
  }
}

PinnedKernel::~PinnedKernel() {
  for (size_t i = 0; i < kLibraryKernels.size(); ++i) enable(kLibraryKernels[i], before_[i]);
}

at::Tensor call_library(const LibraryCall& call) {
  return at::scaled_dot_product_attention(call.q, call.k, call.v, call.mask, /*dropout_p=*/0.0,
                                          call.causal, /*scale=*/{}, call.grouped);
}

LibraryKernel kernel_of(const LibraryCall& call) {
  const int64_t choice =
      at::_fused_sdp_choice(call.q, call.k, call.v, call.mask, /*dropout_p=*/0.0, call.causal,
                            /*scale=*/{}, call.grouped);
  switch (static_cast<at::SDPBackend>(choice)) {
    case at::SDPBackend::flash_attention:
      return LibraryKernel::kFlash;
    case at::SDPBackend::efficient_attention:
      return LibraryKernel::kEfficient;
    case at::SDPBackend::cudnn_attention:
      return LibraryKernel::kCudnn;
    default:
      return LibraryKernel::kPlain;
  }
}

std::optional<LibraryKernel> KernelChoices::choose(const std::string& problem,
                                                   const std::vector<LibraryKernel>& candidates,
                                                   const Measure& measure) {
  const auto found = known_.find(problem);
  if (found != known_.end()) return found->second;
  if (known_.size() >= kMostProblems) return {};
  std::optional<LibraryKernel> best;
  double least = kNotServed;
  std::string times;
  for (const LibraryKernel candidate : candidates) {
    const double ms = measure(candidate);
    if (!(ms < kNotServed)) continue;
    times += (times.empty() ? "" : ", ") + std::string(name_of(candidate)) + milliseconds_text(ms);
    if (ms < least) best = candidate;
    least = std::min(least, ms);
  }
  known_.emplace(problem, best);
  note(best ? "LibTorch's " + std::string(name_of(*best)) + " kernel for " + problem + " (" +
                  times + ")"
            : "LibTorch's own choice of kernel for " + problem + ": none of the fast ones serves");
  return best;
}

double measure_kernel(const LibraryCall& call, LibraryKernel kernel) {
  const at::AutoGradMode with_gradients(true);
  const int64_t tokens = std::max<int64_t>(call.q.size(2), 1);
  const int64_t batch =
      std::clamp<int64_t>(kMeasuredTokens / tokens, 1, std::max<int64_t>(call.q.size(0), 1));
  // Laid out as the model's are: a token's heads next to each other.
  const auto random = [batch](const at::Tensor& like) {
    return at::randn({batch, like.size(2), like.size(1), like.size(3)}, like.options())
        .transpose(1, 2);
  };
  LibraryCall trial = call;
  for (at::Tensor* t : {&trial.q, &trial.k, &trial.v}) *t = random(*t).requires_grad_();
  const at::Tensor dy = random(trial.q.detach());
  if (!served(trial, kernel)) return KernelChoices::kNotServed;
  const PinnedKernel pin(kernel);
  double least = KernelChoices::kNotServed;
  try {
    for (int i = 0; i < kWarmUps + kRuns; ++i) {
      const double ms = milliseconds_of(call.q.device(), [&] {
        torch::autograd::grad({call_library(trial)}, {trial.q, trial.k, trial.v}, {dy});
      });
      if (i >= kWarmUps) least = std::min(least, ms);
    }
  } catch (const c10::Error& error) {  // e.g. a kernel without a plan for this GPU
    note(std::string("LibTorch's ") + name_of(kernel) + " kernel fails for " + text_of(call) +
         ": " + error.what_without_backtrace());
    return KernelChoices::kNotServed;
  }
  return least;
}

std::optional<LibraryKernel> choose_kernel(const LibraryCall& call) {
  const bool half = call.q.scalar_type() == at::kHalf || call.q.scalar_type() == at::kBFloat16;
  const bool training = call.q.size(2) == call.k.size(2) && call.q.size(2) >= kLeastTokens;
  const bool pinned = !std::all_of(kLibraryKernels.begin(), kLibraryKernels.end(), enabled);
  if (!call.q.is_cuda() || !half || !training || call.mask || pinned) return {};
  if (at::globalContext().deterministicAlgorithms()) {
    if (!served(call, LibraryKernel::kFlash)) return {};
    note("LibTorch's flash kernel, unmeasured: train.deterministic asks for repeatable results");
    return LibraryKernel::kFlash;
  }
  static KernelChoices choices;
  return choices.choose(text_of(call),
                        {LibraryKernel::kCudnn, LibraryKernel::kFlash, LibraryKernel::kEfficient},
                        [&](LibraryKernel kernel) { return measure_kernel(call, kernel); });
}

}  // namespace dagpam::attention
