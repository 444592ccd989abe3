// What a step asks of its device. No GPU is needed: on the CPU the operators that make the host
// wait for a number are counted, and on the meta device, whose tensors have shapes and no memory,
// a step that reads a number or mixes devices throws.
#include <ATen/ExpandUtils.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "configs/run_config.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {
namespace {

constexpr int64_t kContext = 8, kVocab = 21, kMicro = 2;

data::Batch some_batch(bool boundaries) {
  data::Batch batch;
  batch.rows = kMicro;
  batch.context = kContext;
  for (int64_t i = 0; i < kMicro; ++i) batch.samples.push_back(i);
  for (int64_t i = 0; i < kMicro * kContext; ++i) {
    batch.inputs.push_back((3 * i) % kVocab);
    batch.targets.push_back((3 * i + 3) % kVocab);
    if (!boundaries) continue;
    batch.positions.push_back(i % kContext % 4);
    batch.key_begin.push_back(static_cast<int32_t>(i % kContext / 4 * 4));
  }
  return batch;
}

configs::RunConfig config_of(const std::vector<std::string>& more) {
  std::vector<std::string> all{"model.layers=2",      "model.width=16", "model.heads=2",
                               "model.context=8",     "model.vocab=21", "train.micro_batch=2",
                               "train.global_batch=4"};
  all.insert(all.end(), more.begin(), more.end());
  return configs::with_defaults(configs::load({}, all));
}

// Operators whose result the host waits for, whoever calls them; and those that read a number. The
// CPU's own kernels read numbers of their arguments too (_fused_adamw_ its count of steps), where
// those of a GPU do not, so of these only calls from outside an operator count.
constexpr const char* kWaiting[] = {"aten::nonzero", "aten::masked_select", "aten::_unique2",
                                    "aten::equal"};
constexpr const char* kReading[] = {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero"};

std::atomic<int> waits{0};   // in this process
thread_local int depth = 0;  // operators around this one

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& op) {
  const auto is_in = [&](const auto& names) {
    return std::any_of(std::begin(names), std::end(names),
                       [&](const char* name) { return std::string(op.name()) == name; });
  };
  if (is_in(kWaiting) || (is_in(kReading) && depth == 0)) ++waits;
  ++depth;
  return nullptr;
}

class CountWaits {
 public:
  CountWaits() {
    waits = 0;
    handle_ = at::addGlobalCallback(
        at::RecordFunctionCallback(enter, [](const at::RecordFunction&, at::ObserverContext*) {
          --depth;
        }).scopes({at::RecordScope::FUNCTION}));
  }
  ~CountWaits() { at::removeCallback(handle_); }
  CountWaits(const CountWaits&) = delete;
  CountWaits& operator=(const CountWaits&) = delete;

