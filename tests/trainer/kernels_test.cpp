// Fused pieces of a step against float64, beside the plain operators: at most twice their error.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "parallel/instruction_set.h"
#include "parallel/random.h"
#include "trainer/kernels/activation_kernel.h"
#include "trainer/kernels/fused_mlp.h"
#include "trainer/kernels/fused_norm.h"
#include "trainer/kernels/step_math.h"
#include "trainer/kernels/step_rows.h"

namespace dagpam::trainer::kernels {
namespace {

at::Tensor noise(std::vector<int64_t> shape, const std::string& name) {
  const at::Tensor t = at::zeros(shape, at::kFloat);
  parallel::initialise(t, {shape, -1, 0}, parallel::Init::normal(1), 5, name);
  return t;
}

// Outputs and the inputs' gradients, in float64.
using Numbers = std::vector<at::Tensor>;

// Runs `op` on leaves of `type` with the numbers of `inputs` (undefined ones stay so), and backward
// from fixed slopes.
template <class Op>
Numbers run(Op op, const Numbers& inputs, at::ScalarType type) {
  Numbers leaves, out;
  for (const at::Tensor& x : inputs) {
    leaves.push_back(x.defined() ? x.to(type, false, /*copy=*/true).requires_grad_()
                                 : at::Tensor());
  }
  at::Tensor loss = at::zeros({}, at::kDouble);
  const Numbers results = op(leaves);
  for (size_t i = 0; i < results.size(); ++i) {
    const at::Tensor slope =
        noise(results[i].sizes().vec(), "slope " + std::to_string(i)).to(type).to(at::kDouble);
    loss = loss + (results[i].to(at::kDouble) * slope).sum();
    out.push_back(results[i].detach().to(at::kDouble));
  }
  loss.backward();
  for (const at::Tensor& leaf : leaves) {
    if (leaf.defined()) out.push_back(leaf.grad().to(at::kDouble));
  }
  return out;
}

double largest(const at::Tensor& t) { return t.abs().max().item<double>(); }

// `rounding` is half a unit of the type: what luck may give the plain path, of sums whose terms are
// of the size of the largest number.
void within_twice(const Numbers& got, const Numbers& plain, const Numbers& exact, double rounding,
                  const std::string& what) {
  ASSERT_EQ(got.size(), exact.size());
  double scale = 0;
  for (const at::Tensor& number : exact) scale = std::max(scale, largest(number));
  for (size_t i = 0; i < exact.size(); ++i) {
    const double bound = 2 * largest(plain[i] - exact[i]) + 4 * rounding * scale;
    EXPECT_LE(largest(got[i] - exact[i]), bound) << what << ", number " << i;
  }
}

template <class Fused, class Plain>
void compare(Fused fused, Plain plain, const Numbers& inputs, const std::string& what) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Numbers rounded;  // the same numbers for both and for float64
    for (const at::Tensor& x : inputs) rounded.push_back(x.defined() ? x.to(type) : x);
    within_twice(run(fused, rounded, type), run(plain, rounded, type),
                 run(plain, rounded, at::kDouble), type == at::kFloat ? 0x1p-24 : 0x1p-9,
                 what + ", " + c10::toString(type));
  }
}

TEST(FusedNormTest, IsAsGoodAsThePlainOne) {
  for (const bool rms : {false, true}) {
    for (const bool bias : {false, true}) {
      for (const int64_t width : {1, 5, 16, 33, 768}) {
        if (rms && bias) continue;
        const NormOptions options{1e-5, rms};
        const Numbers inputs{noise({3, 4, width}, "x").add(2), noise({width}, "w").add(1),
                             bias ? noise({width}, "b") : at::Tensor()};
        compare(
            [&](const Numbers& in) { return Numbers{norm(in[0], in[1], in[2], options)}; },
            [&](const Numbers& in) { return Numbers{plain_norm(in[0], in[1], in[2], options)}; },
            inputs,
            std::string(rms ? "RMS " : "layer ") + (bias ? "with bias " : "") +
                std::to_string(width));
      }
    }
  }
}

