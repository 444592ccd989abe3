#include "attention/cpu_blas.h"

extern "C" {
void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
            const float* beta, float* c, const int* ldc);
void dgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
            const double* alpha, const double* a, const int* lda, const double* b, const int* ldb,
            const double* beta, double* c, const int* ldc);
// Only there where the BLAS is MKL.
__attribute__((weak)) int MKL_Set_Num_Threads_Local(int threads);
}

namespace dagpam::attention::cpu {
namespace {

// BLAS is column-major: what it sees is c^T = op(b)^T op(a)^T.
template <typename T, typename Product>
void row_major(Product product, const ProductShape& shape, T alpha, Operand<T> a, Operand<T> b,
               T beta, Target<T> c) {
  const int m = static_cast<int>(shape.m), n = static_cast<int>(shape.n),
            k = static_cast<int>(shape.k);
  const int lda = static_cast<int>(a.ld), ldb = static_cast<int>(b.ld),
            ldc = static_cast<int>(c.ld);
  const char* const transa = a.transposed ? "T" : "N";
  const char* const transb = b.transposed ? "T" : "N";
  product(transb, transa, &n, &m, &k, &alpha, b.data, &ldb, a.data, &lda, &beta, c.data, &ldc);
}

}  // namespace

void gemm(const ProductShape& shape, float alpha, Operand<float> a, Operand<float> b, float beta,
          Target<float> c) {
  row_major(sgemm_, shape, alpha, a, b, beta, c);
}

void gemm(const ProductShape& shape, double alpha, Operand<double> a, Operand<double> b,
          double beta, Target<double> c) {
  row_major(dgemm_, shape, alpha, a, b, beta, c);
}

OneBlasThread::OneBlasThread() {
  if (MKL_Set_Num_Threads_Local != nullptr) before_ = MKL_Set_Num_Threads_Local(1);
}

OneBlasThread::~OneBlasThread() {
  if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(before_);
}

}  // namespace dagpam::attention::cpu
