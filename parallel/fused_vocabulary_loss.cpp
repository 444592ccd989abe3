#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "parallel/device_loss.h"
#include "parallel/instruction_set.h"
#include "parallel/loss_part.h"
#include "parallel/loss_rows.h"
#include "parallel/vocabulary_loss.h"

namespace dagpam::parallel {

template <>
const LossRows<float>& loss_rows() {
  return kernels_for(instruction_set(), portable::kFloatLoss, avx2::kFloatLoss, avx512::kFloatLoss);
}

template <>
const LossRows<rows::Bf16>& loss_rows() {
  return kernels_for(instruction_set(), portable::kBf16Loss, avx2::kBf16Loss, avx512::kBf16Loss);
}

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kElementsPerTask = 16384;

// Calls work(first row, last row) over threads.
template <class Work>
void over_rows(const LossProblem& problem, Work work) {
  const int64_t grain = kElementsPerTask / std::max<int64_t>(1, problem.symbols) + 1;
  at::parallel_for(0, problem.rows, grain, work);
}

template <class Real>
void find_largest(const LossProblem& problem, const Real* z) {
  const LossRows<Real>& kernels = loss_rows<Real>();
  over_rows(problem, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      problem.largest[r] = kernels.largest(z + r * problem.symbols, problem.symbols);
    }
  });
}

template <class Real>
void find_sums(const LossProblem& problem, const Real* z) {
  const LossRows<Real>& kernels = loss_rows<Real>();
  over_rows(problem, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Real* const row = z + r * problem.symbols;
      const LossSums sums = kernels.sums(row, problem.symbols, problem.largest[r]);
      const int64_t target = problem.targets[r] - problem.first;
      const bool here = target >= 0 && target < problem.symbols;
      problem.sums[r] = sums.exponentials;
      problem.sums[problem.rows + r] = here ? rows::widen(row[target]) - problem.largest[r] : 0;
      problem.sums[2 * problem.rows + r] = sums.shifted;
    }
  });
}

template <class Real>
void find_gradient(const LossProblem& problem, Real* z) {
  const LossRows<Real>& kernels = loss_rows<Real>();
  over_rows(problem, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      Real* const row = z + r * problem.symbols;
      const LossFactors f = loss_factors(problem, r);
      const int64_t target = problem.targets[r] - problem.first;
      const bool here = target >= 0 && target < problem.symbols;
      const float logit = here ? rows::widen(row[target]) : 0;
      kernels.gradient(row, problem.symbols, problem.largest[r], f.factor, f.shift);
      if (!here) continue;
      const float p = f.factor * rows::exponential(logit - problem.largest[r]) - f.shift;
      rows::narrow(p - f.hit, row[target]);  // rounded once
    }
  });
}

// Calls work(pointer to the logits) as their type.
template <class Work>
void typed(const at::Tensor& logits, Work work) {
  if (logits.scalar_type() == at::kFloat) {
    work(logits.mutable_data_ptr<float>());
  } else {
    work(reinterpret_cast<rows::Bf16*>(logits.mutable_data_ptr<c10::BFloat16>()));
  }
}

LossProblem problem_of(const at::Tensor& logits, const at::Tensor& targets,
                       const at::Tensor& largest, const at::Tensor& sums) {
  LossProblem problem;
  problem.rows = logits.size(0);
  problem.symbols = logits.size(1);
  problem.targets = targets.const_data_ptr<int64_t>();
  problem.largest = largest.mutable_data_ptr<float>();
  problem.sums = sums.mutable_data_ptr<float>();
  return problem;
}

// sums as in LossProblem -> [R]. On the CPU by the C library's logarithm: of ranks that are threads
// of one process the first loss was seen to differ by some 1e-6 once in thousands of runs, its
// gradient by no bit, where LibTorch's logarithm was first called by several threads at once.
at::Tensor losses_of(const at::Tensor& sums, const VocabularyLossOptions& options) {
  const double hit = 1 - options.smoothing;
  const double shifted = options.smoothing / static_cast<double>(options.vocab);
  if (!sums.is_cpu()) {
    at::Tensor loss = sums[0].log().sub_(sums[1], hit);
    return shifted > 0 ? loss.sub_(sums[2], shifted) : loss;
  }
  const int64_t rows = sums.size(1);
  const at::Tensor loss = at::empty({rows}, sums.options());
  const auto* from = sums.const_data_ptr<float>();
  auto* to = loss.mutable_data_ptr<float>();
  for (int64_t r = 0; r < rows; ++r) {
    double z = std::log(static_cast<double>(from[r])) - hit * static_cast<double>(from[rows + r]);
    if (shifted > 0) z -= shifted * static_cast<double>(from[2 * rows + r]);
    to[r] = static_cast<float>(z);
  }
  return loss;
}