TEST(FusedNormTest, OfASumGivesTheSumToo) {
  for (const bool rms : {false, true}) {
    const NormOptions options{1e-5, rms};
    const int64_t width = 70;
    const Numbers inputs{noise({3, 4, width}, "x"), noise({3, 4, width}, "y"),
                         noise({width}, "w").add(1), rms ? at::Tensor() : noise({width}, "b")};
    compare(
        [&](const Numbers& in) {
          const auto [sum, normed] = add_norm(in[0], in[1], in[2], in[3], options);
          return Numbers{sum, normed};
        },
        [&](const Numbers& in) {
          const at::Tensor sum = at::add(in[0], in[1]);
          return Numbers{sum, plain_norm(sum, in[2], in[3], options)};
        },
        inputs, rms ? "RMS" : "layer");
  }
}

// Either of the two outputs may be all that is used.
TEST(FusedNormTest, TakesGradientsOfOneOutputAlone) {
  for (const bool of_sum : {true, false}) {
    const Numbers inputs{noise({4, 8}, "x"), noise({4, 8}, "y"), noise({8}, "w")};
    const auto one = [&](const Numbers& in) {
      const auto [sum, normed] = add_norm(in[0], in[1], in[2], {}, {});
      // The weight takes part in any case.
      return of_sum ? Numbers{at::add(sum, in[2])} : Numbers{normed};
    };
    const auto plain = [&](const Numbers& in) {
      const at::Tensor sum = at::add(in[0], in[1]);
      return of_sum ? Numbers{at::add(sum, in[2])} : Numbers{plain_norm(sum, in[2], {}, {})};
    };
    compare(one, plain, inputs, of_sum ? "sum" : "norm");
  }
}

// Far from 0 against its spread: a one-pass variance would be lost.
TEST(FusedNormTest, OfLargeMeansKeepsItsVariance) {
  const Numbers inputs{noise({2, 256}, "x").add(1000), noise({256}, "w").add(1), at::Tensor()};
  const auto fused = [](const Numbers& in) { return Numbers{norm(in[0], in[1], in[2], {})}; };
  const auto plain = [](const Numbers& in) { return Numbers{plain_norm(in[0], in[1], in[2], {})}; };
  within_twice(run(fused, inputs, at::kFloat), run(plain, inputs, at::kFloat),
               run(plain, inputs, at::kDouble), 0x1p-24, "mean 1000");
}

const std::vector<std::pair<Activation, std::string>> kActivations{
    {Activation::kRelu, "relu"},
    {Activation::kGelu, "gelu"},
    {Activation::kGeluTanh, "gelu tanh"},
    {Activation::kSwiglu, "swiglu"}};

TEST(FusedMlpTest, IsAsGoodAsThePlainOne) {
  for (const auto& [kind, name] : kActivations) {
    for (const bool bias : {false, true}) {
      for (const int64_t hidden : {1, 7, 48, 200}) {
        const bool gated = kind == Activation::kSwiglu;
        const int64_t width = 6;
        const auto maybe = [&](bool there, const char* what) {
          return there ? noise({hidden}, what) : at::Tensor();
        };
        // h, bias, gate, gate bias, W, b
        const Numbers inputs{noise({2, 5, hidden}, "h").mul(3),
                             maybe(bias, "bias"),
                             gated ? noise({2, 5, hidden}, "g").mul(3) : at::Tensor(),
                             maybe(bias && gated, "gate bias"),
                             noise({width, hidden}, "W"),
                             bias ? noise({width}, "b") : at::Tensor()};
        const auto input_of = [&, kind = kind](const Numbers& in) {
          return ActivationInput{kind, in[0], in[1], in[2], in[3]};
        };
        compare(
            [&](const Numbers& in) {
              parallel::Parameter down{"down", in[4], {}, {}}, down_bias{"bias", in[5], {}, {}};
              return Numbers{activated_product(input_of(in), down, bias ? &down_bias : nullptr)};
            },
            [&](const Numbers& in) {
              return Numbers{at::linear(plain_activation(input_of(in)), in[4], in[5])};
            },
            inputs, name + (bias ? " with biases " : " ") + std::to_string(hidden));
      }
    }
  }
}

