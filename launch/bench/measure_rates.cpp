#include "launch/bench/measure_rates.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "attention/fast.h"
#include "configs/run_config.h"
#include "parallel/vocabulary_loss.h"
#include "trainer/kernels/fused_norm.h"
#include "trainer/kernels/step_rows.h"
#include "trainer/optim/optimizer.h"

namespace dagpam::launch {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kRound = 0.03;  // seconds of a round at least
constexpr double kTera = 1e12, kGb = 1e9, kFloat = 4;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

at::Tensor leaf(std::vector<int64_t> sizes) { return at::randn(sizes).requires_grad_(); }

// Forward and backward of a function of leaves, whose gradients are let go of.
std::function<void()> both_ways(std::vector<at::Tensor> leaves,
                                std::function<at::Tensor()> forward) {
  const at::Tensor slope = at::ones(forward().sizes());
  return [=]() mutable {
    forward().backward(slope);
    for (at::Tensor& x : leaves) x.mutable_grad() = at::Tensor();
  };
}

struct Point {
  double m, n, k, seconds;
};

double factor(const Point& p, double half) {
  return (1 + half / p.m) * (1 + half / p.n) * (1 + half / p.k);
}

}  // namespace

double RankTimer::slowest(double seconds) const {
  at::Tensor all = at::full({1}, seconds, at::kDouble);
  world_.all_reduce(all, parallel::ReduceOp::kMax);
  return all.item<double>();
}

double RankTimer::seconds(const std::function<void()>& work) const {
  work();
  double best = std::numeric_limits<double>::infinity();
  for (int64_t round = 0; round < rounds_; ++round) {
    world_.barrier();
    int64_t calls = 0;
    const auto start = Clock::now();
    double taken = 0;
    do {
      work();
      ++calls;
      taken = seconds_since(start);
    } while (taken < kRound);
    best = std::min(best, taken / static_cast<double>(calls));
  }
  return slowest(best);
}

double RankTimer::seconds_of_talk(const std::function<void()>& work, int64_t calls) const {
  work();
  double best = std::numeric_limits<double>::infinity();
  for (int64_t round = 0; round < rounds_; ++round) {
    world_.barrier();
    const auto start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) work();
    best = std::min(best, slowest(seconds_since(start) / static_cast<double>(calls)));
  }
  return best;
}

ProductFit measure_products(const RankTimer& timer, configs::MatmulRates& rates) {
  // Tokens, in, out: from a head's own matrix to a large layer.
  constexpr int64_t kSizes[][3] = {{512, 64, 64},     {768, 128, 128},   {768, 128, 512},
                                   {256, 256, 1024},  {1024, 512, 512},  {256, 768, 3072},
                                   {128, 1024, 4096}, {1024, 1024, 1024}};
  std::vector<Point> points;
  for (const auto& [tokens, in, out] : kSizes) {
    const at::Tensor x = at::randn({tokens, in}), w = at::randn({out, in}),
                     dy = at::randn({tokens, out});
    at::Tensor dw = at::zeros({out, in});
    const auto t = static_cast<double>(tokens), i = static_cast<double>(in),
               o = static_cast<double>(out);
    points.push_back({t, o, i, timer.seconds([&] { at::linear(x, w); })});
    points.push_back({t, i, o, timer.seconds([&] { at::mm(dy, w); })});
    points.push_back({o, i, t, timer.seconds([&] { at::mm_out(dw, dy.t(), x); })});
  }
  // For each half-size the best rate in the mean of logarithms; of these the best.
  double best_error = std::numeric_limits<double>::infinity();
  for (double half = 0; half <= 64; half += 0.5) {
    double sum = 0, squares = 0;
    for (const Point& p : points) {
      const double log_rate = std::log(2 * p.m * p.n * p.k * factor(p, half) / p.seconds);
      sum += log_rate;
      squares += log_rate * log_rate;
    }
    const auto count = static_cast<double>(points.size());
    const double mean = sum / count, error = squares / count - mean * mean;
    if (error >= best_error) continue;
    best_error = error;
    rates.set_half_size(half);
    rates.set_sustained_tflops(std::exp(mean) / kTera);
  }
  ProductFit fit;
  double fastest = 0;
  for (const Point& p : points) {
    const double rate = 2 * p.m * p.n * p.k / p.seconds / kTera;
    fastest = std::max(fastest, rate);
    const double fitted = rates.sustained_tflops() / factor(p, rates.half_size());
    fit.worst = std::max(fit.worst, std::abs(fitted / rate - 1));
    ++fit.points;
  }
  rates.set_peak_tflops(std::max(fastest, rates.sustained_tflops()));
  return fit;
}

