// trainer/analysis/collapse.h: how far the states of a sequence's tokens have become one.
//
// Legend: T tokens, C width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace dagpam::trainer {

// Of X [T, C] with res(X) = X - 1 mean_t(X), what is left of X without its mean row: 0 where all
// rows are one.
struct Collapse {
  double ratio_1inf = 0;  // |res X| / |X|, |X| = sqrt(largest column sum x largest row sum) of |X|
  double ratio_fro = 0;   // the same with the Frobenius norm
  double cosine = 0;      // mean over pairs of distinct tokens; a token of zeros has cosine 0
};

// The first measure is that of Dong, Cordonnier and Loukas 2021 ("Attention is not all you need",
// arXiv 2103.03404). Sums in float64. Ratios of X = 0 are 0; of fewer than two tokens there is no
// pair, and the cosine is not a number.
Collapse collapse_of(const at::Tensor& x);

// Mean and sample deviation (n - 1; of a single number not a number).
struct Spread {
  double mean = 0, deviation = 0;
};
Spread spread_of(const std::vector<double>& numbers);

}  // namespace dagpam::trainer
