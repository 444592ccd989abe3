// Compiled once per instruction set, with DAGPAM_ROWS = portable, avx2 or avx512. Everything but
// the tables has internal linkage and nothing comes from the standard library's inline functions: a
// copy made for a newer processor must never be linked into common code.
#include "attention/cpu_rows.h"

#include "parallel/vector_math.h"

namespace dagpam::attention::cpu::DAGPAM_ROWS {
namespace {

using parallel::rows::exponential;

inline double exponential(double x) { return __builtin_exp(x); }
inline float logarithm(float x) { return __builtin_logf(x); }
inline double logarithm(double x) { return __builtin_log(x); }

template <typename T>
inline void fill(T* x, int64_t from, int64_t to, T value) {
  for (int64_t j = from; j < to; ++j) x[j] = value;
}

// The columns that are worked on for the visible ones [begin, end): whole vectors.
struct Lanes {
  int64_t first, last;
};
inline Lanes lanes_around(int64_t begin, int64_t end) {
  return {begin / kLanes * kLanes, (end + kLanes - 1) / kLanes * kLanes};
}

// Sets what lies in `lanes` outside of [begin, end).
template <typename T>
inline void fill_edges(T* x, const Lanes& lanes, int64_t begin, int64_t end, T value) {
  fill(x, lanes.first, begin, value);
  fill(x, end, lanes.last, value);
}

// Sets what lies outside of `lanes`.
template <typename T>
inline void clear_outside(T* x, const Lanes& lanes, int64_t cols) {
  fill(x, 0, lanes.first, T(0));
  fill(x, lanes.last, cols, T(0));
}

template <typename T>
struct SoftmaxRow {
  T max, sum;
};

// s <- exp(s - max).
template <typename T>
inline SoftmaxRow<T> exponentials(T* s, const Lanes& lanes, int64_t begin, int64_t end) {
  const T infinity = static_cast<T>(__builtin_inf());
  fill_edges(s, lanes, begin, end, -infinity);
  T max = -infinity;
#pragma omp simd reduction(max : max)
  for (int64_t j = lanes.first; j < lanes.last; ++j) max = s[j] > max ? s[j] : max;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = lanes.first; j < lanes.last; ++j) {
    const T e = exponential(s[j] - max);
    s[j] = e;
    sum += e;
  }
  return {max, sum};
}

template <typename T, bool kTwo, bool kKeep>
void weight_rows(const WeightsBlock<T>& block) {
  for (int64_t i = 0; i < block.rows; ++i) {
    T* __restrict__ const plus = block.plus + i * block.ld;
    T* __restrict__ const minus = kTwo ? block.minus + i * block.ld : nullptr;
    const T* __restrict__ const keep = kKeep ? block.keep + i * block.ld : nullptr;
    const int64_t begin = block.begin[i], end = block.end[i];
    if (begin >= end) {
      fill(plus, 0, block.cols, T(0));
      block.lse_plus[i] = 0;
      if constexpr (kTwo) block.lse_minus[i] = 0;
      continue;
    }
    const Lanes lanes = lanes_around(begin, end);
    const SoftmaxRow<T> p = exponentials(plus, lanes, begin, end);
    block.lse_plus[i] = p.max + logarithm(p.sum);
    const T a = block.plus_factor / p.sum;
    T b = 0;
    if constexpr (kTwo) {
      const SoftmaxRow<T> m = exponentials(minus, lanes, begin, end);
      block.lse_minus[i] = m.max + logarithm(m.sum);
      b = block.minus_factor / m.sum;
    }
#pragma omp simd
    for (int64_t j = lanes.first; j < lanes.last; ++j) {
      T weight = a * plus[j];
      if constexpr (kTwo) weight += b * minus[j];
      if constexpr (kKeep) weight *= keep[j];
      plus[j] = weight;
    }
    clear_outside(plus, lanes, block.cols);
  }
}

template <typename T, bool kTwo, bool kKeep>
void gradient_rows(const GradientBlock<T>& block) {
  const T infinity = static_cast<T>(__builtin_inf());
  for (int64_t i = 0; i < block.rows; ++i) {
    T* __restrict__ const weights = block.weights + i * block.ld;
    T* __restrict__ const plus = block.plus + i * block.ld;
    T* __restrict__ const minus = kTwo ? block.minus + i * block.ld : nullptr;
    const T* __restrict__ const keep = kKeep ? block.keep + i * block.ld : nullptr;
    const int64_t begin = block.begin[i], end = block.end[i];
    const bool sees = begin < end;
    const Lanes lanes = sees ? lanes_around(begin, end) : Lanes{0, 0};
    T sum_plus = 0, sum_minus = 0, dot_plus = 0, dot_minus = 0;
    if (sees) {
      fill_edges(plus, lanes, begin, end, -infinity);
      fill_edges(weights, lanes, begin, end, T(0));
      if constexpr (kTwo) fill_edges(minus, lanes, begin, end, -infinity);
    }
    const T lse_plus = block.lse_plus[i], lse_minus = kTwo ? block.lse_minus[i] : T(0);
#pragma omp simd reduction(+ : sum_plus, sum_minus, dot_plus, dot_minus)
    for (int64_t j = lanes.first; j < lanes.last; ++j) {
      const T d = kKeep ? weights[j] * keep[j] : weights[j];
      const T p = exponential(plus[j] - lse_plus);
      plus[j] = p;
      sum_plus += p;
      dot_plus += p * d;
      if constexpr (kTwo) {
        const T m = exponential(minus[j] - lse_minus);
        minus[j] = m;
        sum_minus += m;
        dot_minus += m * d;
      }
    }
    const T a = sees ? 1 / sum_plus : T(0), b = sees && kTwo ? 1 / sum_minus : T(0);
    dot_plus *= a;
    dot_minus *= b;
    const T plus_scale = block.plus_factor * a, minus_scale = block.minus_factor * b;
#pragma omp simd
    for (int64_t j = lanes.first; j < lanes.last; ++j) {
      const T d = kKeep ? weights[j] * keep[j] : weights[j];
      const T p = plus_scale * plus[j];
      plus[j] = p * (d - dot_plus);
      T weight = p;
      if constexpr (kTwo) {
        const T m = minus_scale * minus[j];
        minus[j] = m * (d - dot_minus);
        weight += m;
      }
      weights[j] = kKeep ? weight * keep[j] : weight;
    }
    clear_outside(weights, lanes, block.cols);
    clear_outside(plus, lanes, block.cols);
    if constexpr (kTwo) clear_outside(minus, lanes, block.cols);
    block.dot_plus[i] = dot_plus;
    if constexpr (kTwo) block.dot_minus[i] = dot_minus;
  }
}

template <typename T>
void weights(const WeightsBlock<T>& block) {
  if (block.minus != nullptr) {
    block.keep != nullptr ? weight_rows<T, true, true>(block) : weight_rows<T, true, false>(block);
  } else {
    block.keep != nullptr ? weight_rows<T, false, true>(block)
                          : weight_rows<T, false, false>(block);
  }
}

template <typename T>
void gradient(const GradientBlock<T>& block) {
  if (block.minus != nullptr) {
    block.keep != nullptr ? gradient_rows<T, true, true>(block)
                          : gradient_rows<T, true, false>(block);
  } else {
    block.keep != nullptr ? gradient_rows<T, false, true>(block)
                          : gradient_rows<T, false, false>(block);
  }
}

template <typename T>
void relu(const T* x, T* y, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = x[j] <= T(0) ? T(0) : x[j];
}

template <typename T>
void gate(const T* x, const T* base, T* y, int64_t n) {
  if (base == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) y[j] = x[j] <= T(0) ? T(0) : y[j];
  } else {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) y[j] = base[j] + (x[j] <= T(0) ? T(0) : y[j]);
  }
}

