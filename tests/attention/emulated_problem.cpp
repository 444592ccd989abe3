#include "emulated_problem.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "attention/hopper/backward_kernel.h"
#include "attention/hopper/forward_kernel.h"
#include "attention/hopper/side_kernels.h"
#include "emulated_machine.h"

namespace dagpam::attention::testing {
namespace {

using hopper::kKeyTile;
using hopper::kQueryTile;
using hopper::ModelAnswer;
using hopper::ModelGradients;
using Numbers = std::vector<uint16_t>;

Numbers numbers(const std::vector<float>& x, bool bf16) {
  Numbers out(x.size());
  std::transform(x.begin(), x.end(), out.begin(),
                 [bf16](float value) { return static_cast<uint16_t>(encode(value, bf16)); });
  return out;
}

std::vector<float> floats(const Numbers& x, bool bf16) {
  std::vector<float> out(x.size());
  std::transform(x.begin(), x.end(), out.begin(),
                 [bf16](uint16_t bits) { return decode(bits, bf16); });
  return out;
}

EmulatedMap map_of(const Numbers& x, int64_t batch, int64_t rows, int64_t heads, int64_t width,
                   int box_rows) {
  return {x.data(),      batch, rows,    heads, width, rows * heads * width,
          heads * width, width, box_rows};
}

// The head's matrix [D][D] in the place of rows of a head.
EmulatedMap map_of_w(const Numbers& w, int64_t heads, int64_t width) {
  return {w.data(), 1, width, heads, width, 0, width, width * width, static_cast<int>(width)};
}

// What stays alive while the kernels run: the sight's arrays.
struct SightOf {
  std::vector<int32_t> bounds;
  std::vector<hopper::TileRange> ranges;
  hopper::Sight sight;

  explicit SightOf(const EmulatedProblem& problem) {
    const EmulatedShape& s = problem.shape;
    sight.queries = static_cast<int32_t>(s.queries);
    sight.keys = static_cast<int32_t>(s.keys);
    sight.causal = s.causal;
    if (!s.intervals) return;
    bounds = problem.first;
    bounds.insert(bounds.end(), problem.last.begin(), problem.last.end());
    sight.bounds = bounds.data();
    sight.bounds_batch = s.queries;
    sight.bounds_last = s.batch * s.queries;
    const int64_t count = hopper::tiles(s.queries, kQueryTile);
    ranges.resize(static_cast<size_t>(s.batch * count));
    const hopper::RangesParams params{sight, static_cast<int32_t>(s.batch), ranges.data()};
    const auto blocks = static_cast<int>(hopper::tiles(s.batch * count, hopper::kRangesThreads));
    emulate({hopper::kRangesThreads, blocks, 1, 1}, 1,
            [&] { hopper::find_ranges<Emulated>(params); });
    sight.ranges = ranges.data();
    sight.ranges_batch = count;
  }
};

template <class T, int D>
ModelAnswer forward(const EmulatedProblem& problem, uint64_t seed) {
  const EmulatedShape& s = problem.shape;
  const bool bf16 = problem.bf16;
  const Numbers q = numbers(problem.q, bf16), k = numbers(problem.k, bf16);
  const Numbers v = numbers(problem.v, bf16), w = numbers(problem.w_neg, bf16);
  Numbers q_neg = numbers(problem.q_neg, bf16);
  q_neg.resize(q.size());
  const hopper::ForwardMaps<EmulatedMap> maps{
      map_of(q, s.batch, s.queries, s.heads, D, kQueryTile),
      map_of(q_neg, s.batch, s.queries, s.heads, D, kQueryTile),
      map_of(k, s.batch, s.keys, s.kv_heads, D, kKeyTile),
      map_of(v, s.batch, s.keys, s.kv_heads, D, kKeyTile), map_of_w(w, s.heads, D)};
  const SightOf sight(problem);
  const int64_t tile_count = hopper::tiles(s.queries, kQueryTile);
  Numbers y(q.size()), o(2 * q.size());
  ModelAnswer answer;
  answer.lse2.resize(static_cast<size_t>(2 * s.batch * s.heads * tile_count * kQueryTile));
  hopper::ForwardParams params;
  params.sight = sight.sight;
  params.heads = static_cast<int32_t>(s.heads);
  params.group = static_cast<int32_t>(s.heads / s.kv_heads);
  params.plus = problem.plus.data();
  params.minus = problem.minus.data();
  params.lambda_stride = 1;
  params.forms_q_neg = s.forms_q_neg;
  params.scale2 = problem.model().scale() * hopper::kLog2E;
  params.y = y.data();
  params.o = o.data();
  params.q_neg = s.forms_q_neg ? q_neg.data() : nullptr;
  params.lse2 = answer.lse2.data();
  params.batch = static_cast<int32_t>(s.batch);
  params.section = static_cast<int32_t>(s.kv_heads);
  params.blocks = static_cast<int32_t>(std::min<int64_t>(s.batch * s.heads * tile_count, 2));
  emulate({hopper::kThreads, params.blocks, 1, 1}, seed,
          [&] { hopper::ForwardBlock<Emulated, T, D>(maps, params).run(); });
  answer.y = floats(y, bf16);
  answer.o = floats(o, bf16);
  answer.q_neg = floats(q_neg, bf16);
  return answer;
}

// Buffers that the kernels of backward hand on.
struct BackwardBuffers {
  std::vector<uint32_t> rows;
  std::vector<float> dq;
  std::vector<int32_t> turns;

