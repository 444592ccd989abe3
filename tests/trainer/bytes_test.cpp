// The bytes of a step are those of docs/parallelism.md.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "data/batch_source.h"
#include "trainer/run_plan.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {
namespace {

constexpr int64_t kLayers = 3, kWidth = 32, kContext = 8, kVocab = 21, kMicro = 2, kAccumulate = 3;

configs::RunConfig config_of(int tp, bool sequence, int dp, bool zero) {
  configs::RunConfig config = configs::with_defaults(configs::load(
      {}, {"model.layers=3", "model.width=32", "model.heads=4", "model.context=8", "model.vocab=21",
           "attention.kind=DAGPAM", "attention.lambda.scope=LAYER", "train.micro_batch=2",
           "parallel.bucket_mib=0.01", "train.global_batch=" + std::to_string(dp * 6),
           "parallel.tensor=" + std::to_string(tp), zero ? "parallel.zero=1" : "parallel.zero=0",
           std::string("parallel.sequence_parallel=") + (sequence ? "true" : "false")}));
  return config;
}

data::Batch some_batch(int64_t number) {
  data::Batch batch;
  batch.rows = kMicro;
  batch.context = kContext;
  for (int64_t i = 0; i < kMicro; ++i) batch.samples.push_back(number * kMicro + i);
  for (int64_t i = 0; i < kMicro * kContext; ++i) {
    batch.inputs.push_back((number + 3 * i) % kVocab);
    batch.targets.push_back((number + 3 * i + 3) % kVocab);
  }
  return batch;
}

struct Sizes {
  int64_t all = 0, partial = 0;              // elements on this rank
  int64_t segment = 0, partial_segment = 0;  // of ZeRO: what a copy owns, with padding
};

Sizes sizes_of(TrainingStep& step, int dp) {
  Sizes sizes;
  for (const auto& parameter : step.model().parameters().all()) {
    const at::Tensor& value = parameter->value;
    const int64_t owned = (value.size(0) + dp - 1) / dp * (value.numel() / value.size(0));
    sizes.all += value.numel();
    sizes.segment += owned;
    if (!parameter->partial_gradient) continue;
    sizes.partial += value.numel();
    sizes.partial_segment += owned;
  }
  return sizes;
}

void expect(const parallel::CommCounts::Op& op, int64_t calls, int64_t bytes, const char* what) {
  if (calls >= 0) {
    EXPECT_EQ(op.calls, calls) << what;
  }
  EXPECT_EQ(op.bytes, bytes) << what;
}

void check_grid(int dp, int tp, bool sequence, bool zero = false, bool recompute = false,
                bool bf16 = false) {
  SCOPED_TRACE(std::to_string(dp) + " x " + std::to_string(tp) + (sequence ? " sp" : "") +
               (zero ? " zero" : ""));
  parallel::run_ranks_as_threads(dp * tp, [&](parallel::Communicator& world) {
    const parallel::Grid grid = parallel::make_grid(world, tp);
    configs::RunConfig config = config_of(tp, sequence, dp, zero);
    if (recompute) config.mutable_train()->set_recompute(configs::TrainConfig::FULL);
    if (bf16) config.mutable_train()->set_precision(configs::TrainConfig::BF16);
    const int64_t number = bf16 ? 2 : 4;  // bytes of weights and activations; sums are float32
    TrainingStep step(config, grid);
    const parallel::CommCounts dp_before = grid.dp->counts(), tp_before = grid.tp->counts();
    EXPECT_EQ(dp_before.all_reduce.calls + tp_before.all_reduce.calls, 0);
    data::Batch batch;
    int64_t next = grid.dp->rank() * 10;
    step.compute_gradients(0, [&]() -> const data::Batch& { return batch = some_batch(next++); });
    step.update(0);

    const Sizes sizes = sizes_of(step, dp);
    const parallel::CommCounts& d = grid.dp->counts();
    const parallel::CommCounts& t = grid.tp->counts();
    constexpr int64_t kStream = 4 * kMicro * kContext * kWidth;
    const int64_t doors = kAccumulate * ((recompute ? 6 : 4) * kLayers + 2);
    constexpr int64_t kLoss = kAccumulate * 12 * kMicro * kContext;
    if (zero) {
      expect(d.all_reduce, 1, 8, "dp all-reduce");
      expect(d.reduce_scatter, -1, 4 * dp * sizes.segment, "dp reduce-scatter");
      expect(d.all_gather, d.reduce_scatter.calls, number * dp * sizes.segment, "dp all-gather");
      EXPECT_GT(d.reduce_scatter.calls, 3) << "one bucket alone shows no overlap";
    } else if (dp > 1) {
      expect(d.all_reduce, -1, 4 * sizes.all, "dp all-reduce");
      EXPECT_GT(d.all_reduce.calls, 3) << "one bucket alone shows no overlap";
    }
    if (tp > 1) {
      const int64_t once_a_step = 4 * (zero ? sizes.partial_segment : sizes.partial) + 4;
      expect(t.all_reduce, -1, (sequence ? 0 : doors * kStream) + kLoss + once_a_step,
             "tp all-reduce");
      expect(t.all_gather, sequence ? doors : 0, sequence ? doors * kStream * number / 4 : 0,
             "tp all-gather");
      expect(t.reduce_scatter, sequence ? doors : 0, sequence ? doors * kStream : 0,
             "tp reduce-scatter");
      // LAYER scope: two lambdas a layer; sequence: norms, biases behind sums and positions too.
      EXPECT_EQ(sizes.partial,
                2 * kLayers + (sequence ? kWidth * (6 * kLayers + 2 + kContext) : 0));
    }
    for (const parallel::CommCounts* c : {&d, &t}) {
      expect(c->broadcast, 0, 0, "broadcast");
      expect(c->send, 0, 0, "send");
      expect(c->recv, 0, 0, "recv");
      expect(c->barrier, 0, 0, "barrier");
    }
  });
}

TEST(BytesTest, DataParallel) { check_grid(4, 1, false); }
TEST(BytesTest, TensorParallel) { check_grid(1, 4, false); }
TEST(BytesTest, SequenceParallel) { check_grid(1, 2, true); }
TEST(BytesTest, Grids) {
  check_grid(2, 2, false);
  check_grid(2, 2, true);
  check_grid(3, 4, true);
}
TEST(BytesTest, RecomputedBlocksTalkAgain) {
  check_grid(1, 2, false, false, true);
  check_grid(2, 2, true, true, true);
}
TEST(BytesTest, Zero) {
  check_grid(4, 1, false, true);
  check_grid(3, 1, false, true);
  check_grid(2, 2, false, true);
  check_grid(2, 4, true, true);
}
TEST(BytesTest, Bf16) {
  check_grid(4, 1, false, false, false, true);
  check_grid(2, 2, true, false, false, true);
  check_grid(2, 2, false, true, false, true);
}

}  // namespace
}  // namespace dagpam::trainer
