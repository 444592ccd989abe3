// The path of GPUs on a GPU. Without one it says so and is skipped.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "attention/combine.h"
#include "attention/composed.h"
#include "attention/library_kernel.h"
#include "attention/notes.h"
#include "attention/reference.h"
#include "support.h"
#include "tests/parallel/run_on_gpu.h"

namespace dagpam::attention::testing {
namespace {

const at::Device kGpu(at::kCUDA, 0);

struct Result {
  at::Tensor y;
  std::vector<at::Tensor> grads;
};

template <class Forward>
Result run(const std::vector<at::Tensor>& given, const at::Tensor& dy, Forward forward) {
  std::vector<at::Tensor> inputs;
  for (const at::Tensor& t : given) inputs.push_back(t.detach().clone().requires_grad_());
  const at::Tensor y = forward(inputs);
  return {y.detach(), torch::autograd::grad({y}, inputs, {dy})};
}

at::Tensor wide(const at::Tensor& t) { return t.cpu().to(at::kDouble); }

TEST(ComposedGpu, TheKernelCombinesAsTheCpuDoes) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t width : {int64_t{7}, int64_t{64}, int64_t{128}}) {
      for (const int64_t lambdas : {int64_t{1}, int64_t{3}}) {
        const at::Tensor both = normal({3, 70, 6, width}, 1).to(type);
        const at::Tensor plus = normal({lambdas}, 2).to(at::kFloat);
        const at::Tensor minus = normal({lambdas}, 3).to(at::kFloat);
        const at::Tensor dy = normal({3, 70, 3, width}, 4).to(type);
        const auto forward = [](const std::vector<at::Tensor>& in) {
          return combine(in[0], in[1], in[2]);
        };
        const Result cpu = run({both, plus, minus}, dy, forward);
        const Result gpu =
            run({both.to(kGpu), plus.to(kGpu), minus.to(kGpu)}, dy.to(kGpu), forward);
        // A GPU contracts products and sums: its last bit may be another.
        const double rounding = type == at::kFloat ? 1e-6 : 0.008;
        EXPECT_LE(difference(wide(gpu.y), wide(cpu.y)), rounding);
        EXPECT_LE(difference(wide(gpu.grads[0]), wide(cpu.grads[0])), rounding);
        EXPECT_LE(difference(wide(gpu.grads[1]), wide(cpu.grads[1])), 1e-5);
        EXPECT_LE(difference(wide(gpu.grads[2]), wide(cpu.grads[2])), 1e-5);
        const Result again =
            run({both.to(kGpu), plus.to(kGpu), minus.to(kGpu)}, dy.to(kGpu), forward);
        EXPECT_TRUE(again.grads[1].equal(gpu.grads[1]) && again.grads[2].equal(gpu.grads[2]));
      }
    }
  }
}

// Of each gradient: at most twice the error that the plain path makes in bfloat16.
TEST(ComposedGpu, EveryKernelIsAsGoodAsThePlainPath) {
  const int64_t heads = 4, kv_heads = 2, tokens = 160, width = 64;
  std::vector<at::Tensor> inputs{normal({2, tokens, heads, width}, 1),
                                 normal({2, tokens, heads, width}, 2),
                                 normal({2, tokens, kv_heads, width}, 3),
                                 normal({2, tokens, kv_heads, width}, 4),
                                 normal({heads}, 5).abs(),
                                 normal({heads}, 6).abs()};
  for (size_t i = 0; i < 4; ++i) inputs[i] = inputs[i].to(at::kBFloat16);
  const at::Tensor dy = normal({2, tokens, heads, width}, 7).to(at::kBFloat16);
  const auto maps_of = [&](const std::vector<at::Tensor>& in) {
    Maps maps{in[0], in[1], in[2], in[3], in[4], in[5], {}};
    maps.bounds = key_bounds({}, 2, tokens, tokens);
    return maps;
  };
  const auto plain = [&](const std::vector<at::Tensor>& in) {
    return reference::attend(maps_of(in), nullptr).y.contiguous();
  };
  std::vector<at::Tensor> exact_in, low_in = inputs, gpu_in;
  for (const at::Tensor& t : inputs) exact_in.push_back(t.to(at::kDouble));
  for (size_t i = 4; i < 6; ++i) low_in[i] = low_in[i].to(at::kBFloat16);
  for (size_t i = 0; i < 6; ++i) {
    gpu_in.push_back(inputs[i].to(kGpu).to(i < 4 ? at::kBFloat16 : at::kFloat));
  }
  const Result exact = run(exact_in, dy.to(at::kDouble), plain);
  const Result low = run(low_in, dy, plain);
  for (const LibraryKernel kernel : {LibraryKernel::kFlash, LibraryKernel::kCudnn}) {
    SCOPED_TRACE(name_of(kernel));
    const PinnedKernel pin(kernel);
    const Result gpu = run(gpu_in, dy.to(kGpu), [&](const std::vector<at::Tensor>& in) {
      return composed::attend(maps_of(in), composed::Sight::kCausal);
    });
    EXPECT_LE(difference(wide(gpu.y), exact.y), 2 * difference(wide(low.y), exact.y));
    for (size_t i = 0; i < gpu.grads.size(); ++i) {
      EXPECT_LE(difference(wide(gpu.grads[i]), exact.grads[i]),
                2 * difference(wide(low.grads[i]), exact.grads[i]))
          << i;
    }
  }
}

TEST(ComposedGpu, AKernelIsChosenAndNamed) {
  at::globalContext().setDeterministicAlgorithms(false, false);
  const auto random = [](int64_t heads, uint64_t seed) {
    return normal({2, 256, heads, 64}, seed).to(kGpu).to(at::kBFloat16).transpose(1, 2);
  };
  LibraryCall call{random(8, 1), random(4, 2), random(4, 3)};
  call.causal = call.grouped = true;
  take_notes();
  const auto chosen = choose_kernel(call);
  ASSERT_TRUE(chosen.has_value());
  const auto notes = take_notes();
  ASSERT_EQ(notes.size(), 1u);
  std::printf("%s\n", notes[0].c_str());
  EXPECT_NE(notes[0].find(name_of(*chosen)), std::string::npos);
  const PinnedKernel pin(LibraryKernel::kFlash);
  EXPECT_FALSE(choose_kernel(call).has_value());
}

}  // namespace
}  // namespace dagpam::attention::testing

int main(int argc, char** argv) { return dagpam::parallel::run_on_gpu(argc, argv); }
