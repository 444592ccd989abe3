#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "emulated_block.h"

namespace dagpam::attention::testing {
namespace {

// A 16-bit number of an operand: `line` counts rows of A or columns of B, `inner` the 16 terms.
// Along columns (K-major): 8 lines of 128 bytes a group, groups 'stride' apart. Along rows
// (MN-major): 64 lines in 128 bytes, further ones `leading` apart; 8 inner a group. The address is
// swizzled last: its bits 4 to 6 by bits 7 to 9.
float element(uint64_t descriptor, bool along_rows, int line, int inner, bool bf16) {
  const auto field = [&](int bit) {
    return static_cast<uint32_t>(descriptor >> bit & 0x3FFF) << 4;
  };
  const auto l = static_cast<uint32_t>(line), i = static_cast<uint32_t>(inner);
  const uint32_t start = field(0), leading = field(16), stride = field(32);
  uint32_t address = along_rows
                         ? start + l / 64 * leading + l % 64 * 2 + i / 8 * stride + i % 8 * 128
                         : start + l / 8 * stride + l % 8 * 128 + i * 2;
  address ^= (address >> 7 & 7) << 4;
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) fail("descriptor of another layout");
  if (!in_memory(address, 2)) return 0;
  uint16_t bits = 0;
  std::memcpy(&bits, block->async.data() + address, 2);
  return decode(bits, bf16);
}

// A fragment's element (row, inner): register of a thread, low or high half.
float of_registers(const Issued* const* issued, int row, int inner, bool bf16) {
  const int thread = row / 16 * 32 + row % 8 * 4 + inner % 8 / 2;
  const int which = row % 16 / 8 + inner / 8 * 2;
  const uint32_t pair = issued[thread]->operands.registers[which];
  return decode(inner % 2 == 0 ? pair & 0xFFFF : pair >> 16, bf16);
}

Held& held_of(Fiber& fiber, const float* at) {
  return *std::find_if(fiber.held.begin(), fiber.held.end(),
                       [at](const Held& held) { return held.at == at; });
}

void check_same(const ProductOperands& a, const ProductOperands& b) {
  if (a.a != b.a || a.b != b.b || a.adds != b.adds || a.columns != b.columns ||
      a.a_along_rows != b.a_along_rows || a.b_along_rows != b.b_along_rows) {
    fail("threads of a warpgroup ask for different products");
  }
}

void execute(int warpgroup, const std::array<const Issued*, hopper::kWarpgroup>& issued) {
  const ProductOperands& p = issued[0]->operands;
  for (const Issued* other : issued) check_same(p, other->operands);
  std::vector<float> a(64 * 16), b(static_cast<size_t>(16 * p.columns));
  for (int row = 0; row < 64; ++row) {
    for (int k = 0; k < 16; ++k) {
      a[static_cast<size_t>(row * 16 + k)] = p.registers != nullptr
                                                 ? of_registers(issued.data(), row, k, p.bf16)
                                                 : element(p.a, p.a_along_rows, row, k, p.bf16);
    }
  }
  for (int k = 0; k < 16; ++k) {
    for (int column = 0; column < p.columns; ++column) {
      b[static_cast<size_t>(k * p.columns + column)] =
          element(p.b, p.b_along_rows, column, k, p.bf16);
    }
  }
  for (int thread = 0; thread < hopper::kWarpgroup; ++thread) {
    Fiber& fiber = block->fibers[static_cast<size_t>(warpgroup * hopper::kWarpgroup + thread)];
    Held& held = held_of(fiber, issued[static_cast<size_t>(thread)]->accumulator);
    for (int i = 0; i < p.columns / 2; ++i) {
      const int row = hopper::fragment_row(thread, i), column = hopper::fragment_column(thread, i);
      float sum = p.adds ? held.values[static_cast<size_t>(i)] : 0;
      for (int k = 0; k < 16; ++k) {
        sum +=
            a[static_cast<size_t>(row * 16 + k)] * b[static_cast<size_t>(k * p.columns + column)];
      }
      held.values[static_cast<size_t>(i)] = sum;
    }
    if (--held.products == 0) {
      std::copy(held.values.begin(), held.values.end(), held.at);
      fiber.held.erase(fiber.held.begin() + (&held - fiber.held.data()));
    }
  }
}

}  // namespace

