#include "parallel/rank_order.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

namespace dagpam::parallel {
namespace {

// So many bytes of each rank at once: they stay in the first cache between the ranks' turns.
constexpr int64_t kBlockBytes = 8192;

struct Sum {
  template <class T>
  static T of(T a, T b) {
    if constexpr (std::is_integral_v<T>) {  // wraps around
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));
    } else {
      return a + b;
    }
  }
};

struct Max {
  template <class T>
  static T of(T a, T b) {
    return a != a || a > b ? a : b;  // a != a: NaN
  }
};

struct Min {
  template <class T>
  static T of(T a, T b) {
    return a != a || a < b ? a : b;
  }
};

// `out` may be a or b.
template <class Op, class T>
void combine(T* out, const T* a, const T* b, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = Op::of(a[i], b[i]);
}

template <class Op, class T>
void reduce(char* out_bytes, const std::vector<char*>& copies, const std::vector<const char*>& in,
            int64_t elements) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(T));
  constexpr int64_t kBlock = kBlockBytes / kSize;
  const size_t last = in.size() - 1;
  std::array<T, kBlock> so_far;  // not `out`: that may be what a later rank brings
  for (int64_t begin = 0; begin < elements; begin += kBlock) {
    const int64_t n = std::min(kBlock, elements - begin);
    const auto of = [&](size_t rank) { return reinterpret_cast<const T*>(in[rank]) + begin; };
    T* const out = reinterpret_cast<T*>(out_bytes) + begin;
    const T* left = of(0);
    for (size_t rank = 1; rank < last; ++rank) {
      combine<Op>(so_far.data(), left, of(rank), n);
      left = so_far.data();
    }
    combine<Op>(out, left, of(last), n);
    for (char* const copy : copies) {
      std::memcpy(copy + begin * kSize, out, static_cast<size_t>(n * kSize));
    }
  }
}

template <class T>
void reduce(ReduceOp op, char* out, const std::vector<char*>& copies,
            const std::vector<const char*>& in, int64_t elements) {
  switch (op) {
    case ReduceOp::kSum:
      return reduce<Sum, T>(out, copies, in, elements);
    case ReduceOp::kMax:
      return reduce<Max, T>(out, copies, in, elements);
    case ReduceOp::kMin:
      return reduce<Min, T>(out, copies, in, elements);
  }
}

}  // namespace

void reduce_in_rank_order(at::ScalarType type, ReduceOp op, char* out,
                          const std::vector<char*>& copies, const std::vector<const char*>& in,
                          int64_t elements) {
  TORCH_CHECK(in.size() >= 2, "a reduction over ", in.size(), " rank(s)");
  switch (type) {
    case at::kFloat:
      return reduce<float>(op, out, copies, in, elements);
    case at::kDouble:
      return reduce<double>(op, out, copies, in, elements);
    case at::kLong:
      return reduce<int64_t>(op, out, copies, in, elements);
    case at::kInt:
      return reduce<int32_t>(op, out, copies, in, elements);
    case at::kByte:
      return reduce<uint8_t>(op, out, copies, in, elements);
    default:
      TORCH_CHECK(false, "no reduction of ", type);
  }
}

}  // namespace dagpam::parallel
