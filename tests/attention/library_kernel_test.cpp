// Which of LibTorch's kernels serves, as far as the CPU shows it: it has the flash and the plain
// one.
#include "attention/library_kernel.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "attention/notes.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

LibraryCall some_call(int64_t tokens = 6) {
  LibraryCall call{normal({2, 4, tokens, 8}, 1).to(at::kFloat),
                   normal({2, 4, tokens, 8}, 2).to(at::kFloat),
                   normal({2, 4, tokens, 8}, 3).to(at::kFloat)};
  call.causal = true;
  return call;
}

std::vector<bool> switches() {
  const at::Context& context = at::globalContext();
  return {context.userEnabledMathSDP(), context.userEnabledFlashSDP(),
          context.userEnabledMemEfficientSDP(), context.userEnabledCuDNNSDP()};
}

TEST(LibraryKernel, PinDecidesAndEnds) {
  const auto before = switches();
  const LibraryCall call = some_call();
  EXPECT_EQ(kernel_of(call), LibraryKernel::kFlash);
  at::Tensor plain, flash;
  {
    const PinnedKernel pin(LibraryKernel::kPlain);
    EXPECT_EQ(kernel_of(call), LibraryKernel::kPlain);
    EXPECT_EQ(switches(), (std::vector<bool>{true, false, false, false}));
    plain = call_library(call);
    const PinnedKernel inner(LibraryKernel::kFlash);
    EXPECT_EQ(kernel_of(call), LibraryKernel::kFlash);
    flash = call_library(call);
  }
  EXPECT_EQ(switches(), before);
  EXPECT_LE(difference(flash, plain), 1e-5);
}

TEST(LibraryKernel, APinThatDoesNotServeGivesThePlainOne) {
  const PinnedKernel pin(LibraryKernel::kCudnn);
  EXPECT_EQ(kernel_of(some_call()), LibraryKernel::kPlain);
}

TEST(LibraryKernel, MeasuresWhatTheLibraryTakes) {
  const LibraryCall call = some_call(16);
  const auto before = switches();
  EXPECT_LT(measure_kernel(call, LibraryKernel::kFlash), KernelChoices::kNotServed);
  EXPECT_LT(measure_kernel(call, LibraryKernel::kPlain), KernelChoices::kNotServed);
  EXPECT_EQ(measure_kernel(call, LibraryKernel::kCudnn), KernelChoices::kNotServed);
  EXPECT_EQ(switches(), before);
}

TEST(LibraryKernel, OnTheCpuTheLibraryChooses) {
  EXPECT_FALSE(choose_kernel(some_call(256)).has_value());
}

class Choices : public ::testing::Test {
 protected:
  void SetUp() override { take_notes(); }

  std::optional<LibraryKernel> choose(const std::string& problem, double cudnn, double flash) {
    return choices_.choose(problem, {LibraryKernel::kCudnn, LibraryKernel::kFlash},
                           [&, this](LibraryKernel kernel) {
                             ++measured_;
                             return kernel == LibraryKernel::kCudnn ? cudnn : flash;
                           });
  }

  KernelChoices choices_;
  int measured_ = 0;
};

TEST_F(Choices, TheFastestIsTakenAndNamedOnce) {
  EXPECT_EQ(choose("a problem", 2, 1), LibraryKernel::kFlash);
  EXPECT_EQ(measured_, 2);
  EXPECT_EQ(take_notes(), std::vector<std::string>{
                              "LibTorch's flash kernel for a problem (cudnn 2.000 ms, flash 1.000 "
                              "ms)"});
  EXPECT_EQ(choose("a problem", 1, 2), LibraryKernel::kFlash);  // known: not measured again
  EXPECT_EQ(measured_, 2);
  EXPECT_TRUE(take_notes().empty());
  EXPECT_EQ(choose("another one", 1, 2), LibraryKernel::kCudnn);
}

TEST_F(Choices, WhatDoesNotServeIsNotTaken) {
  EXPECT_EQ(choose("cudnn refuses", KernelChoices::kNotServed, 3), LibraryKernel::kFlash);
  EXPECT_FALSE(choose("both refuse", KernelChoices::kNotServed, KernelChoices::kNotServed));
  EXPECT_FALSE(choose("both refuse", 1, 1));  // known
  EXPECT_EQ(take_notes().back(),
            "LibTorch's own choice of kernel for both refuse: none of the fast ones serves");
}

TEST_F(Choices, AreBounded) {
  for (size_t i = 0; i < KernelChoices::kMostProblems; ++i) {
    EXPECT_TRUE(choose("shape " + std::to_string(i), 1, 2));
  }
  const int before = measured_;
  EXPECT_FALSE(choose("one more", 1, 2));
  EXPECT_EQ(measured_, before);
}

TEST(Notes, AreSaidOnce) {
  take_notes();
  note("one");
  note("two");
  note("one");
  EXPECT_EQ(take_notes(), (std::vector<std::string>{"one", "two"}));
  note("two");
  EXPECT_TRUE(take_notes().empty());
}

}  // namespace
}  // namespace dagpam::attention::testing
