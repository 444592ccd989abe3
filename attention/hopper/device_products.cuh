// attention/hopper/device_products.cuh: the warpgroup matrix products of sm_90a that the kernels
// use, as PTX ("wgmma.mma_async"): 64 x n x 16, float32 += 16-bit x 16-bit, n = 32, 64 or 128.
#pragma once

#include <cstdint>

#include "attention/hopper/kernel_parts.h"

namespace dagpam::attention::hopper::ptx {

// Operand lists: n / 2 accumulators, then the others by their number.
#define DAGPAM_D16 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"
#define DAGPAM_D32                                                                          \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
  "%24,%25,%26,%27,%28,%29,%30,%31}"
#define DAGPAM_D64                                                                          \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
  "%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,"    \
  "%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}"
#define DAGPAM_F8(x, i)                                                                       \
  "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3]), "+f"(x[i + 4]), "+f"(x[i + 5]), \
      "+f"(x[i + 6]), "+f"(x[i + 7])
#define DAGPAM_F16(x, i) DAGPAM_F8(x, i), DAGPAM_F8(x, i + 8)
#define DAGPAM_F32(x, i) DAGPAM_F16(x, i), DAGPAM_F16(x, i + 16)
#define DAGPAM_F64(x, i) DAGPAM_F32(x, i), DAGPAM_F32(x, i + 32)

// Both operands from shared memory. A0 .. A4: the numbers of a, b, adds and the two directions.
#define DAGPAM_PRODUCT(N, COUNT, TYPE, A0, A1, A2, A3, A4, A5)                                     \
  asm volatile("{\n.reg .pred p;\n.reg .b64 a, b;\nsetp.ne.b32 p, %" #A2                           \
               ", 0;\n"                                                                            \
               "mov.b64 a, {%" #A0 ", %" #A5 "};\nmov.b64 b, {%" #A1 ", %" #A5                     \
               "};\n"                                                                              \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " " DAGPAM_D##COUNT \
               ", a, b, p, 1, 1, %" #A3 ", %" #A4 ";\n}\n"                                         \
               : DAGPAM_F##COUNT(x, 0)                                                             \
               : "r"(a), "r"(b), "r"(static_cast<int>(adds)), "n"(kARows), "n"(kBRows),            \
                 "n"(kDescriptorHigh))

// A from registers. A7: B's direction.
#define DAGPAM_PRODUCT_REGISTERS(N, COUNT, TYPE, A0, A1, A2, A3, A4, A5, A6, A7)                   \
  asm volatile("{\n.reg .pred p;\n.reg .b64 b;\nsetp.ne.b32 p, %" #A5                              \
               ", 0;\n"                                                                            \
               "mov.b64 b, {%" #A4 ", %" #A6                                                       \
               "};\n"                                                                              \
               "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " " DAGPAM_D##COUNT \
               ", {%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, b, p, 1, 1, %" #A7 ";\n}\n"            \
               : DAGPAM_F##COUNT(x, 0)                                                             \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(static_cast<int>(adds)),  \
                 "n"(kDescriptorHigh), "n"(kBRows))

template <class T>
struct Products;

#define DAGPAM_PRODUCTS(T, TYPE)                                                          \
  template <>                                                                             \
  struct Products<T> {                                                                    \
    template <bool kARows, bool kBRows>                                                   \
    static __device__ __forceinline__ void shared(float (&x)[16], uint32_t a, uint32_t b, \
                                                  bool adds) {                            \
      DAGPAM_PRODUCT(32, 16, TYPE, 16, 17, 18, 19, 20, 21);                               \
    }                                                                                     \
    template <bool kARows, bool kBRows>                                                   \
    static __device__ __forceinline__ void shared(float (&x)[32], uint32_t a, uint32_t b, \
                                                  bool adds) {                            \
      DAGPAM_PRODUCT(64, 32, TYPE, 32, 33, 34, 35, 36, 37);                               \
    }                                                                                     \
    template <bool kARows, bool kBRows>                                                   \
    static __device__ __forceinline__ void shared(float (&x)[64], uint32_t a, uint32_t b, \
                                                  bool adds) {                            \
      DAGPAM_PRODUCT(128, 64, TYPE, 64, 65, 66, 67, 68, 69);                              \
    }                                                                                     \
    template <bool kBRows>                                                                \
    static __device__ __forceinline__ void registers(float (&x)[32], const uint32_t* a,   \
                                                     uint32_t b, bool adds) {             \
      DAGPAM_PRODUCT_REGISTERS(64, 32, TYPE, 32, 33, 34, 35, 36, 37, 38, 39);             \
    }                                                                                     \
    template <bool kBRows>                                                                \
    static __device__ __forceinline__ void registers(float (&x)[64], const uint32_t* a,   \
                                                     uint32_t b, bool adds) {             \
      DAGPAM_PRODUCT_REGISTERS(128, 64, TYPE, 64, 65, 66, 67, 68, 69, 70, 71);            \
    }                                                                                     \
  };
DAGPAM_PRODUCTS(Bf16, "bf16")
DAGPAM_PRODUCTS(Fp16, "f16")

#undef DAGPAM_PRODUCTS
#undef DAGPAM_PRODUCT_REGISTERS
#undef DAGPAM_PRODUCT
#undef DAGPAM_F64
#undef DAGPAM_F32
#undef DAGPAM_F16
#undef DAGPAM_F8
#undef DAGPAM_D64
#undef DAGPAM_D32
#undef DAGPAM_D16

}  // namespace dagpam::attention::hopper::ptx