namespace {

void measure_norm(const RankTimer& timer, configs::DeviceRates& rates) {
  constexpr int64_t kRows = 1024, kWidth = 256;
  const at::Tensor x = leaf({kRows, kWidth}), y = leaf({kRows, kWidth}), w = leaf({kWidth}),
                   b = leaf({kWidth});
  const auto once =
      both_ways({x, y, w, b}, [=] { return trainer::kernels::add_norm(x, y, w, b, {}).second; });
  // Without the way on of the residual stream: seven of its eight passes.
  rates.set_norm_gbs(7 * kFloat * kRows * kWidth / timer.seconds(once) / kGb);
}

// The loops that a layer runs between its products: GELU with a bias, and its gradient.
void measure_activation(const RankTimer& timer, configs::DeviceRates& rates) {
  constexpr int64_t kRows = 1024, kHidden = 512;
  const at::Tensor h = at::randn({kRows, kHidden}), bias = at::randn({kHidden});
  at::Tensor a = at::zeros({kRows, kHidden}), da = at::randn({kRows, kHidden}),
             dbias = at::zeros({kHidden});
  const auto& loops = trainer::kernels::step_rows<float>();
  const double seconds = timer.seconds([&] {
    const auto row = [&](int64_t r) {
      return trainer::kernels::ActivationRow<float>{h.const_data_ptr<float>() + r * kHidden,
                                                    bias.const_data_ptr<float>(),
                                                    nullptr,
                                                    nullptr,
                                                    a.mutable_data_ptr<float>() + r * kHidden,
                                                    kHidden};
    };
    for (int64_t r = 0; r < kRows; ++r) loops.gelu(row(r));
    for (int64_t r = 0; r < kRows; ++r) {
      loops.gelu_gradient({row(r), da.mutable_data_ptr<float>() + r * kHidden, nullptr,
                           dbias.mutable_data_ptr<float>(), nullptr});
    }
  });
  rates.set_activation_gbs(6 * kFloat * kRows * kHidden / seconds / kGb);
}

// The loss takes its logits away, so each call gets a copy, whose time is taken off.
void measure_loss(const RankTimer& timer, configs::DeviceRates& rates) {
  constexpr int64_t kRows = 256, kVocab = 8192;
  const auto self = parallel::make_self_communicator();
  const at::Tensor x = leaf({kRows, kVocab});
  const at::Tensor targets = at::randint(kVocab, {kRows}, at::kLong);
  parallel::VocabularyLossOptions options;
  options.vocab = kVocab;
  const double both = timer.seconds(both_ways({x}, [&] {
    return parallel::fused_vocabulary_cross_entropy(at::mul(x, 1), targets, options, *self);
  }));
  const at::Tensor slope = at::ones({kRows, kVocab});
  const double copies = timer.seconds([&] {
    at::mul(x, 1).backward(slope);
    x.mutable_grad() = at::Tensor();
  });
  const double seconds = std::max(both - copies, both / 10);
  rates.set_loss_gbs(4 * kFloat * kRows * kVocab / seconds / kGb);
}

void measure_update(const RankTimer& timer, configs::DeviceRates& rates) {
  constexpr int64_t kTensors = 16, kRows = 512, kWidth = 512;
  parallel::ParameterList list;
  std::vector<parallel::ParameterSlice> slices;
  for (int64_t i = 0; i < kTensors; ++i) {
    const auto parameter =
        list.add("w" + std::to_string(i), {kRows, kWidth}, parallel::Init::normal(0.02));
    slices.push_back({parameter, 0, parameter->value.detach(), at::zeros({kRows, kWidth})});
  }
  list.initialise(1);
  configs::OptimizerConfig config;
  config.add_betas(0.9);
  config.add_betas(0.95);
  const auto optimizer = trainer::make_optimizer(config, slices);
  const at::Tensor one = at::ones({}), none = at::zeros({});
  const double seconds = timer.seconds([&] { optimizer->step(1e-4, one, none); });
  rates.set_update_gbs(7 * kFloat * kTensors * kRows * kWidth / seconds / kGb);
}

}  // namespace