template <class Real>
std::vector<const StepRows<Real>*> runnable(const StepRows<Real>& portable,
                                            const StepRows<Real>& avx2) {
  std::vector<const StepRows<Real>*> out{&portable, &step_rows<Real>()};
  if (parallel::instruction_set() != parallel::InstructionSet::kPortable) out.push_back(&avx2);
  return out;
}

// Every build against the functions of one element, which the GPU's kernels share.
template <class Real>
void rows_agree(const std::vector<const StepRows<Real>*>& builds, float rounding) {
  constexpr size_t kWidth = 1003;
  std::vector<Real> h(kWidth), da(kWidth);
  for (size_t i = 0; i < kWidth; ++i) {
    parallel::rows::narrow(static_cast<float>(i) / 50 - 10, h[i]);
    parallel::rows::narrow(std::sin(static_cast<float>(i)), da[i]);
  }
  for (const StepRows<Real>* build : builds) {
    using Act = Activated (*)(float);
    for (const auto& [act, gradient, at] :
         {std::tuple{build->gelu, build->gelu_gradient, static_cast<Act>(gelu_at)},
          {build->gelu_tanh, build->gelu_tanh_gradient, static_cast<Act>(gelu_tanh_at)},
          {build->relu, build->relu_gradient, static_cast<Act>(relu_at)}}) {
      std::vector<Real> a(kWidth), again(kWidth), dh = da;
      const ActivationRow<Real> row{h.data(), nullptr, nullptr, nullptr, a.data(), kWidth};
      act(row);
      ActivationGradientRow<Real> slope{row, dh.data(), nullptr, nullptr, nullptr};
      slope.forward.a = again.data();
      gradient(slope);
      for (size_t i = 0; i < kWidth; ++i) {
        const Activated expected = at(parallel::rows::widen(h[i]));
        const float value = parallel::rows::widen(a[i]);
        EXPECT_NEAR(value, expected.value, rounding * (std::abs(expected.value) + 1e-3f))
            << build->name;
        EXPECT_EQ(parallel::rows::widen(again[i]), value) << build->name;
        const float d = parallel::rows::widen(da[i]) * expected.slope;
        EXPECT_NEAR(parallel::rows::widen(dh[i]), d, rounding * (std::abs(d) + 1e-3f))
            << build->name;
      }
    }
  }
}

// What all threads of the GPU's gradient kernel do: the problem's tensors, and the sums of dh and
// dgate over the rows added to `sums` and `gate_sums`.
template <KernelActivation kKind, int kPack, class Real>
void every_thread(const ActivationProblem<Real>& problem, std::vector<float>& sums,
                  std::vector<float>& gate_sums) {
  const parallel::ColumnTiles tiles = parallel::column_tiles(problem.rows, problem.width, kPack);
  for (int64_t block = 0; block < tiles.across * tiles.parts; ++block) {
    for (int thread = 0; thread < parallel::kTileLanes * parallel::kTileGroups; ++thread) {
      const parallel::TileThread own =
          parallel::tile_thread(tiles, block % tiles.across, block / tiles.across,
                                thread % parallel::kTileLanes, thread / parallel::kTileLanes);
      if (own.column >= problem.width) continue;
      auto columns = activation_columns<kPack>(problem, own.column);
      activation_part<kKind, true>(problem, own, &columns);
      for (int i = 0; i < kPack; ++i) {
        sums[static_cast<size_t>(own.column + i)] += columns.sums[i];
        gate_sums[static_cast<size_t>(own.column + i)] += columns.gate_sums[i];
      }
    }
  }
}

