#include "attention/attention.h"

#include <c10/util/Exception.h>

#include "attention/variant.h"

namespace dagpam::attention {

int64_t query_heads(const Options& options) {
  return options.kind == Kind::kDiff2 ? 2 * options.heads : options.heads;
}

std::unique_ptr<Attention> make_attention(const Options& options, const std::string& prefix,
                                          parallel::ParameterList& parameters,
                                          std::function<Lambdas()> lambdas) {
  TORCH_CHECK(options.heads > 0 && options.kv_heads > 0 && options.head_width > 0,
              "heads, kv_heads and head_width must be positive, got ", options.heads, ", ",
              options.kv_heads, " and ", options.head_width);
  TORCH_CHECK(options.heads % options.kv_heads == 0, "kv_heads = ", options.kv_heads,
              " must divide heads = ", options.heads);
  switch (options.kind) {
    case Kind::kSoftmax:
      return make_softmax(options);
    case Kind::kSoftmaxWide:
      return make_softmax_wide(options, prefix, parameters);
    case Kind::kDagpam:
      return make_dagpam(options, prefix, parameters, std::move(lambdas));
    case Kind::kNon:
      return make_non(options);
    case Kind::kNap:
      return make_nap(options, prefix, parameters);
    case Kind::kCoda:
      return make_coda(options);
    case Kind::kCog:
      return make_cog(options);
    case Kind::kDiff:
      return make_diff(options, prefix, parameters);
    case Kind::kDiff2:
      return make_diff2(options);
  }
  TORCH_CHECK(false, "unknown attention kind ", static_cast<int>(options.kind));
}

}  // namespace dagpam::attention
