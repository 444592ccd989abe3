// tests/attention/emulated_machine.h: a machine for the fused kernels (attention/hopper) on the
// CPU: all threads of a block as fibers, in an order drawn at random, with what the PTX ISA says of
// shared memory, mbarriers, named barriers, the copy engine and warpgroup matrix products. It is
// made to find what a GPU would only sometimes show:
// - a copy lands at once or as late as it can, a product reads its operands at once or only when it
//   is waited for, as the seed says;
// - accumulators of a product that is not waited for yet are NaN;
// - an addition by the copy engine reads shared memory at once or late, and adds at once or late;
// - what a thread stores is not seen by products until it has fenced it for the async proxy;
// - threads of a warpgroup must ask for the same product, and a block that stops is an error.
// Sums of a product are taken one after another in float32, as the model's are.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <type_traits>

#include "attention/hopper/kernel_parts.h"

namespace dagpam::attention::testing {

uint32_t encode(float x, bool bf16);  // nearest 16-bit number
float decode(uint32_t bits, bool bf16);

// A tensor [batch, rows, heads, D] of 16-bit numbers and the box that one copy takes of it.
struct EmulatedMap {
  const uint16_t* data = nullptr;
  int64_t batch = 0, rows = 0, heads = 0, width = 0;
  int64_t batch_stride = 0, row_stride = 0, head_stride = 0;
  int box_rows = 0;
};

struct ProductOperands {
  uint64_t a = 0, b = 0;  // descriptors; a == 0: from registers
  const uint32_t* registers = nullptr;
  bool a_along_rows = false, b_along_rows = false, adds = false, bf16 = false;
  int columns = 0;
};

// Runs `body` as each thread of a grid, block after block. Throws std::runtime_error where a block
// stops before its end or asks for what the machine forbids.
struct Grid {
  int threads = 384, x = 1, y = 1, z = 1;
};
void emulate(const Grid& grid, uint64_t seed, const std::function<void()>& body);

struct Emulated {
  using TensorMap = EmulatedMap;

  static int thread();
  static int warpgroup() { return thread() / hopper::kWarpgroup; }
  static int block_x();
  static int block_y();
  static int block_z();
  static uint32_t shared_base() { return 1024; }

  static void barrier_init(uint32_t at, int count);
  static void fence_barriers() {}
  static void barrier_arrive(uint32_t at);
  static void barrier_expect(uint32_t at, uint32_t bytes);
  static void barrier_wait(uint32_t at, uint32_t parity);
  static void named_sync(int id, int threads);
  static void named_arrive(int id, int threads);
  static void sync_block();
  static void sync_warp();

  static void load_tile(const EmulatedMap& map, uint32_t to, uint32_t barrier, int32_t column,
                        int32_t row, int32_t head, int32_t batch);
  static void load_bytes(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier);

  static uint32_t load_word(uint32_t at);
  static uint32_t load_volatile(uint32_t at) { return load_word(at); }
  static float load_float(uint32_t at);
  static void load_pair(uint32_t at, float (&x)[2]);
  static void load_four(uint32_t at, float (&x)[4]);
  static void store_four(uint32_t at, float a, float b, float c, float d);
  static void store(uint32_t at, uint32_t x);
  static void store(uint32_t at, float x);
  static void fence_async();

  template <int kCount>
  static void pin(float (&)[kCount]) {}
  template <int kCount>
  static void pin(uint32_t (&)[kCount]) {}
  template <int kCount>
  static void open(float (&)[kCount]) {}
  template <class T, bool kARows, bool kBRows, int kCount>
  static void product(float (&x)[kCount], uint32_t a, uint32_t b, bool adds) {
    issue(x, {whole(a), whole(b), nullptr, kARows, kBRows, adds, std::is_same_v<T, hopper::Bf16>,
              2 * kCount});
  }
  template <class T, int kCount>
  static void product_rows(float (&x)[kCount], const uint32_t* a, uint32_t b, bool adds) {
    issue(x, {0, whole(b), a, false, true, adds, std::is_same_v<T, hopper::Bf16>, 2 * kCount});
  }
  template <class T, int kCount>
  static void product_columns(float (&x)[kCount], const uint32_t* a, uint32_t b, bool adds) {
    issue(x, {0, whole(b), a, false, false, adds, std::is_same_v<T, hopper::Bf16>, 2 * kCount});
  }
  static void commit();
  template <int kLeft, int kCount>
  static void wait(float (&)[kCount]) {
    wait_for_products(kLeft);
  }

  static int anew(int x) { return x; }
  static void finish_first(float) {}

  template <class T>
  static uint32_t pack(float low, float high) {
    constexpr bool kBf16 = std::is_same_v<T, hopper::Bf16>;
    return encode(low, kBf16) | encode(high, kBf16) << 16;
  }
  template <class T>
  static float low(uint32_t pair) {
    return decode(pair & 0xFFFF, std::is_same_v<T, hopper::Bf16>);
  }
  template <class T>
  static float high(uint32_t pair) {
    return decode(pair >> 16, std::is_same_v<T, hopper::Bf16>);
  }
  static uint32_t relu(uint32_t pair) { return pair & ~((pair >> 15 & 0x00010001U) * 0xFFFFU); }

  static uint32_t bits(float x);
  static float infinity() { return std::numeric_limits<float>::infinity(); }
  static float max(float a, float b) { return std::fmax(a, b); }
  static float exp2(float x) { return std::exp2(x); }
  static float log2(float x) { return std::log2(x); }
  static float shuffle_xor(float x, int mask);
  static void add_four(float* to, float a, float b, float c, float d);
  static void fence_device() {}
  static void add_bytes(float* to, uint32_t from, uint32_t bytes);
  static void wait_sums_read();
  static void wait_turn(const int32_t* counter, int32_t value);
  static void end_turn(int32_t* counter);

  template <int kCount>
  static void fewer_registers() {}
  template <int kCount>
  static void more_registers() {}

 private:
  static uint64_t whole(uint32_t low) { return uint64_t{hopper::kDescriptorHigh} << 32 | low; }
  static void issue(float* x, const ProductOperands& operands);
  static void wait_for_products(int left);
};

}  // namespace dagpam::attention::testing