// The GPU's threads, run by the host, against the row kernels, biases and gates included.
template <KernelActivation kKind, class Real, int kPack>
void threads_agree(void (*row_kernel)(const ActivationGradientRow<Real>&), int64_t rows,
                   int64_t width, float rounding) {
  SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(width));
  constexpr bool kGated = kKind == KernelActivation::kSwiglu;
  using Packs = std::vector<parallel::rows::Pack<Real, kPack>>;
  const auto size = static_cast<size_t>(rows * width), columns = static_cast<size_t>(width);
  Packs h(size / kPack), gate = h, da = h, a = h, dgate = h, bias(columns / kPack),
                         gate_bias = bias;
  for (Packs* x : {&h, &gate, &da, &bias, &gate_bias}) {
    for (size_t i = 0; i < x->size() * kPack; ++i) {
      const auto seed = static_cast<float>(i + (x == &gate ? 100 : x == &da ? 200 : 300));
      parallel::rows::narrow(3 * std::sin(seed * seed), (*x)[i / kPack].x[i % kPack]);
    }
  }
  const auto data = [](Packs& x) { return x[0].x; };
  Packs dh = da, again = a, dg = dgate;
  const ActivationProblem<Real> problem{data(h),
                                        data(bias),
                                        kGated ? data(gate) : nullptr,
                                        kGated ? data(gate_bias) : nullptr,
                                        data(a),
                                        data(da),
                                        data(dgate),
                                        rows,
                                        width};
  std::vector<float> sums(columns), gate_sums(columns), row_sums(columns), row_gate_sums(columns);
  every_thread<kKind, kPack>(problem, sums, gate_sums);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * width;
    row_kernel(
        {{data(h) + at, data(bias), data(gate) + at, data(gate_bias), data(again) + at, width},
         data(dh) + at,
         data(dg) + at,
         row_sums.data(),
         row_gate_sums.data()});
  }
  // Where a slope is near 0 it is the difference of terms of size 1, in float32: 4e-7 is seen.
  const float floor = sizeof(Real) == 2 ? 1e-2f : 0.4f;
  const auto near = [rounding, floor](const Packs& x, const Packs& y) {
    for (size_t i = 0; i < x.size() * kPack; ++i) {
      const float expected = parallel::rows::widen(y[i / kPack].x[i % kPack]);
      EXPECT_NEAR(parallel::rows::widen(x[i / kPack].x[i % kPack]), expected,
                  rounding * (std::abs(expected) + floor))
          << i;
    }
  };
  near(a, again);
  near(da, dh);
  if (kGated) near(dgate, dg);
  for (size_t i = 0; i < columns; ++i) {
    const float allowed = 10 * rounding * std::sqrt(static_cast<float>(rows));
    EXPECT_NEAR(sums[i], row_sums[i], allowed) << i;
    if (kGated) {
      EXPECT_NEAR(gate_sums[i], row_gate_sums[i], 10 * allowed) << i;
    }
  }
}

// By single elements and by packs, in a part of a tile and in several, rows left over included.
template <KernelActivation kKind, class Real>
void every_tile_agrees(void (*row_kernel)(const ActivationGradientRow<Real>&), float rounding) {
  constexpr int kWidest = parallel::rows::kWidestPack<Real>;
  threads_agree<kKind, Real, 1>(row_kernel, 3, 37, rounding);
  threads_agree<kKind, Real, 1>(row_kernel, 150, 33, rounding);
  threads_agree<kKind, Real, kWidest>(row_kernel, 5, 24, rounding);
  threads_agree<kKind, Real, kWidest>(row_kernel, 203, 264, rounding);
}

TEST(StepRowsTest, TheGpusThreadsDoWhatTheRowsDo) {
  every_tile_agrees<KernelActivation::kRelu>(step_rows<float>().relu_gradient, 1e-6f);
  every_tile_agrees<KernelActivation::kGelu>(step_rows<float>().gelu_gradient, 1e-6f);
  every_tile_agrees<KernelActivation::kGeluTanh>(step_rows<float>().gelu_tanh_gradient, 1e-6f);
  every_tile_agrees<KernelActivation::kSwiglu>(step_rows<float>().swiglu_gradient, 1e-6f);
  every_tile_agrees<KernelActivation::kGelu>(step_rows<Bf16>().gelu_gradient, 0x1p-7f);
  every_tile_agrees<KernelActivation::kSwiglu>(step_rows<Bf16>().swiglu_gradient, 0x1p-7f);
}

TEST(StepRowsTest, EveryBuildAgreesWithTheFunctionsOfOneElement) {
  rows_agree<float>(runnable(portable::kFloatRows, avx2::kFloatRows), 1e-6f);
  rows_agree<Bf16>(runnable(portable::kBf16Rows, avx2::kBf16Rows), 0x1p-8f);
}

}  // namespace
}  // namespace dagpam::trainer::kernels