  BackwardBuffers(const EmulatedShape& s, int64_t tile_count)
      : rows(static_cast<size_t>(s.batch * s.heads * tile_count * hopper::kRowWords * kQueryTile)),
        dq(static_cast<size_t>(2 * s.batch * s.heads * tile_count * kQueryTile * s.width)),
        turns(static_cast<size_t>(2 * s.batch * s.heads * tile_count)) {}
};

void sum_lambdas(const EmulatedShape& s, const BackwardBuffers& buffers, int64_t tile_count,
                 ModelGradients& out) {
  for (int64_t i = 0; i < s.batch * s.heads * tile_count; ++i) {
    const auto h = static_cast<size_t>(i / tile_count % s.heads);
    const uint32_t* const words = buffers.rows.data() + i * hopper::kRowWords * kQueryTile;
    for (int r = 0; r < 4 * kQueryTile; ++r) {
      float x = 0;
      std::memcpy(&x, words + r, 4);
      out.rows.push_back(x);
      if (r / kQueryTile == hopper::kDotPlus) out.dplus[h] += x;
      if (r / kQueryTile == hopper::kDotMinus) out.dminus[h] -= x;
    }
  }
}

template <class T, int D>
ModelGradients backward(const EmulatedProblem& problem, const ModelAnswer& answer,
                        bool deterministic, uint64_t seed) {
  const EmulatedShape& s = problem.shape;
  const bool bf16 = problem.bf16;
  const auto batch = static_cast<int32_t>(s.batch), heads = static_cast<int32_t>(s.heads);
  const int64_t tile_count = hopper::tiles(s.queries, kQueryTile);
  const auto grid_tiles = static_cast<int>(tile_count);
  const Numbers q = numbers(problem.q, bf16), k = numbers(problem.k, bf16);
  const Numbers v = numbers(problem.v, bf16), w = numbers(problem.w_neg, bf16);
  const Numbers q_neg = numbers(answer.q_neg, bf16), o = numbers(answer.o, bf16);
  const Numbers dy = numbers(problem.dy, bf16);
  Numbers dq(q.size()), dq_neg(q.size()), dk(k.size()), dv(v.size());
  const SightOf sight(problem);
  BackwardBuffers buffers(s, tile_count);

  const hopper::RowsParams rows{
      sight.sight, batch, heads, dy.data(), o.data(), answer.lse2.data(), buffers.rows.data()};
  emulate({hopper::kRowsThreads, grid_tiles, heads, batch}, seed,
          [&] { hopper::prepare_rows<Emulated, T, D>(rows); });

  const hopper::BackwardMaps<EmulatedMap> maps{
      map_of(q, s.batch, s.queries, s.heads, D, kQueryTile),
      map_of(q_neg, s.batch, s.queries, s.heads, D, kQueryTile),
      map_of(dy, s.batch, s.queries, s.heads, D, kQueryTile),
      map_of(k, s.batch, s.keys, s.kv_heads, D, kKeyTile),
      map_of(v, s.batch, s.keys, s.kv_heads, D, kKeyTile)};
  hopper::BackwardParams params;
  params.sight = sight.sight;
  params.batch = batch;
  params.heads = heads;
  params.kv_heads = static_cast<int32_t>(s.kv_heads);
  params.plus = problem.plus.data();
  params.minus = problem.minus.data();
  params.lambda_stride = 1;
  params.scale = problem.model().scale();
  params.scale2 = params.scale * hopper::kLog2E;
  params.rows = buffers.rows.data();
  params.dq = buffers.dq.data();
  params.turns = deterministic ? buffers.turns.data() : nullptr;
  params.dk = dk.data();
  params.dv = dv.data();
  emulate(
      {hopper::kThreads, static_cast<int>(hopper::tiles(s.keys, kKeyTile)), params.kv_heads, batch},
      seed + 1, [&] { hopper::BackwardBlock<Emulated, T, D>(maps, params).run(); });

  hopper::FinishParams finish;
  finish.batch = batch;
  finish.queries = static_cast<int32_t>(s.queries);
  finish.heads = heads;
  finish.scale = params.scale;
  finish.dq = buffers.dq.data();
  finish.through_map = s.forms_q_neg;
  finish.dq_out = dq.data();
  finish.dq_neg_out = dq_neg.data();
  const int64_t runs = hopper::finish_runs(s.queries), of_map = s.heads * D * D;
  std::vector<float> dw_runs(static_cast<size_t>(s.batch * runs * of_map));
  finish.dw_runs = dw_runs.data();
  const hopper::FinishMaps<EmulatedMap> finish_maps{maps.q, map_of_w(w, s.heads, D)};
  emulate({hopper::FinishShared<D>::kThreads, static_cast<int>(runs), heads, batch}, seed + 2,
          [&] { hopper::FinishBlock<Emulated, T, D>(finish_maps, finish).run(); });

  ModelGradients out;
  out.dq = floats(dq, bf16);
  if (s.forms_q_neg) {
    out.dw_neg.resize(static_cast<size_t>(of_map));
    for (size_t i = 0; i < dw_runs.size(); ++i) out.dw_neg[i % out.dw_neg.size()] += dw_runs[i];
  } else {
    out.dq_neg = floats(dq_neg, bf16);
  }
  out.dk = floats(dk, bf16);
  out.dv = floats(dv, bf16);
  out.dplus.resize(static_cast<size_t>(s.heads));
  out.dminus.resize(static_cast<size_t>(s.heads));
  sum_lambdas(s, buffers, tile_count, out);
  return out;
}

}  // namespace

EmulatedProblem::EmulatedProblem(const EmulatedShape& given, bool is_bf16, uint64_t seed)
    : shape(given), bf16(is_bf16) {
  std::mt19937_64 random(seed);
  const auto fill = [&](std::vector<float>& x, int64_t count, double deviation) {
    std::normal_distribution<double> normal(0, deviation);
    x.resize(static_cast<size_t>(count));
    for (float& value : x) value = decode(encode(static_cast<float>(normal(random)), bf16), bf16);
  };
  const EmulatedShape& s = shape;
  const int64_t of_queries = s.batch * s.queries * s.heads * s.width;
  const int64_t of_keys = s.batch * s.keys * s.kv_heads * s.width;
  fill(q, of_queries, s.deviation);
  fill(k, of_keys, s.deviation);
  fill(v, of_keys, 1);
  fill(w_neg, s.heads * s.width * s.width, 1 / std::sqrt(static_cast<double>(s.width)));
  fill(dy, of_queries, 1);
  if (!s.forms_q_neg) fill(q_neg, of_queries, s.deviation);
  for (int64_t h = 0; h < s.heads; ++h) {
    plus.push_back(static_cast<float>(s.plus + 0.1 * static_cast<double>(h)));
    minus.push_back(static_cast<float>(s.minus - 0.2 * static_cast<double>(h)));
  }
  for (int64_t i = 0; i < s.batch * s.queries; ++i) {
    const int64_t own = i % s.queries + s.keys - s.queries + 1;
    int64_t begin = 0, end = s.keys;
    if (s.window > 0) {
      begin = std::max<int64_t>(0, own - s.window);
    } else if (s.intervals) {
      begin = static_cast<int64_t>(random() % static_cast<uint64_t>(s.keys + 1));
      end = static_cast<int64_t>(random() % static_cast<uint64_t>(s.keys + 1));
      if (random() % 4 != 0 && begin > end) std::swap(begin, end);
    }
    if (s.causal) end = std::min(end, std::clamp<int64_t>(own, 0, s.keys));
    first.push_back(static_cast<int32_t>(begin));
    last.push_back(static_cast<int32_t>(end));
  }
}

hopper::ModelProblem EmulatedProblem::model() const {
  hopper::ModelProblem p;
  p.batch = shape.batch;
  p.queries = shape.queries;
  p.keys = shape.keys;
  p.heads = shape.heads;
  p.kv_heads = shape.kv_heads;
  p.width = shape.width;
  p.q = q.data();
  p.q_neg = shape.forms_q_neg ? nullptr : q_neg.data();
  p.w_neg = shape.forms_q_neg ? w_neg.data() : nullptr;
  p.k = k.data();
  p.v = v.data();
  p.plus = plus.data();
  p.minus = minus.data();
  p.first = first.data();
  p.last = last.data();
  p.rounding = bf16 ? hopper::Rounding::kBf16 : hopper::Rounding::kFp16;
  return p;
}

ModelAnswer emulated_forward(const EmulatedProblem& problem, uint64_t seed) {
  using hopper::Bf16;
  using hopper::Fp16;
  if (problem.shape.width == 64) {
    return problem.bf16 ? forward<Bf16, 64>(problem, seed) : forward<Fp16, 64>(problem, seed);
  }
  return problem.bf16 ? forward<Bf16, 128>(problem, seed) : forward<Fp16, 128>(problem, seed);
}

ModelGradients emulated_backward(const EmulatedProblem& problem, const ModelAnswer& answer,
                                 bool deterministic, uint64_t seed) {
  using hopper::Bf16;
  using hopper::Fp16;
  if (problem.shape.width == 64) {
    return problem.bf16 ? backward<Bf16, 64>(problem, answer, deterministic, seed)
                        : backward<Fp16, 64>(problem, answer, deterministic, seed);
  }
  return problem.bf16 ? backward<Bf16, 128>(problem, answer, deterministic, seed)
                      : backward<Fp16, 128>(problem, answer, deterministic, seed);
}

}  // namespace dagpam::attention::testing
