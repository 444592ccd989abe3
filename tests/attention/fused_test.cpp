// Which calls the fused kernels take, and that what they cannot serve is served by the other paths,
// with one note. What they compute is in hopper_*_test.cpp.
#include "attention/fused.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "attention/hopper/launch.h"
#include "attention/notes.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

TEST(FusedTest, AutoTakesNothingUnmeasured) {
  EXPECT_TRUE(fused::measured_faster(64, 1024, 1024));
  EXPECT_TRUE(fused::measured_faster(128, 8192, 8192));
  EXPECT_FALSE(fused::measured_faster(64, 64, 1024));
  EXPECT_FALSE(fused::measured_faster(32, 1024, 1024));
}

TEST(FusedTest, ACpuTensorIsRefusedWithTheReason) {
  const at::Tensor q = normal({1, 8, 2, 64}, 1).to(at::kBFloat16);
  const std::string reason = fused::refusal(q, q);
  EXPECT_EQ(reason, hopper::built() ? "the fused kernel is for GPUs"
                                    : "this program was built without CUDA");
  Maps maps;
  maps.q = maps.q_neg = maps.k = maps.v = q;
  maps.plus = maps.minus = normal({1}, 2);
  EXPECT_THROW(fused::attend(maps, true, at::Tensor()), c10::Error);
}

TEST(FusedTest, WhatItCannotServeGoesTheOtherWayAndSaysSoOnce) {
  take_notes();
  for (const Kind kind : {Kind::kSoftmax, Kind::kDagpam}) {
    Case automatic = random_case(kind, {2, 9, 9, 2, 2, 8}, 3), asked = automatic;
    asked.options.gpu = GpuPath::kFused;
    const Outcome expected = solve(automatic, Path::kFast);
    EXPECT_TRUE(take_notes().empty());
    const Outcome ours = solve(asked, Path::kFast);
    EXPECT_TRUE(bit_equal(ours.y, expected.y));
    for (const auto& [name, grad] : expected.grad) {
      EXPECT_TRUE(bit_equal(ours.grad.at(name), grad)) << name;
    }
    const auto notes = take_notes();
    ASSERT_EQ(notes.size(), 1u);
    EXPECT_EQ(notes[0].find("path FUSED is not taken: "), 0u) << notes[0];
    EXPECT_NE(notes[0].find("; the CPU kernels serve"), std::string::npos) << notes[0];
    solve(asked, Path::kFast);
    EXPECT_TRUE(take_notes().empty());
  }
}

}  // namespace
}  // namespace dagpam::attention::testing
