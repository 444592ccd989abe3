// attention/hopper/kernel_parts.h: what both kernels are made of. A kernel is a template over the
// machine that runs it, `M`: device_machine.cuh is the GPU, and the tests have one that runs all
// threads of a block on the CPU. Knows no torch.
//
// A machine has static functions for: who a thread is (thread, block_x, block_y, block_z); shared
// memory by 32-bit addresses (shared_base, load_word, load_float, load_pair, load_four, store,
// store_four); barriers in it (barrier_init, barrier_arrive, barrier_expect, barrier_wait) and
// named ones (named_sync, named_arrive, sync_block, sync_warp); the copy engine (load_tile,
// load_bytes; add_bytes, wait_sums_read); matrix products of a warpgroup (product: both operands
// from shared memory; product_rows, product_columns: A from registers, the inner dimension along
// B's rows or columns; open, commit, wait, pin); what the assembler is told of order (finish_first,
// anew); conversions (pack, relu), exp2, log2, shuffle_xor; sums in global memory (add_four) and
// order between blocks (fence_device, wait_turn, end_turn).
#pragma once

#include <cstdint>

#include "attention/hopper/tile.h"

#ifdef __CUDACC__
#define DAGPAM_DEVICE __device__ __forceinline__
#define DAGPAM_UNROLL _Pragma("unroll")
#define DAGPAM_NO_UNROLL _Pragma("unroll 1")
#else
#define DAGPAM_DEVICE inline
#define DAGPAM_UNROLL
#define DAGPAM_NO_UNROLL
#endif

namespace dagpam::attention::hopper {

struct Bf16 {};
struct Fp16 {};

// A block: one warpgroup of which one thread loads, two that compute.
constexpr int kThreads = 3 * kWarpgroup;
constexpr int kConsumerWarps = 8;
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;

// Heads whose blocks run at the same time, so that the keys and values which they all read again
// and again stay in the level 2 cache: whole groups of a key-value head, at least one.
constexpr int64_t kCachedBytes = int64_t{16} << 20;
DAGPAM_BOTH int64_t heads_a_section(int64_t keys, int64_t width, int64_t group) {
  const int64_t bytes = keys * width * 2 * 2;
  return group * (bytes < kCachedBytes ? kCachedBytes / bytes : 1);
}

// Bytes of shared memory that a block may ask for, and those that it asks for beyond its own
// because tiles lie on multiples of 1024.
constexpr int kSharedLimit = 227 * 1024, kSharedSlack = 1024;

// Named barriers; 0 is the whole block's.
enum NamedBarrier { kTurn = 1, kTurnOfOther = 2, kHandOver = 3, kFree = 4, kReady = 5, kAlone = 6 };

// The lower word of a descriptor of a shared memory operand with the 128-byte swizzle (PTX ISA,
// "matrix descriptor"): its address and, for rows along the product's inner dimension, the distance
// of 64-column blocks (else it is not used), both in units of 16 bytes. The upper word is the same
// for all: groups of 8 rows are 1024 bytes apart, and which swizzle it is. Adding bytes / 16 moves
// an operand on: addresses end below 2^18, no carry leaves their field.
constexpr uint32_t kDescriptorHigh = 1024U >> 4 | 1U << 30;
DAGPAM_BOTH constexpr uint32_t descriptor(uint32_t address, uint32_t leading) {
  return (address & 0x3FFFFU) >> 4 | leading >> 4 << 16;
}

// Tiles lie in shared memory as [columns / 64][rows][64], each block swizzled.
constexpr DAGPAM_BOTH uint32_t block_bytes(int rows) { return static_cast<uint32_t>(rows) * 128; }
constexpr DAGPAM_BOTH uint32_t tile_bytes(int rows, int columns) {
  return block_bytes(rows) * static_cast<uint32_t>(columns / kColumnBlock);
}

// Step `step` of 16 along the columns of a tile, rows from `row` (a multiple of 8) on: the operand
// whose inner dimension is the tile's columns.
DAGPAM_BOTH constexpr uint32_t along_columns(uint32_t tile, int rows, int row, int step) {
  return descriptor(tile + static_cast<uint32_t>(row) * 128, 16) +
         (static_cast<uint32_t>(step / 4) * block_bytes(rows) +
          static_cast<uint32_t>(step % 4) * 32) /
             16;
}

// Step `step` of 16 along the rows of a tile, all columns from block `block` on: the operand whose
// inner dimension is the tile's rows.
DAGPAM_BOTH constexpr uint32_t along_rows(uint32_t tile, int rows, int block, int step) {
  return descriptor(tile + static_cast<uint32_t>(block) * block_bytes(rows), block_bytes(rows)) +
         static_cast<uint32_t>(step) * (16 * 128 / 16);
}

// Places in a ring of buffers: the nth filling lies in stage n mod `stages`.
template <int kStages>
struct Ring {
  uint32_t buffers = 0, bytes = 0;  // the first buffer, each one's size
  uint32_t full = 0, empty = 0;     // barriers of 8 bytes a stage

