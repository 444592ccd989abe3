// attention/attention.h: one layer's attention variant behind one interface.
//
// Legend: B batch, N queries, M keys, H query heads on this rank, Hkv key-value heads on this rank,
// D head width. Query head h reads key-value head h / (H / Hkv).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/parameter.h"
#include "parallel/random.h"

namespace dagpam::attention {

enum class Kind { kSoftmax, kSoftmaxWide, kDagpam, kNon, kNap, kCoda, kCog, kDiff, kDiff2 };

// What serves daGPAM on a GPU: the faster by a measured table, LibTorch's attention (composed.h) or
// the project's kernels (fused.h; where they cannot serve, LibTorch's does and a note says why).
enum class GpuPath { kAuto, kComposed, kFused };

// Which keys a query row may see: an interval, because causal order, padding and document ends all
// cut intervals. Without tensors: all keys, or (causal) the keys up to the query's own place, the
// last query being aligned with the last key.
struct Visibility {
  bool causal = true;
  at::Tensor begin;  // [B, N] int32 or undefined (0): first visible key
  at::Tensor
      end;  // [B, N] int32 or undefined (M): one past the last visible key; causal cuts it further
};

// Rotary position embedding (Su et al. 2021), halves convention (first with second half of the head
// width).
struct Rotary {
  at::Tensor cos, sin;  // [N, D / 2] or [B, N, D / 2], at the positions of the queries and new keys
};

// Dropout on attention weights; see parallel/random.h for the counters.
struct WeightDropout {
  double p = 0;
  parallel::DropoutKey key = {};
  at::Tensor samples;       // [B] int64, global sample index
  int64_t head_offset = 0;  // global index of this rank's first head
};

struct Options {
  Kind kind = Kind::kSoftmax;
  int64_t heads = 1, kv_heads = 1, head_width = 1;
  int64_t layer = 0;       // counted from 0; DIFF's lambda starts lower in early layers
  bool reference = false;  // the plain path, also where a faster one serves
  GpuPath gpu = GpuPath::kAuto;
};

// Heads of the queries that a layer takes: H, but 2 H for DIFF2, whose two maps have queries of
// their own: head 2 h and 2 h + 1 are those of head h.
int64_t query_heads(const Options& options);

// The scalars of DAGPAM as the layer uses them: after squashing.
struct Lambdas {
  at::Tensor plus, minus;  // [H] or [1], same dtype as the queries
};

// Earlier keys and values of a sequence that is being generated.
struct KeyValueCache {
  at::Tensor k, v;  // [B, capacity, Hkv, D], keys already rotated
  int64_t length = 0;
};

// The weights of one call, for who looks at a model. 0 for keys that a query does not see.
struct SeenWeights {
  at::Tensor weights;      // [B, H, N, M], A of Y = A V; of DIFF [B, H / 2, N, M]: one a pair
  at::Tensor plus, minus;  // the two softmaxes that A is made of, in DAGPAM, DIFF and DIFF2
  at::Tensor visible;      // [B or 1, 1, N, M] booleans
};

// What one forward takes. Tensors of one type and device, any strides with unit stride in D.
struct Inputs {
  at::Tensor q;     // [B, N, query_heads(), D]
  at::Tensor k, v;  // [B, M, Hkv, D]
  Visibility visibility;
  at::Tensor gate = {};                    // [B, N, H], of DIFF2 alone
  const Rotary* rotary = nullptr;          // q and k come un-rotated, and M = N new keys
  const WeightDropout* dropout = nullptr;  // on the weights of this call
  // k and v are appended to it first, and M in `visibility` is its new length.
  KeyValueCache* cache = nullptr;
  // Taken in place of lambdas(): a forward that is computed again in backward gets them as inputs,
  // since layers may share them.
  const Lambdas* lambdas = nullptr;
  // Filled in where it is given: then the plain path serves, without gradients and dropout.
  SeenWeights* seen = nullptr;
};

class Attention {
 public:
  virtual ~Attention() = default;

  // -> [B, N, H, D] contiguous. Rows that see no key give 0, with gradient 0. Throws c10::Error
  // where inputs do not fit the layer or each other.
  virtual at::Tensor forward(const Inputs& inputs) = 0;

  virtual Lambdas lambdas() const { return {}; }  // of DAGPAM, with gradient where trained
};

// Declares the layer's parameters under `prefix` (e.g. "layers.3.attention.") in `parameters`:
// `w_neg` [H, D, D], normal of deviation D^-0.5, for SOFTMAX_WIDE and DAGPAM; `gain` and `bias` [H]
// for NAP; `lq1`, `lk1`, `lq2`, `lk2` [D], normal of deviation 0.1, and
// `norm` [2 D] for DIFF. `lambdas` is called at each forward of a DAGPAM layer (see
// attention/lambdas.h for who owns trained ones). Throws c10::Error for impossible options.
std::unique_ptr<Attention> make_attention(const Options& options, const std::string& prefix,
                                          parallel::ParameterList& parameters,
                                          std::function<Lambdas()> lambdas);

}  // namespace dagpam::attention
