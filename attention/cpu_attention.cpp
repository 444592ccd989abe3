#include "attention/cpu_attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "attention/cpu_decode.h"
#include "attention/cpu_head_map.h"
#include "attention/cpu_problem.h"
#include "attention/cpu_rows.h"
#include "parallel/random.h"

namespace dagpam::attention::cpu {
namespace {

// Calls `body` with a zero of the tensor's element type.
template <typename Body>
auto by_type(const at::Tensor& x, Body body) {
  if (x.scalar_type() == at::kDouble) return body(double{});
  TORCH_CHECK(x.scalar_type() == at::kFloat, "CPU attention takes float32 and float64, got ",
              x.scalar_type());
  return body(float{});
}

// BLAS reads rows of unit stride that do not overlap; others are copied.
at::Tensor readable(const at::Tensor& x) {
  const bool unit = x.size(3) == 1 || x.stride(3) == 1;
  const bool apart = x.size(1) == 1 || (x.stride(1) >= x.size(3) &&
                                        x.stride(1) <= std::numeric_limits<int32_t>::max());
  return unit && apart ? x : x.contiguous();
}

template <typename T>
Rows<T> rows_of(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), std::max(x.stride(1), x.size(3)), x.stride(2)};
}

template <typename T>
T* data(const at::Tensor& x) {
  return x.defined() ? x.mutable_data_ptr<T>() : nullptr;
}

// The tensors behind a problem's pointers, made readable, and the problem.
template <typename T>
class View {
 public:
  View(const Maps& maps, const WeightDropout* dropout) : bounds_(maps.bounds.contiguous()) {
    q_ = readable(maps.q);
    k_ = readable(maps.k);
    v_ = readable(maps.v);
    Problem<T>& p = problem_;
    p.batch = q_.size(0);
    p.queries = q_.size(1);
    p.heads = q_.size(2);
    p.width = q_.size(3);
    p.keys = k_.size(1);
    p.kv_heads = k_.size(2);
    p.scale = static_cast<T>(1 / std::sqrt(static_cast<double>(p.width)));
    p.q = rows_of<T>(q_);
    p.k = rows_of<T>(k_);
    p.v = rows_of<T>(v_);
    if (maps.q_neg.defined()) {
      q_neg_ = readable(maps.q_neg);
      plus_ = maps.plus.expand({p.heads}).contiguous();
      minus_ = maps.minus.expand({p.heads}).contiguous();
      p.q_neg = rows_of<T>(q_neg_);
      p.plus = plus_.template const_data_ptr<T>();
      p.minus = minus_.template const_data_ptr<T>();
    }
    p.query_block = choose_query_block(p.queries, p.keys, p.maps());
    p.begin = bounds_.const_data_ptr<int32_t>();
    p.end = p.begin + bounds_.size(1) * p.queries;
    p.bounds_batch = bounds_.size(1) == 1 ? 0 : p.queries;
    if (dropout != nullptr) set_dropout(*dropout);
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  const Problem<T>& problem() const { return problem_; }

 private:
  void set_dropout(const WeightDropout& dropout) {
    samples_ = dropout.samples.contiguous();
    dropout_ =
        Dropout{parallel::key_on_host(dropout.key), parallel::dropout_threshold(dropout.p),
                1 / (1 - dropout.p), samples_.const_data_ptr<int64_t>(), dropout.head_offset};
    problem_.dropout = &*dropout_;
  }

  at::Tensor q_, q_neg_, k_, v_, plus_, minus_, bounds_, samples_;
  std::optional<Dropout> dropout_;
  Problem<T> problem_;
};

template <typename T>
Answer attend_as(const Maps& maps, const WeightDropout* dropout) {
  const View<T> view(maps, dropout);
  const Problem<T>& problem = view.problem();
  const at::TensorOptions options = maps.q.options().requires_grad(false);
  const Answer answer{
      at::empty({problem.batch, problem.queries, problem.heads, problem.width}, options),
      at::empty({problem.maps(), problem.batch, problem.heads, problem.queries}, options)};
  const Result<T> result{data<T>(answer.y), data<T>(answer.lse)};
  if (decodes(problem)) {
    const int64_t batch = std::max<int64_t>(problem.batch, 1);
    const int64_t slices =
        std::clamp<int64_t>((at::get_num_threads() + batch - 1) / batch, 1, problem.kv_heads);
    at::parallel_for(0, problem.batch * slices, 1, [&](int64_t first, int64_t last) {
      decode(problem, result, slices, first, last);
    });
    return answer;
  }
  at::parallel_for(0, forward_tasks(problem), 1,
                   [&](int64_t first, int64_t last) { forward(problem, result, first, last); });
  return answer;
}

// Sums of d+ or d- [B, H] -> the gradient of lambdas [H] or [1].
at::Tensor lambda_gradient(const std::vector<double>& dots, double sign, int64_t heads,
                           const at::Tensor& lambda) {
  const bool shared = lambda.numel() == 1;
  std::vector<double> sums(static_cast<size_t>(shared ? 1 : heads), 0.0);
  for (size_t i = 0; i < dots.size(); ++i) {
    sums[shared ? 0 : i % static_cast<size_t>(heads)] += sign * dots[i];
  }
  const at::Tensor wide = at::empty(lambda.sizes(), at::kDouble);
  std::copy(sums.begin(), sums.end(), wide.mutable_data_ptr<double>());
  return wide.to(lambda.scalar_type());
}

template <typename T>
MapsGradients attend_backward_as(const Maps& maps, const WeightDropout* dropout,
                                 const at::Tensor& lse, const at::Tensor& given_dy) {
  const View<T> view(maps, dropout);
  const Problem<T>& problem = view.problem();
  const at::TensorOptions options = maps.q.options().requires_grad(false);
  const at::Tensor dy = readable(given_dy);
  MapsGradients out;
  out.q = at::empty(maps.q.sizes(), options);
  if (problem.maps() == 2) out.q_neg = at::empty(maps.q.sizes(), options);
  out.k = at::zeros(maps.k.sizes(), options);
  out.v = at::zeros(maps.v.sizes(), options);
  std::vector<double> dot_plus(static_cast<size_t>(problem.batch * problem.heads), 0.0);
  std::vector<double> dot_minus(dot_plus);
  const Gradients<T> gradients{rows_of<T>(dy), data<T>(out.q),  data<T>(out.q_neg), data<T>(out.k),
                               data<T>(out.v), dot_plus.data(), dot_minus.data()};
  at::parallel_for(0, backward_tasks(problem), 1, [&](int64_t first, int64_t last) {
    backward(problem, lse.const_data_ptr<T>(), gradients, first, last);
  });
  if (problem.maps() == 2) {
    out.plus = lambda_gradient(dot_plus, 1, problem.heads, maps.plus);
    out.minus = lambda_gradient(dot_minus, -1, problem.heads, maps.minus);
  }
  return out;
}

template <typename T>
HeadMap<T> head_map(const at::Tensor& q, const at::Tensor& w, bool residual) {
  return {q.size(0), q.size(1), q.size(2), q.size(3), rows_of<T>(q), w.const_data_ptr<T>(),
          residual};
}

}  // namespace

