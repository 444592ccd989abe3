// attention/cpu_blas.h: row-major matrix products through the BLAS that LibTorch carries. Knows no
// torch.
#pragma once

#include <cstdint>

namespace dagpam::attention::cpu {

// A row-major matrix; `ld` elements from one row to the next, at least the row's length.
template <typename T>
struct Operand {
  const T* data;
  int64_t ld;
  bool transposed = false;
};

template <typename T>
struct Target {
  T* data;
  int64_t ld;
};

struct ProductShape {
  int64_t m, n, k;
};

// c [m, n] <- alpha op(a) [m, k] op(b) [k, n] + beta c; what c held is not read where beta is 0.
void gemm(const ProductShape& shape, float alpha, Operand<float> a, Operand<float> b, float beta,
          Target<float> c);
void gemm(const ProductShape& shape, double alpha, Operand<double> a, Operand<double> b,
          double beta, Target<double> c);

// While it lives, the BLAS works in the calling thread alone (the caller has its own threads, and
// results must not depend on their number).
class OneBlasThread {
 public:
  OneBlasThread();
  ~OneBlasThread();
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;

 private:
  int before_ = 0;
};

}  // namespace dagpam::attention::cpu
