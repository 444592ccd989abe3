#include "parallel/master_weights.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>

#include "parallel/random.h"

namespace dagpam::parallel {
namespace {

int64_t product(const int64_t* begin, const int64_t* end) {
  return std::accumulate(begin, end, int64_t{1}, std::multiplies<>());
}

// Rows of a shard as `runs` pieces of `length` neighbours in the global tensor: piece r starts at
// element start + r * stride of it.
struct Runs {
  int64_t runs = 1, length = 0, start = 0, stride = 0;
};

Runs runs_of(const at::Tensor& rows, const ShardSpec& shard, int64_t first_row) {
  const std::vector<int64_t>& global = shard.global_shape;
  if (global.empty()) return {1, rows.numel(), 0, 0};
  const int64_t* const end = global.data() + global.size();
  if (shard.cut_dim <= 0) {
    const int64_t first = first_row + (shard.cut_dim == 0 ? shard.offset : 0);
    return {1, rows.numel(), first * product(global.data() + 1, end), 0};
  }
  const int64_t* const cut = global.data() + shard.cut_dim;
  const int64_t inner = product(cut + 1, end);
  const int64_t before = product(global.data() + 1, cut);  // pieces a row
  const int64_t length = rows.size(shard.cut_dim) * inner, stride = *cut * inner;
  return {rows.size(0) * before, length, first_row * before * stride + shard.offset * inner,
          stride};
}

// out[i] <- in[i], drawn for global element start + i: eight elements share a call.
void round_run(const float* in, uint16_t* out, int64_t count, int64_t start, uint64_t key) {
  for (int64_t i = 0; i < count;) {
    const auto element = static_cast<uint64_t>(start + i);
    const uint64_t group = element / 8;
    const auto words =
        philox4x32({static_cast<uint32_t>(group), static_cast<uint32_t>(group >> 32), 0, 0}, key);
    for (uint64_t j = element % 8; j < 8 && i < count; ++j, ++i) {
      out[i] = round_stochastically(in[i], static_cast<uint16_t>(words[j / 2] >> (16 * (j % 2))));
    }
  }
}

}  // namespace

bool has_master(const Parameter& parameter) {
  return parameter.value.scalar_type() == at::kBFloat16;
}

at::ScalarType sum_type(const Parameter& parameter) {
  return has_master(parameter) ? at::kFloat : parameter.value.scalar_type();
}

uint16_t round_stochastically(float value, uint16_t random) {
  if (!std::isfinite(value)) return c10::BFloat16(value).x;
  return static_cast<uint16_t>((std::bit_cast<uint32_t>(value) + random) >> 16);
}

void round_weights(const at::Tensor& master, const at::Tensor& weights, const Parameter& parameter,
                   int64_t first_row, const Rounding& rounding) {
  const c10::AutoGradMode no_grad(false);
  if (!rounding.stochastic) {
    weights.copy_(master);
    return;
  }
  if (!weights.is_cpu()) {  // drawn on the host: right, not fast
    const at::Tensor drawn = weights.to(at::kCPU).contiguous();
    round_weights(master.to(at::kCPU).contiguous(), drawn, parameter, first_row, rounding);
    weights.copy_(drawn);
    return;
  }
  TORCH_CHECK(master.scalar_type() == at::kFloat && weights.scalar_type() == at::kBFloat16 &&
                  master.is_contiguous() && weights.is_contiguous() &&
                  master.sizes() == weights.sizes(),
              "stochastic rounding of '", parameter.name, "' takes contiguous float32 ",
              master.sizes(), " to bfloat16 ", weights.sizes());
  constexpr int64_t kGrain = 1 << 15;
  const uint64_t key = rounding_key(rounding.seed, rounding.step, parameter.name);
  const Runs runs = runs_of(master, parameter.shard, first_row);
  const auto* in = master.const_data_ptr<float>();
  auto* out = reinterpret_cast<uint16_t*>(weights.mutable_data_ptr<c10::BFloat16>());
  for (int64_t run = 0; run < runs.runs; ++run) {
    const int64_t at = run * runs.length, start = runs.start + run * runs.stride;
    at::parallel_for(0, runs.length, kGrain, [&](int64_t begin, int64_t end) {
      round_run(in + at + begin, out + at + begin, end - begin, start + begin, key);
    });
  }
}

}  // namespace dagpam::parallel
