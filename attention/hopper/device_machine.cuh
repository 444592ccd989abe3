// attention/hopper/device_machine.cuh: the GPU, as kernel_parts.h asks for it: PTX of sm_90a, one
// instruction or idiom a function.
#pragma once

#include <type_traits>

#include "attention/hopper/device_products.cuh"
#include "attention/hopper/kernel_parts.h"
#include "attention/hopper/tensor_map.h"

namespace dagpam::attention::hopper {

extern __shared__ uint8_t dynamic_shared[];

struct Device {
  using TensorMap = hopper::TensorMap;

  static __device__ __forceinline__ int thread() { return static_cast<int>(threadIdx.x); }
  // Which warpgroup a thread is of, so that the compiler knows it to be the same for a whole warp.
  static __device__ __forceinline__ int warpgroup() {
    return __shfl_sync(0xFFFFFFFFU, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
  }
  static __device__ __forceinline__ int block_x() { return static_cast<int>(blockIdx.x); }
  static __device__ __forceinline__ int block_y() { return static_cast<int>(blockIdx.y); }
  static __device__ __forceinline__ int block_z() { return static_cast<int>(blockIdx.z); }
  // The swizzle wants tiles on 1024 bytes; the launch asks for 1024 bytes more than the tiles.
  static __device__ __forceinline__ uint32_t shared_base() {
    return (static_cast<uint32_t>(__cvta_generic_to_shared(dynamic_shared)) + 1023U) & ~1023U;
  }

  static __device__ __forceinline__ void barrier_init(uint32_t at, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(count) : "memory");
  }
  // Makes them known to the copy engine.
  static __device__ __forceinline__ void fence_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  static __device__ __forceinline__ void barrier_arrive(uint32_t at) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory");
  }
  static __device__ __forceinline__ void barrier_expect(uint32_t at, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes)
                 : "memory");
  }
  static __device__ __forceinline__ void barrier_wait(uint32_t at, uint32_t parity) {
    uint32_t done = 0;
    while (done == 0) {
      asm volatile(
          "{\n.reg .pred p;\n"
          "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
          "selp.u32 %0, 1, 0, p;\n}\n"
          : "=r"(done)
          : "r"(at), "r"(parity)
          : "memory");
    }
  }
  static __device__ __forceinline__ void named_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
  }
  static __device__ __forceinline__ void named_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
  }
  static __device__ __forceinline__ void sync_block() { __syncthreads(); }
  static __device__ __forceinline__ void sync_warp() { __syncwarp(); }

  static __device__ __forceinline__ void load_tile(const TensorMap& map, uint32_t to,
                                                   uint32_t barrier, int32_t column, int32_t row,
                                                   int32_t head, int32_t batch) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
        "l"(reinterpret_cast<uint64_t>(&map)), "r"(barrier), "r"(column), "r"(row), "r"(head),
        "r"(batch)
        : "memory");
  }
  static __device__ __forceinline__ void load_bytes(uint32_t to, const void* from, uint32_t bytes,
                                                    uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
            "r"(to),
        "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barrier)
        : "memory");
  }

  static __device__ __forceinline__ uint32_t load_word(uint32_t at) {
    uint32_t x;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x) : "r"(at) : "memory");
    return x;
  }
  static __device__ __forceinline__ float load_float(uint32_t at) {
    float x;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(at) : "memory");
    return x;
  }
  static __device__ __forceinline__ uint32_t load_volatile(uint32_t at) {
    uint32_t x;
    asm volatile("ld.volatile.shared.b32 %0, [%1];" : "=r"(x) : "r"(at) : "memory");
    return x;
  }
  static __device__ __forceinline__ void load_pair(uint32_t at, float (&x)[2]) {
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x[0]), "=f"(x[1]) : "r"(at) : "memory");
  }
  static __device__ __forceinline__ void load_four(uint32_t at, float (&x)[4]) {
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
                 : "r"(at)
                 : "memory");
  }
  static __device__ __forceinline__ void store_four(uint32_t at, float a, float b, float c,
                                                    float d) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(at), "f"(a), "f"(b), "f"(c),
                 "f"(d)
                 : "memory");
  }
  static __device__ __forceinline__ void store(uint32_t at, uint32_t x) {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(x) : "memory");
  }
  static __device__ __forceinline__ void store(uint32_t at, float x) {
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(at), "f"(x) : "memory");
  }
  static __device__ __forceinline__ void fence_async() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }

  // Accumulators change behind the compiler's back from open() to wait(): it must not keep or move
  // copies of them across either.
  template <int kCount>
  static __device__ __forceinline__ void pin(float (&x)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(x[i])::"memory");
  }
  // Register operands: they are formed before what follows.
  template <int kCount>
  static __device__ __forceinline__ void pin(uint32_t (&x)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(x[i])::"memory");
  }
  template <int kCount>
  static __device__ __forceinline__ void open(float (&x)[kCount]) {
    pin(x);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  }
  template <class T, bool kARows, bool kBRows, int kCount>
  static __device__ __forceinline__ void product(float (&x)[kCount], uint32_t a, uint32_t b,
                                                 bool adds) {
    ptx::Products<T>::template shared<kARows, kBRows>(x, a, b, adds);
  }
  template <class T, int kCount>
  static __device__ __forceinline__ void product_rows(float (&x)[kCount], const uint32_t* a,
                                                      uint32_t b, bool adds) {
    ptx::Products<T>::template registers<true>(x, a, b, adds);
  }
  template <class T, int kCount>
  static __device__ __forceinline__ void product_columns(float (&x)[kCount], const uint32_t* a,
                                                         uint32_t b, bool adds) {
    ptx::Products<T>::template registers<false>(x, a, b, adds);
  }
  static __device__ __forceinline__ void commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  }
  template <int kLeft, int kCount>
  static __device__ __forceinline__ void wait(float (&x)[kCount]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
    pin(x);
  }

  // x, which the compiler knows nothing of: what is computed from it is computed where it is wanted
  // and not kept over a loop, for which there are no registers.
  static __device__ __forceinline__ int anew(int x) {
    asm volatile("{\n.reg .b32 z;\nmov.u32 z, %%clock;\nand.b32 z, z, 0;\nadd.s32 %0, %0, z;\n}"
                 : "+r"(x));
    return x;
  }
  // What made x, which is never negative, comes before what follows: the assembler moves a wait for
  // products up over anything that does not need them, but not over this.
  static __device__ __forceinline__ void finish_first(float x) {
    if (x < 0) asm volatile("trap;");
  }

  template <class T>
  static __device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t pair;
    if constexpr (std::is_same_v<T, Bf16>) {
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    } else {
      asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    }
    return pair;
  }
  template <class T>
  static __device__ __forceinline__ float low(uint32_t pair) {
    if constexpr (std::is_same_v<T, Bf16>) return __uint_as_float(pair << 16);
    return wide(static_cast<uint16_t>(pair & 0xFFFFU));
  }
  template <class T>
  static __device__ __forceinline__ float high(uint32_t pair) {
    if constexpr (std::is_same_v<T, Bf16>) return __uint_as_float(pair & 0xFFFF0000U);
    return wide(static_cast<uint16_t>(pair >> 16));
  }
  static __device__ __forceinline__ float wide(uint16_t fp16) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(fp16));
    return x;
  }
  // Both halves, by their signs.
  static __device__ __forceinline__ uint32_t relu(uint32_t pair) {
    return pair & ~((pair >> 15 & 0x00010001U) * 0xFFFFU);
  }

  static __device__ __forceinline__ uint32_t bits(float x) { return __float_as_uint(x); }
  static __device__ __forceinline__ float infinity() { return __int_as_float(0x7F800000); }
  static __device__ __forceinline__ float max(float a, float b) { return fmaxf(a, b); }
  static __device__ __forceinline__ float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  static __device__ __forceinline__ float log2(float x) { return ::log2f(x); }
  static __device__ __forceinline__ float shuffle_xor(float x, int mask) {
    return __shfl_xor_sync(0xFFFFFFFFU, x, mask);
  }

  // Added in the level 2 cache, 16 bytes a thread.
  static __device__ __forceinline__ void add_four(float* to, float a, float b, float c, float d) {
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(
                     __cvta_generic_to_global(to)),
                 "f"(a), "f"(b), "f"(c), "f"(d)
                 : "memory");
  }
  // What this thread has written comes before what is signalled after a barrier.
  static __device__ __forceinline__ void fence_device() { __threadfence(); }
  // The copy engine adds float32 from shared memory to global, in the level 2 cache.
  static __device__ __forceinline__ void add_bytes(float* to, uint32_t from, uint32_t bytes) {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(
                     __cvta_generic_to_global(to)),
                 "r"(from), "r"(bytes)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
  }
  // Of this thread's additions: shared memory has been read.
  static __device__ __forceinline__ void wait_sums_read() {
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
  }
  // One thread waits for, or ends, a warpgroup's turn; barriers around it are the caller's.
  static __device__ __forceinline__ void wait_turn(const int32_t* counter, int32_t value) {
    int32_t now;
    do {
      asm volatile("ld.acquire.gpu.global.b32 %0, [%1];"
                   : "=r"(now)
                   : "l"(__cvta_generic_to_global(counter))
                   : "memory");
    } while (now != value);
  }
  static __device__ __forceinline__ void end_turn(int32_t* counter) {
    __threadfence();
    asm volatile("red.release.gpu.global.add.s32 [%0], 1;" ::"l"(__cvta_generic_to_global(counter))
                 : "memory");
  }

  template <int kCount>
  static __device__ __forceinline__ void fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
  }
  template <int kCount>
  static __device__ __forceinline__ void more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
  }
};

}  // namespace dagpam::attention::hopper