  DAGPAM_DEVICE static uint32_t stage(uint32_t n) { return n % kStages; }
  DAGPAM_DEVICE static uint32_t parity(uint32_t n) { return n / kStages % 2; }
  DAGPAM_DEVICE uint32_t buffer(uint32_t n) const { return buffers + stage(n) * bytes; }
  DAGPAM_DEVICE uint32_t full_at(uint32_t n) const { return full + stage(n) * 8; }
  DAGPAM_DEVICE uint32_t empty_at(uint32_t n) const { return empty + stage(n) * 8; }

  template <class M>
  DAGPAM_DEVICE void init() const {
    for (uint32_t n = 0; n < kStages; ++n) {
      M::barrier_init(full_at(n), 1);
      M::barrier_init(empty_at(n), kConsumerWarps);
    }
  }
  // The producer: waits until the buffer may be filled and announces `bytes_coming`.
  template <class M>
  DAGPAM_DEVICE void open(uint32_t n, uint32_t bytes_coming) const {
    M::barrier_wait(empty_at(n), parity(n) ^ 1);
    M::barrier_expect(full_at(n), bytes_coming);
  }
  // A consumer: waits for what was announced.
  template <class M>
  DAGPAM_DEVICE void await(uint32_t n) const {
    M::barrier_wait(full_at(n), parity(n));
  }
  // A consumer: this warp reads no more of it. All lanes call.
  template <class M>
  DAGPAM_DEVICE void release(uint32_t n) const {
    M::sync_warp();
    if (M::thread() % 32 == 0) M::barrier_arrive(empty_at(n));
  }
};

// A [rows][D] tile by the copy engine: rows from `row` on, those past the tensor's end as 0.
template <class M, int D>
DAGPAM_DEVICE void load_rows_of(const typename M::TensorMap& map, uint32_t to, uint32_t barrier,
                                int rows, int32_t row, int32_t head, int32_t batch) {
  for (int block = 0; block < D / kColumnBlock; ++block) {
    M::load_tile(map, to + static_cast<uint32_t>(block) * block_bytes(rows), barrier,
                 block * kColumnBlock, row, head, batch);
  }
}

// Accumulators 8 step .. 8 step + 7 as the A fragment of step `step` of 16.
template <class M, class T>
DAGPAM_DEVICE void fragment_of(const float* accumulators, uint32_t* to) {
  DAGPAM_UNROLL
  for (int r = 0; r < 4; ++r)
    to[r] = M::template pack<T>(accumulators[2 * r], accumulators[2 * r + 1]);
}

// A 64 x n accumulator to rows of a global tensor; `rows` of the 64 exist.
template <class M, class T, int kCount>
DAGPAM_DEVICE void store_accumulator(const float (&x)[kCount], float scale, uint16_t* to,
                                     int64_t row_stride, int32_t rows) {
  const int t = M::thread() % kWarpgroup;
  DAGPAM_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = fragment_row(t, half * 2);
    if (row >= rows) continue;
    uint16_t* const at = to + row * row_stride;
    DAGPAM_UNROLL
    for (int i = half * 2; i < kCount; i += 4) {
      *reinterpret_cast<uint32_t*>(at + fragment_column(t, i)) =
          M::template pack<T>(x[i] * scale, x[i + 1] * scale);
    }
  }
}

}  // namespace dagpam::attention::hopper