struct FusedLoss : torch::autograd::Function<FusedLoss> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits,
                            const at::Tensor& targets, const VocabularyLossOptions& options,
                            Communicator* tp) {
    const bool smooth = options.smoothing > 0;
    const at::TensorOptions floats = targets.options().dtype(at::kFloat);
    at::Tensor largest = at::empty({logits.size(0)}, floats);  // [R]
    at::Tensor sums = at::empty({3, logits.size(0)}, floats);  // as in LossProblem
    LossProblem problem = problem_of(logits, targets, largest, sums);
    problem.first = options.first;
    if (logits.is_cpu()) {
      typed(logits, [&](const auto* z) { find_largest(problem, z); });
      if (tp->size() > 1) tp->all_reduce(largest, ReduceOp::kMax);
      typed(logits, [&](const auto* z) { find_sums(problem, z); });
    } else {
      // A GPU's time is that of reading the logits: once, and the ranks' sums are brought together.
      device_loss_sums(problem, logits);
      if (tp->size() > 1) {
        at::Tensor all = largest.clone();  // [R]
        tp->all_reduce(all, ReduceOp::kMax);
        device_loss_rebase(problem, all);
      }
    }
    if (tp->size() > 1) {
      at::Tensor sent = sums.narrow(0, 0, smooth ? 3 : 2);
      tp->all_reduce(sent);
    }
    const at::Tensor loss = losses_of(sums, options);  // [R]
    context->save_for_backward({logits, targets, largest, sums});
    context->saved_data["first"] = options.first;
    context->saved_data["ignored"] = options.ignored;
    context->saved_data["smoothing"] = options.smoothing;
    context->saved_data["vocab"] = options.vocab;
    return loss.masked_fill_(targets.eq(options.ignored), 0);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    TORCH_CHECK(context->saved_data.count("spent") == 0,
                "a second backward through a loss that has overwritten its logits");
    context->saved_data["spent"] = true;
    const at::Tensor logits = saved[0].detach();
    const at::Tensor upstream = grads[0].to(at::kFloat).contiguous();  // [R]
    LossProblem problem = problem_of(logits, saved[1], saved[2], saved[3]);
    problem.first = context->saved_data["first"].toInt();
    problem.ignored = context->saved_data["ignored"].toInt();
    problem.smoothing = static_cast<float>(context->saved_data["smoothing"].toDouble());
    problem.vocab = static_cast<float>(context->saved_data["vocab"].toInt());
    problem.upstream = upstream.const_data_ptr<float>();
    if (logits.is_cpu()) {
      typed(logits, [&](auto* z) { find_gradient(problem, z); });
    } else {
      device_loss_gradient(problem, logits);
    }
    return {logits, {}, {}, {}};
  }
};

}  // namespace

at::Tensor fused_vocabulary_cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                                          const VocabularyLossOptions& options, Communicator& tp) {
  if (logits.scalar_type() == at::kDouble || (!logits.is_cpu() && !logits.is_cuda())) {
    return vocabulary_cross_entropy(
        logits.scalar_type() == at::kBFloat16 ? logits.to(at::kFloat) : logits, targets, options,
        tp);
  }
  TORCH_CHECK(logits.dim() == 2 && targets.dim() == 1 && targets.size(0) == logits.size(0),
              "fused_vocabulary_cross_entropy takes [R, Vr] and [R], not ", logits.sizes(), " and ",
              targets.sizes());
  TORCH_CHECK(logits.is_contiguous() && targets.scalar_type() == at::kLong &&
                  targets.device() == logits.device() &&
                  (logits.scalar_type() == at::kFloat || logits.scalar_type() == at::kBFloat16),
              "fused_vocabulary_cross_entropy takes contiguous float32, bfloat16 or float64 logits "
              "and int64 targets on one device, not ",
              logits.scalar_type(), " of strides ", logits.strides(), " on ", logits.device(),
              " and ", targets.scalar_type(), " on ", targets.device());
  TORCH_CHECK(options.smoothing >= 0 && options.smoothing < 1, "label smoothing ",
              options.smoothing, " is outside [0, 1)");
  return FusedLoss::apply(logits, targets.contiguous(), options, &tp);
}

}  // namespace dagpam::parallel
