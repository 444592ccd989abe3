#include "parallel/tp_layers.h"

#include <utility>

#include "parallel/embedding.h"
#include "parallel/linear.h"

namespace dagpam::parallel {

ColumnLinear::ColumnLinear(const LinearOptions& options, const std::string& prefix,
                           ParameterList& parameters)
    : weight_(parameters.add(prefix + "weight", {options.out, options.in},
                             Init::normal(options.deviation), {.cut_dim = 0})) {
  if (options.bias) {
    bias_ = parameters.add(prefix + "bias", {options.out}, Init::constant(0), {.cut_dim = 0});
  }
}

at::Tensor ColumnLinear::forward(const at::Tensor& x) const {
  return linear(x, *weight_, bias_.get());
}

RowLinear::RowLinear(const LinearOptions& options, const std::string& prefix,
                     ParameterList& parameters, Communicator& tp, bool sequence)
    : weight_(parameters.add(prefix + "weight", {options.out, options.in},
                             Init::normal(options.deviation), {.cut_dim = 1})),
      tp_(&tp) {
  if (options.bias) {
    bias_ = parameters.add(prefix + "bias", {options.out}, Init::constant(0),
                           {.partial_gradient = sequence});
  }
}

at::Tensor RowLinear::forward(const at::Tensor& x, Stream stream) const {
  if (tp_->size() == 1) return linear(x, *weight_, bias_.get());
  return left(linear(x, *weight_, nullptr), stream);
}

at::Tensor RowLinear::left(at::Tensor product, Stream stream) const {
  at::Tensor sum = leave_cut_layer(std::move(product), *tp_, stream);
  // The bias joins once, after the sum.
  return bias_ ? sum.add_(bias_->ready()) : sum;
}

VocabularyTable::VocabularyTable(int64_t vocab, int64_t width, double deviation,
                                 const std::string& name, ParameterList& parameters,
                                 Communicator& tp)
    : table_(parameters.add(name, {vocab, width}, Init::normal(deviation),
                            {.cut_dim = 0, .may_pad = true})),
      tp_(&tp) {}

int64_t VocabularyTable::rows() const {
  const int64_t held = table_->value.size(0);
  return tp_->size() == 1 ? held : table_->shard.real_rows(held);
}

at::Tensor VocabularyTable::embed(const at::Tensor& ids, Stream stream) const {
  if (tp_->size() == 1) return embedding(table_->ready(), ids);
  // Ids of other ranks read row 0 and count as nothing; each id is some rank's own.
  const at::Tensor own = ids.sub(first());                          // [B, T]
  const at::Tensor foreign = own.lt(0).logical_or(own.ge(rows()));  // [B, T]
  const at::Tensor rows_read =
      embedding(table_->ready(), own.masked_fill(foreign, 0));  // [B, T, C]
  return leave_cut_layer(rows_read.masked_fill(foreign.unsqueeze(-1), 0), *tp_, stream);
}

at::Tensor VocabularyTable::logits(const at::Tensor& x) const {
  return linear(x, *table_, nullptr, rows());
}

}  // namespace dagpam::parallel
