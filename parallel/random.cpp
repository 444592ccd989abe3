#include "parallel/random.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <span>
#include <string_view>

namespace dagpam::parallel {
namespace {

// Third counter word of the calls that turn a seed into keys: one value for each use.
enum class KeyUse : uint32_t {
  kDropout = 0x64726f70,
  kInitialisation = 0x696e6974,
  kRounding = 0x726f756e
};

constexpr double kTwoTo32 = 4294967296.0;

uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }

uint64_t derive_key(uint64_t seed, uint64_t what, KeyUse use, uint32_t detail) {
  const auto words = philox4x32({low(what), high(what), static_cast<uint32_t>(use), detail}, seed);
  return (static_cast<uint64_t>(words[1]) << 32) | words[0];
}

// FNV-1a, 64 bits.
uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char letter : name) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3ull;
  }
  return hash;
}

// Standard normal numbers of the global elements 4 * group to 4 * group + 3 (Box and Muller 1958).
std::array<double, 4> four_normals(uint64_t group, uint64_t key) {
  const auto words = philox4x32({low(group), high(group), 0, 0}, key);
  std::array<double, 4> normals{};
  for (size_t pair = 0; pair < 4; pair += 2) {
    const double u = (words[pair] + 0.5) / kTwoTo32;  // never 0: the logarithm is finite
    const double angle = 2 * std::numbers::pi * (words[pair + 1] / kTwoTo32);
    const double radius = std::sqrt(-2 * std::log(u));
    normals[pair] = radius * std::cos(angle);
    normals[pair + 1] = radius * std::sin(angle);
  }
  return normals;
}

// out[i] <- deviation * normal of global element start + i.
template <class Real>
void fill_normal(std::span<Real> out, uint64_t start, double deviation, uint64_t key) {
  for (size_t i = 0; i < out.size();) {
    const uint64_t index = start + i;
    const auto normals = four_normals(index / 4, key);
    const size_t skip = index % 4, count = std::min(4 - skip, out.size() - i);
    for (size_t j = 0; j < count; ++j) {
      out[i + j] = static_cast<Real>(deviation * normals[skip + j]);
    }
    i += count;
  }
}

// A shard as runs of elements that are neighbours in the global tensor too: `runs` of them,
// `length` each, of which the first `real` lie inside the global tensor (the rest is padding).
struct Runs {
  int64_t runs = 1, length = 1, real = 1;
  int64_t global_stride = 0, global_start = 0;
};

int64_t product(c10::IntArrayRef extents) {
  return std::accumulate(extents.begin(), extents.end(), int64_t{1}, std::multiplies<>());
}

Runs runs_of(const at::Tensor& value, const ShardSpec& shard, std::string_view name) {
  const c10::IntArrayRef local = value.sizes(), global(shard.global_shape);
  const int cut = shard.cut_dim;
  TORCH_CHECK(local.size() == global.size(), "parameter '", name, "': the shard ", local,
              " and the global shape ", global, " differ in dimensions");
  TORCH_CHECK(cut >= -1 && cut < value.dim(), "parameter '", name, "': cut dimension ", cut,
              " of a tensor of ", value.dim(), " dimensions");
  for (int64_t dim = 0; dim < value.dim(); ++dim) {
    TORCH_CHECK(dim == cut || local[static_cast<size_t>(dim)] == global[static_cast<size_t>(dim)],
                "parameter '", name, "': the shard ", local, " of ", global,
                " differs in dimension ", dim, ", but is cut along ", cut);
  }
  if (cut == -1) {
    return {1, value.numel(), value.numel(), 0, 0};
  }
  const auto at_cut = static_cast<size_t>(cut);
  const int64_t inner = product(global.slice(at_cut + 1));
  TORCH_CHECK(shard.offset >= 0, "parameter '", name, "': negative offset ", shard.offset);
  const int64_t rows = shard.real_rows(local[at_cut]);
  return {product(global.slice(0, at_cut)), local[at_cut] * inner, rows * inner,
          global[at_cut] * inner, shard.offset * inner};
}

template <class Real>
void fill(const at::Tensor& value, const Runs& runs, const Init& init, uint64_t key) {
  constexpr int64_t kGrain = 4096;
  auto* data = value.mutable_data_ptr<Real>();
  for (int64_t run = 0; run < runs.runs; ++run) {
    Real* out = data + run * runs.length;
    std::fill(out + runs.real, out + runs.length, Real(0));
    if (init.kind == Init::Kind::kConstant) {
      std::fill(out, out + runs.real, static_cast<Real>(init.value));
      continue;
    }
    const int64_t start = run * runs.global_stride + runs.global_start;
    at::parallel_for(0, runs.real, kGrain, [&](int64_t begin, int64_t end) {
      fill_normal(std::span<Real>(out + begin, out + end), static_cast<uint64_t>(start + begin),
                  init.deviation, key);
    });
  }
}

}  // namespace

uint64_t dropout_key(uint64_t seed, int64_t step, int64_t layer, DropoutSite site) {
  // 2^24 layers and 2^8 sites share a word.
  TORCH_CHECK(layer >= -1 && layer < (1 << 24) - 1, "dropout key: layer ", layer);
  const uint32_t place = (static_cast<uint32_t>(layer + 1) << 8) | static_cast<uint32_t>(site);
  return derive_key(seed, static_cast<uint64_t>(step), KeyUse::kDropout, place);
}

uint64_t key_on_host(const DropoutKey& key) {
  if (!key.lying.defined()) return key.value;
  TORCH_CHECK(key.lying.is_cpu() && key.lying.scalar_type() == at::kLong && key.lying.numel() == 1,
              "a dropout key of ", key.lying.scalar_type(), " ", key.lying.sizes(), " on ",
              key.lying.device(), " is not one on the CPU");
  return static_cast<uint64_t>(*key.lying.const_data_ptr<int64_t>());
}

uint64_t rounding_key(uint64_t seed, int64_t step, std::string_view name) {
  const uint64_t of_name = derive_key(seed, hash_name(name), KeyUse::kRounding, 0);
  return derive_key(of_name, static_cast<uint64_t>(step), KeyUse::kRounding, 1);
}

uint32_t dropout_threshold(double p) {
  TORCH_CHECK(p >= 0 && p < 1, "dropout probability ", p, " is outside [0, 1)");
  return static_cast<uint32_t>(std::min(std::nearbyint(p * kTwoTo32), kTwoTo32 - 1));
}

void initialise(const at::Tensor& value, const ShardSpec& shard, const Init& init, uint64_t seed,
                std::string_view name) {
  TORCH_CHECK(value.device().is_cpu(), "parameter '", name, "' is on ", value.device(),
              ", but only CPU tensors can be initialised here");
  const c10::AutoGradMode no_grad(false);
  const uint64_t key = derive_key(seed, hash_name(name), KeyUse::kInitialisation, 0);
  const Runs runs = runs_of(value, shard, name);
  if (value.scalar_type() == at::kDouble && value.is_contiguous()) {
    fill<double>(value, runs, init, key);
  } else if (value.scalar_type() == at::kFloat && value.is_contiguous()) {
    fill<float>(value, runs, init, key);
  } else {
    const at::Tensor whole = at::empty(value.sizes(), at::TensorOptions(at::kFloat));
    fill<float>(whole, runs, init, key);
    value.copy_(whole);
  }
}

}  // namespace dagpam::parallel