bool execute_group(int warpgroup, bool at_once) {
  const auto fiber = [&](int thread) -> Fiber& {
    return block->fibers[static_cast<size_t>(warpgroup * hopper::kWarpgroup + thread)];
  };
  for (int thread = 0; thread < hopper::kWarpgroup; ++thread) {
    if (fiber(thread).groups.size() < 2) return false;
  }
  const auto due =
      block->due.emplace(warpgroup, block->round + static_cast<int64_t>(block->random() % 8)).first;
  if (!at_once && block->round < due->second) return false;
  block->due.erase(due);
  const size_t count = fiber(0).groups.front().size();
  for (int thread = 0; thread < hopper::kWarpgroup; ++thread) {
    if (fiber(thread).groups.front().size() != count) fail("products differ within a warpgroup");
  }
  for (size_t n = 0; n < count && block->error.empty(); ++n) {
    std::array<const Issued*, hopper::kWarpgroup> issued{};
    for (int thread = 0; thread < hopper::kWarpgroup; ++thread) {
      issued[static_cast<size_t>(thread)] = &fiber(thread).groups.front()[n];
    }
    execute(warpgroup, issued);
  }
  for (int thread = 0; thread < hopper::kWarpgroup; ++thread) fiber(thread).groups.pop_front();
  return true;
}

uint32_t encode(float x, bool bf16) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, 4);
  if (bf16) return std::isnan(x) ? 0x7FC0 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const uint32_t sign = bits >> 16 & 0x8000;
  if (std::isnan(x)) return 0x7E00;
  const float magnitude = std::fabs(x);
  if (magnitude >= 65520.0F) return sign | 0x7C00;
  if (magnitude < 0x1p-14F)
    return sign | static_cast<uint32_t>(std::nearbyint(magnitude * 0x1p24F));
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  const auto mantissa = static_cast<uint32_t>(std::nearbyint(fraction * 2048));
  return sign | ((static_cast<uint32_t>(exponent + 14) << 10) + mantissa - 1024);
}

float decode(uint32_t bits, bool bf16) {
  float x = 0;
  if (bf16) {
    bits <<= 16;
    std::memcpy(&x, &bits, 4);
    return x;
  }
  const auto exponent = static_cast<int>(bits >> 10 & 31);
  const auto mantissa = static_cast<float>(bits & 1023);
  if (exponent == 31) {
    x = mantissa == 0 ? std::numeric_limits<float>::infinity()
                      : std::numeric_limits<float>::quiet_NaN();
  } else {
    x = exponent == 0 ? mantissa * 0x1p-24F : std::ldexp(mantissa + 1024, exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -x : x;
}

void Emulated::issue(float* x, const ProductOperands& operands) {
  Fiber& fiber = block->fiber();
  const auto count = static_cast<size_t>(operands.columns / 2);
  const auto found = std::find_if(fiber.held.begin(), fiber.held.end(),
                                  [x](const Held& held) { return held.at == x; });
  Held& held = found != fiber.held.end()
                   ? *found
                   : fiber.held.emplace_back(Held{x, std::vector<float>(x, x + count)});
  ++held.products;
  std::fill(x, x + count, std::numeric_limits<float>::quiet_NaN());
  fiber.groups.back().push_back({operands, x});
}

void Emulated::commit() {
  block->fiber().groups.emplace_back();
  if (block->coin()) execute_group(thread() / hopper::kWarpgroup, /*at_once=*/true);
}

void Emulated::wait_for_products(int left) {
  const int warpgroup = thread() / hopper::kWarpgroup;
  Fiber& fiber = block->fiber();
  wait_until("a product", [&fiber, left, warpgroup] {
    while (fiber.groups.size() > static_cast<size_t>(left) + 1) {
      if (!execute_group(warpgroup, /*at_once=*/false)) return false;
    }
    return true;
  });
}

}  // namespace dagpam::attention::testing