void measure_loops(const RankTimer& timer, configs::DeviceRates& rates) {
  constexpr int64_t kNumbers = 1 << 20;
  const at::Tensor from = at::randn({kNumbers});
  at::Tensor to = at::zeros({kNumbers});
  const double copy = timer.seconds([&] { to.copy_(from); });
  rates.set_memory_gbs(2 * kFloat * kNumbers / copy / kGb);
  measure_norm(timer, rates);
  measure_activation(timer, rates);
  measure_loss(timer, rates);
  measure_update(timer, rates);
}

namespace {

// Causal attention of one or two maps, 1,024 tokens, 256 channels.
struct AttentionTimes {
  double forward = 0, both = 0;
};
AttentionTimes time_attention(const RankTimer& timer, int64_t head, int64_t context, bool two) {
  constexpr int64_t kTokens = 1024, kWidth = 256;
  const int64_t batch = kTokens / context, heads = kWidth / head;
  const auto make = [&] { return leaf({batch, context, heads, head}); };
  attention::Maps maps;
  maps.q = make();
  maps.k = make();
  maps.v = make();
  std::vector<at::Tensor> leaves{maps.q, maps.k, maps.v};
  if (two) {
    maps.q_neg = make();
    maps.plus = leaf({heads});
    maps.minus = leaf({heads});
    leaves.insert(leaves.end(), {maps.q_neg, maps.plus, maps.minus});
  }
  maps.bounds = attention::key_bounds({}, batch, context, context);
  const auto forward = [=] { return attention::fast::attend(maps, nullptr); };
  return {timer.seconds([=] { forward(); }), timer.seconds(both_ways(leaves, forward))};
}

}  // namespace

void measure_attention(const RankTimer& timer, configs::DeviceRates& rates) {
  constexpr int64_t kShort = 64, kLong = 512, kTokens = 1024, kWidth = 256;
  for (const int64_t head : {int64_t{32}, int64_t{64}}) {
    const AttentionTimes at_short = time_attention(timer, head, kShort, false);
    const AttentionTimes at_long = time_attention(timer, head, kLong, false);
    const AttentionTimes twice_short = time_attention(timer, head, kShort, true);
    const AttentionTimes twice_long = time_attention(timer, head, kLong, true);
    // Seconds are a + b T: the line through both lengths.
    const double slope = (at_long.both - at_short.both) / (kLong - kShort);
    const double half = std::max(0.0, at_long.both / slope - kLong);
    const double operations = 2.0 * kTokens * kLong * kWidth * (1 + half / kLong);
    configs::AttentionRates& one = *rates.add_attention();
    one.set_head_width(head);
    one.set_half_tokens(half);
    one.set_forward_tflops(operations / at_long.forward / kTera);
    one.set_backward_tflops(2.5 * operations / (at_long.both - at_long.forward) / kTera);
    const double twice =
        std::sqrt(twice_short.both / at_short.both * twice_long.both / at_long.both);
    one.set_second_map(std::max(0.0, twice - 1));
  }
}

}  // namespace dagpam::launch