 private:
  at::CallbackHandle handle_;
};

TEST(Device, AStepMakesTheHostWaitForNothing) {
  for (const char* zero : {"parallel.zero=0", "parallel.zero=1"}) {
    for (const char* kind : {"attention.kind=SOFTMAX", "attention.kind=DAGPAM"}) {
      const auto self = parallel::make_self_communicator();
      const parallel::Grid grid = parallel::make_grid(*self, 1);
      TrainingStep step(config_of({kind, zero, "model.dropout=0.1", "model.attention_dropout=0.1"}),
                        grid);
      const data::Batch batch = some_batch(true);
      const CountWaits count;
      for (int64_t i = 0; i < 2; ++i) {
        step.compute_gradients(i, [&]() -> const data::Batch& { return batch; });
        step.update(i);
      }
      EXPECT_EQ(waits, 0) << kind << " " << zero;
      step.gradient_norm().item<float>();  // it does count
      EXPECT_EQ(waits, 1);
    }
  }
}

// LibTorch has these on the meta device in Python alone.
at::Tensor meta_index_select(const at::Tensor& self, int64_t dim, const at::Tensor& index) {
  auto shape = self.sizes().vec();
  shape[static_cast<size_t>(dim)] = index.numel();
  return at::empty(shape, self.options());
}

at::Tensor meta_embedding_dense_backward(const at::Tensor& grad, const at::Tensor&,
                                         c10::SymInt rows, c10::SymInt, bool) {
  return at::empty({rows.expect_int(), grad.size(-1)}, grad.options());
}

at::Tensor meta_where(const at::Tensor& which, const at::Tensor& a, const at::Tensor& b) {
  const auto shape = at::infer_size(which.sizes(), at::infer_size(a.sizes(), b.sizes()));
  return at::empty(shape, a.dim() > 0 ? a.options() : b.options());
}

at::Tensor meta_logical(const at::Tensor& a, const at::Tensor& b) {
  return at::empty(at::infer_size(a.sizes(), b.sizes()), a.options().dtype(at::kBool));
}

at::Tensor meta_logical_not(const at::Tensor& a) {
  return at::empty(a.sizes(), a.options().dtype(at::kBool));
}

// Types of what ReLU was taken of: of the queries alone, since the MLPs have GELU.
std::vector<at::ScalarType>& mapped_types() {
  static std::vector<at::ScalarType> seen;
  return seen;
}

at::Tensor meta_relu(const at::Tensor& x) {
  mapped_types().push_back(x.scalar_type());
  return at::empty_like(x);
}

at::Tensor meta_safe_softmax(const at::Tensor& x, int64_t, std::optional<at::ScalarType>) {
  return at::empty_like(x);
}

using Three = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

Three meta_layer_norm(const at::Tensor& x, c10::SymIntArrayRef, const std::optional<at::Tensor>&,
                      const std::optional<at::Tensor>&, double) {
  auto shape = x.sizes().vec();
  shape.back() = 1;
  return {at::empty_like(x), at::empty(shape, x.options()), at::empty(shape, x.options())};
}

Three meta_layer_norm_backward(const at::Tensor& dy, const at::Tensor&, c10::SymIntArrayRef,
                               const at::Tensor&, const at::Tensor&,
                               const std::optional<at::Tensor>& weight,
                               const std::optional<at::Tensor>& bias, std::array<bool, 3>) {
  return {at::empty_like(dy), at::empty_like(*weight), at::empty_like(*bias)};
}

TORCH_LIBRARY_IMPL(aten, Meta, m) {
  m.impl("index_select", meta_index_select);
  m.impl("where.self", meta_where);
  m.impl("relu", meta_relu);
  m.impl("logical_and", meta_logical);
  m.impl("logical_or", meta_logical);
  m.impl("logical_not", meta_logical_not);
  m.impl("_safe_softmax", meta_safe_softmax);
  m.impl("embedding_dense_backward", meta_embedding_dense_backward);
  m.impl("native_layer_norm", meta_layer_norm);
  m.impl("native_layer_norm_backward", meta_layer_norm_backward);
}

TEST(Device, AStepStaysOnItsDevice) {
  for (const char* kind : {"SOFTMAX", "SOFTMAX_WIDE", "DAGPAM"}) {
    for (const char* positions : {"LEARNED", "SINUSOIDAL", "ROTARY"}) {
      for (const char* lambdas : {"FIXED", "TRAINED"}) {
        for (const bool boundaries : {false, true}) {
          SCOPED_TRACE(std::string(kind) + " " + positions + " " + lambdas);
          const auto self = parallel::make_self_communicator(at::kMeta);
          const parallel::Grid grid = parallel::make_grid(*self, 1);
          TrainingStep step(config_of({std::string("attention.kind=") + kind,
                                       std::string("model.positions=") + positions,
                                       std::string("attention.lambda.mode=") + lambdas}),
                            grid);
          const data::Batch batch = some_batch(boundaries);
          const at::Tensor loss =
              step.compute_gradients(0, [&]() -> const data::Batch& { return batch; });
          EXPECT_TRUE(loss.is_meta());
          EXPECT_TRUE(step.gradient_norm().is_meta());
          for (const auto& parameter : step.model().parameters().all()) {
            EXPECT_TRUE(parameter->value.is_meta() && parameter->value.grad().is_meta());
          }
        }
      }
    }
  }
}

// The library's kernels for GPUs that matter take half types; a CPU's attention is widened instead.
TEST(Device, AttentionOfAGpuStaysInBFloat16) {
  for (const char* kind : {"SOFTMAX_WIDE", "DAGPAM"}) {
    mapped_types().clear();
    const auto self = parallel::make_self_communicator(at::kMeta);
    const parallel::Grid grid = parallel::make_grid(*self, 1);
    TrainingStep step(config_of({std::string("attention.kind=") + kind, "train.precision=BF16"}),
                      grid);
    const data::Batch batch = some_batch(false);
    step.compute_gradients(0, [&]() -> const data::Batch& { return batch; });
    // Two layers, two micro-batches.
    EXPECT_EQ(mapped_types(), std::vector<at::ScalarType>(4, at::kBFloat16)) << kind;
  }
}

}  // namespace
}  // namespace dagpam::trainer