template <typename T>
void rotate(const T* x, const T* cos, const T* sin, T sign, T* y, int64_t half) {
#pragma omp simd
  for (int64_t j = 0; j < half; ++j) {
    const T c = cos[j], s = sign * sin[j], first = x[j], second = x[half + j];
    y[j] = first * c - second * s;
    y[half + j] = second * c + first * s;
  }
}

template <typename T>
void exp(const T* x, T* y, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = exponential(x[j]);
}

// Asks for the cache lines of elements that are read soon; beyond the last row that is harmless.
template <typename T>
inline void fetch_ahead(const T* x, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / int64_t{sizeof(T)}) __builtin_prefetch(x + i);
}

// Keys outside, heads inside: memory is read in the order in which it lies.
template <typename T>
void dots(const KeyRows<T>& keys, const T* queries, T scale, T* scores) {
  for (int64_t j = 0; j < keys.count; ++j) {
    for (int64_t h = 0; h < keys.heads; ++h) {
      const T* __restrict__ const key = keys.data + j * keys.step + h * keys.head_step;
      fetch_ahead(key + 2 * keys.step, keys.width);
      for (int64_t r = h * keys.per_head; r < (h + 1) * keys.per_head; ++r) {
        const T* __restrict__ const query = queries + r * keys.width;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < keys.width; ++i) sum += query[i] * key[i];
        scores[r * keys.ld + j] = scale * sum;
      }
    }
  }
}

// y += w[0] v0 + w[1] v1 + ...: kRows values at a time, so that y is read and written less often.
template <int kRows, typename T>
inline void mix_rows(const KeyRows<T>& values, int64_t j, const T* weights, T* to) {
  for (int64_t h = 0; h < values.heads; ++h) {
    const T* __restrict__ const v = values.data + j * values.step + h * values.head_step;
    for (int k = 0; k < kRows; ++k) fetch_ahead(v + (kRows + k) * values.step, values.width);
    for (int64_t r = h * values.per_head; r < (h + 1) * values.per_head; ++r) {
      const T* __restrict__ const w = weights + r * values.ld + j;
      T* __restrict__ const y = to + r * values.width;
#pragma omp simd
      for (int64_t i = 0; i < values.width; ++i) {
        T sum = y[i];
        for (int k = 0; k < kRows; ++k) sum += w[k] * v[k * values.step + i];
        y[i] = sum;
      }
    }
  }
}

template <typename T>
void mix(const KeyRows<T>& values, const T* weights, T* y) {
  constexpr int kRows = 4;
  int64_t j = 0;
  for (; j + kRows <= values.count; j += kRows) mix_rows<kRows>(values, j, weights, y);
  for (; j < values.count; ++j) mix_rows<1>(values, j, weights, y);
}

#define DAGPAM_QUOTE(x) #x
#define DAGPAM_NAME(x) DAGPAM_QUOTE(x)

template <typename T>
constexpr RowKernels<T> make_kernels() {
  return {DAGPAM_NAME(DAGPAM_ROWS),
          weights<T>,
          gradient<T>,
          relu<T>,
          gate<T>,
          rotate<T>,
          exp<T>,
          dots<T>,
          mix<T>};
}

}  // namespace

extern const RowKernels<float> kFloatRows = make_kernels<float>();
extern const RowKernels<double> kDoubleRows = make_kernels<double>();

}  // namespace dagpam::attention::cpu::DAGPAM_ROWS
