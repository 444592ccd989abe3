// A step on a GPU against the same step on the CPU. Without a GPU it says so and is skipped.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "attention/reference.h"
#include "configs/run_config.h"
#include "parallel/random.h"
#include "tests/parallel/run_on_gpu.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {
namespace {

const at::Device kGpu(at::kCUDA, 0);

data::Batch some_batch() {
  data::Batch batch;
  batch.rows = 2;
  batch.context = 8;
  for (int64_t i = 0; i < 2; ++i) batch.samples.push_back(i + 5);
  for (int64_t i = 0; i < 16; ++i) {
    batch.inputs.push_back((3 * i) % 21);
    batch.targets.push_back((3 * i + 3) % 21);
  }
  return batch;
}

configs::RunConfig config_of(const std::string& kind, const std::string& precision,
                             int64_t micro_batches = 1) {
  return configs::with_defaults(configs::load(
      {}, {"model.layers=2", "model.width=32", "model.heads=4", "model.context=8", "model.vocab=21",
           "train.micro_batch=2", "train.global_batch=" + std::to_string(2 * micro_batches),
           "attention.kind=" + kind, "model.dropout=0.1", "train.precision=" + precision}));
}

TEST(Gpu, DropoutDrawsTheSameBits) {
  const at::Tensor samples = at::arange(3, at::kLong).add(40);
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const at::Tensor x =
        at::arange(3 * 7 * 130, at::kDouble).sub(900.3).mul(0.37).to(type).view({3, 7, 130});
    const at::Tensor expected = parallel::dropout(x, samples, 0.3, 99, 4);
    const at::Tensor y = parallel::dropout(x.to(kGpu), samples.to(kGpu), 0.3, 99, 4);
    EXPECT_TRUE(y.cpu().equal(expected));
  }
  attention::WeightDropout dropout{0.3, 99, samples, 6};
  const auto options = at::TensorOptions(at::kFloat);
  const at::Tensor expected =
      attention::reference::dropout_factors(dropout, {3, 2, 5, 11}, options);
  dropout.samples = samples.to(kGpu);
  EXPECT_TRUE(attention::reference::dropout_factors(dropout, {3, 2, 5, 11}, options.device(kGpu))
                  .cpu()
                  .equal(expected));
}

void expect_same_training(const std::string& kind, const std::string& precision, double allowed,
                          int64_t micro_batches = 1) {
  SCOPED_TRACE(kind + " " + precision);
  const auto cpu = parallel::make_self_communicator(), gpu = parallel::make_self_communicator(kGpu);
  const parallel::Grid cpu_grid = parallel::make_grid(*cpu, 1),
                       gpu_grid = parallel::make_grid(*gpu, 1);
  const configs::RunConfig config = config_of(kind, precision, micro_batches);
  TrainingStep ours(config, gpu_grid), theirs(config, cpu_grid);
  const auto &a = ours.model().parameters().all(), &b = theirs.model().parameters().all();
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(a[i]->value.is_cuda());
    EXPECT_TRUE(a[i]->value.cpu().equal(b[i]->value)) << a[i]->name;
  }
  const data::Batch batch = some_batch();
  const auto next = [&]() -> const data::Batch& { return batch; };
  for (int64_t step = 0; step < 3; ++step) {
    const double mine = ours.compute_gradients(step, next).item<double>();
    const double other = theirs.compute_gradients(step, next).item<double>();
    EXPECT_LE(std::abs(mine - other), allowed * other) << " step " << step;
    const double norm = theirs.gradient_norm().item<double>();
    EXPECT_LE(std::abs(ours.gradient_norm().item<double>() - norm), 10 * allowed * norm)
        << " step " << step;
    ours.update(step);
    theirs.update(step);
  }
}

// In BF16 a CPU's attention computes in float32, a GPU's does not.
TEST(Gpu, TrainsAsTheCpuDoes) {
  for (const char* kind : {"SOFTMAX", "SOFTMAX_WIDE", "DAGPAM"}) {
    expect_same_training(kind, "FP32", 1e-5);
    expect_same_training(kind, "BF16", 1e-2);
    expect_same_training(kind, "BF16", 1e-2, 3);
  }
}

}  // namespace
}  // namespace dagpam::trainer

int main(int argc, char** argv) { return dagpam::parallel::run_on_gpu(argc, argv); }