Answer attend(const Maps& maps, const WeightDropout* dropout) {
  return by_type(maps.q, [&](auto zero) { return attend_as<decltype(zero)>(maps, dropout); });
}

MapsGradients attend_backward(const Maps& maps, const WeightDropout* dropout, const at::Tensor& lse,
                              const at::Tensor& dy) {
  return by_type(maps.q, [&](auto zero) {
    return attend_backward_as<decltype(zero)>(maps, dropout, lse, dy);
  });
}

at::Tensor map_queries(const at::Tensor& given_q, const at::Tensor& given_w, bool residual) {
  const at::Tensor q = readable(given_q), w = given_w.contiguous();
  const at::Tensor out = at::empty(q.sizes(), q.options().requires_grad(false));
  by_type(q, [&](auto zero) {
    using T = decltype(zero);
    const HeadMap<T> map = head_map<T>(q, w, residual);
    at::parallel_for(0, head_map_tasks(map), 1, [&](int64_t first, int64_t last) {
      head_map_forward(map, out.mutable_data_ptr<T>(), first, last);
    });
  });
  return out;
}

HeadMapTensors map_queries_backward(const at::Tensor& given_q, const at::Tensor& given_w,
                                    bool residual, const at::Tensor& given_d_out) {
  const at::Tensor q = readable(given_q), w = given_w.contiguous(), d_out = readable(given_d_out);
  const HeadMapTensors out{at::empty(q.sizes(), q.options().requires_grad(false)),
                           at::zeros(w.sizes(), w.options().requires_grad(false))};
  by_type(q, [&](auto zero) {
    using T = decltype(zero);
    const HeadMap<T> map = head_map<T>(q, w, residual);
    const HeadMapGradients<T> gradients{rows_of<T>(d_out), data<T>(out.dq), data<T>(out.dw)};
    at::parallel_for(0, map.heads, 1, [&](int64_t first, int64_t last) {
      head_map_backward(map, gradients, first, last);
    });
  });
  return out;
}

at::Tensor rotate(const at::Tensor& given, const at::Tensor& cos, const at::Tensor& sin, int sign) {
  const at::Tensor x = readable(given);
  const at::Tensor out = at::empty(x.sizes(), x.options().requires_grad(false));
  const int64_t queries = x.size(1), heads = x.size(2), half = x.size(3) / 2;
  const int64_t batch_step = cos.dim() == 3 ? queries * half : 0;
  by_type(x, [&](auto zero) {
    using T = decltype(zero);
    const Rows<T> rows = rows_of<T>(x);
    const T *const c = cos.const_data_ptr<T>(), *const s = sin.const_data_ptr<T>();
    T* const to = out.mutable_data_ptr<T>();
    at::parallel_for(0, x.size(0) * queries, 256, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t b = i / queries, n = i % queries, at = b * batch_step + n * half;
        for (int64_t h = 0; h < heads; ++h) {
          row_kernels<T>().rotate(rows.at(b, n, h), c + at, s + at, static_cast<T>(sign),
                                  to + (i * heads + h) * 2 * half, half);
        }
      }
    });
  });
  return out;
}

}  // namespace dagpam::attention::cpu
