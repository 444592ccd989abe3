#include "tests/parallel/tp_cases.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "parallel/gradient_buckets.h"
#include "parallel/grid.h"
#include "parallel/parameter.h"
#include "parallel/random.h"
#include "parallel/tp_layers.h"
#include "parallel/tp_regions.h"
#include "parallel/vocabulary_loss.h"

namespace dagpam::parallel::cases {
namespace {

// Whole numbers, so that sums are exact in any order.
at::Tensor counted(std::vector<int64_t> shape, int64_t from) {
  int64_t n = 1;
  for (const int64_t extent : shape) n *= extent;
  return at::arange(from, from + n, at::kDouble).view(shape);
}

// The same numbers on every rank, whatever the layout.
at::Tensor noise(std::vector<int64_t> shape, const std::string& name) {
  const at::Tensor t = at::zeros(shape, at::kDouble);
  initialise(t, {shape, -1, 0}, Init::normal(1), 5, name);
  return t;
}

// y and dx of a region: x -> y, dy -> dx.
struct Both {
  at::Tensor y, dx;
};
Both run(const std::function<at::Tensor(const at::Tensor&)>& region, const at::Tensor& x,
         const at::Tensor& dy) {
  const at::Tensor leaf = x.clone().requires_grad_();
  const at::Tensor y = region(leaf);
  (y * dy).sum().backward();
  return {y.detach(), leaf.grad()};
}

void expect_equal(const at::Tensor& a, const at::Tensor& b, const char* what) {
  EXPECT_TRUE(a.sizes() == b.sizes() && a.equal(b)) << what << "\n" << a << "\n" << b;
}

void expect_near(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  if (a.numel() == 0) return;
  EXPECT_LT(a.sub(b).abs().max().item<double>(), 1e-12) << what;
}

// This rank's part of a whole tensor's rows.
at::Tensor part(const at::Tensor& whole, int dim, const Communicator& group) {
  return whole.chunk(group.size(), dim)[static_cast<size_t>(group.rank())];
}

}  // namespace

// With x of rank r = r + 1 times base: closed forms.
void regions_go_both_ways(Communicator& group) {
  const int64_t ranks = group.size(), rank = group.rank(), tokens = 3;
  const double all = static_cast<double>(ranks * (ranks + 1)) / 2,
               mine = static_cast<double>(rank) + 1;
  const auto in = [&](auto region) {
    return [&group, region](const at::Tensor& x) { return region(x, group); };
  };
  const at::Tensor whole = counted({2, ranks * tokens, 2}, 1);                      // [B, T, C]
  const at::Tensor slope = counted({2, ranks * tokens, 2}, -7);                     // [B, T, C]
  const at::Tensor own = part(whole, 1, group), own_slope = part(slope, 1, group);  // [B, T/P, C]

  const Both copied = run(in(copy_to_tp), whole, slope * mine);
  expect_equal(copied.y, whole, "copy_to_tp forward");
  expect_equal(copied.dx, slope * all, "copy_to_tp backward");
  // The sum may take a gradient's memory, but not that of one which others hold.
  expect_equal(run(in(copy_to_tp), whole, slope).dx, slope * ranks, "copy_to_tp, held gradient");
  expect_equal(slope, counted({2, ranks * tokens, 2}, -7), "a gradient that others hold");

  const auto reduce = [&group](const at::Tensor& x) { return reduce_from_tp(x.add(0), group); };
  const Both reduced = run(reduce, whole * mine, slope);
  expect_equal(reduced.y, whole * all, "reduce_from_tp forward");
  expect_equal(reduced.dx, slope, "reduce_from_tp backward");

  const Both gathered = run(in(gather_tokens), own, slope * mine);
  expect_equal(gathered.y, whole, "gather_tokens forward");
  expect_equal(gathered.dx, own_slope * all, "gather_tokens backward");

  const Both scattered = run(in(reduce_scatter_tokens), whole * mine, own_slope);
  expect_equal(scattered.y, own * all, "reduce_scatter_tokens forward");
  expect_equal(scattered.dx, slope, "reduce_scatter_tokens backward");
}

// Column, then row, as an MLP: against the whole matrices, both streams.
void cut_layers_equal_whole_ones(Communicator& group) {
  const int64_t ranks = group.size(), tokens = 2 * ranks, width = 3, hidden = 4 * ranks;
  for (const Stream stream : {Stream::kWhole, Stream::kOwnTokens}) {
    const bool sequence = stream == Stream::kOwnTokens && ranks > 1;
    ParameterList cut(group.rank(), group.size()), whole;
    const auto self = make_self_communicator();
    const auto forward = [&](ParameterList& list, Communicator& tp, Stream in,
                             const at::Tensor& x) {
      const ColumnLinear up({width, hidden}, "up.", list);
      const RowLinear down({hidden, width}, "down.", list, tp, in == Stream::kOwnTokens);
      list.initialise(3);
      for (const ParameterPtr& p : list.all()) {
        p->value.set_data(p->value.detach().to(at::kDouble).add(0.125));  // biases count too
      }
      return down.forward(at::gelu(up.forward(enter_cut_layer(x, tp, in))), in);
    };
    const at::Tensor x = noise({2, tokens, width}, "x"), dy = noise({2, tokens, width}, "dy");
    const at::Tensor x_whole = x.clone().requires_grad_();
    const at::Tensor y_whole = forward(whole, *self, Stream::kWhole, x_whole);
    (y_whole * dy).sum().backward();

    const auto own = [&](const at::Tensor& t) { return sequence ? part(t, 1, group) : t; };
    const at::Tensor x_cut = own(x).clone().requires_grad_();
    const at::Tensor y_cut = forward(cut, group, sequence ? stream : Stream::kWhole, x_cut);
    (y_cut * own(dy)).sum().backward();

    expect_near(y_cut.detach(), own(y_whole.detach()), "y");
    expect_near(x_cut.grad(), own(x_whole.grad()), "dx");
    for (const ParameterPtr& p : cut.all()) {
      at::Tensor expected = whole.find(p->name)->value.grad(), got = p->value.grad().clone();
      if (p->shard.cut_dim >= 0) expected = part(expected, p->shard.cut_dim, group);
      EXPECT_EQ(p->partial_gradient, sequence && p->name == "down.bias") << p->name;
      if (p->partial_gradient) group.all_reduce(got);
      expect_near(got, expected, p->name);
    }
  }
}

void vocabulary_loss_equals_the_whole_one(Communicator& group) {
  const int64_t tokens = 7, ranks = group.size();
  for (const int64_t vocab : {ranks * 3, ranks * 3 + 1, ranks + 1, int64_t{1}}) {
    for (const double smoothing : {0.0, 0.1}) {
      const std::string what =
          std::to_string(vocab) + " symbols, smoothing " + std::to_string(smoothing);
      const int64_t rows = (vocab + ranks - 1) / ranks,
                    first = std::min(vocab, group.rank() * rows);
      const int64_t real = std::min(rows, vocab - first);
      at::Tensor targets = at::arange(tokens, at::kLong).mul(5).remainder(vocab);
      targets[3].fill_(-100);
      const at::Tensor z = noise({tokens, vocab}, "z").mul(30);  // far apart: needs the largest
      const at::Tensor weights = noise({tokens}, "w");
      const at::Tensor z_whole = z.clone().requires_grad_();
      const at::Tensor expected =
          at::cross_entropy_loss(z_whole, targets, {}, at::Reduction::None, -100, smoothing);
      (expected * weights).sum().backward();
      const at::Tensor z_own = z.narrow(1, first, real).clone().requires_grad_();
      const at::Tensor loss =
          vocabulary_cross_entropy(z_own, targets, {vocab, first, smoothing, -100}, group);
      (loss * weights).sum().backward();
      expect_near(loss.detach(), expected.detach(), what);
      expect_near(z_own.grad(), z_whole.grad().narrow(1, first, real), what + ", gradient");
    }
  }
}

// All gradients 1 but for the partial ones, 1 / P on each rank: the norm squared is the number of
// real elements.
void gradient_norm_counts_each_parameter_once(Communicator& group) {
  const int64_t ranks = group.size();
  ParameterList list(group.rank(), group.size());
  list.add("cut", {3 * ranks, 2}, Init::constant(0), {.cut_dim = 0});
  list.add("columns", {5, 2 * ranks}, Init::constant(0), {.cut_dim = 1});
  list.add("whole", {4}, Init::constant(0));
  list.add("shared", {6}, Init::constant(0), {.partial_gradient = true});
  list.initialise(1);
  const auto self = make_self_communicator();
  for (const int64_t bucket_bytes : {int64_t{1}, int64_t{1} << 20}) {
    GradientBuckets buckets(list.all(), *self, group, bucket_bytes);
    buckets.begin_step();
    at::Tensor loss = at::zeros({});
    for (const ParameterPtr& p : list.all()) {
      loss = loss + p->value.sum() / (p->partial_gradient ? static_cast<double>(ranks) : 1.0);
    }
    loss.backward();
    buckets.finish_step();
    EXPECT_NEAR(buckets.norm().item<double>(),
                std::sqrt(static_cast<double>(6 * ranks + 10 * ranks + 4 + 6)), 1e-5);
    EXPECT_NEAR(list.find("shared")->value.grad()[0].item<double>(), 1, 1e-6);
  }
}

}  // namespace dagpam::parallel::cases
