#include "trainer/profiler.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <filesystem>

#include "configs/errors.h"

namespace dagpam::trainer {

namespace {

constexpr int64_t kWarmUpSteps = 2;

}  // namespace

void StepProfiler::begin_step() {
  if (running_ || left_ == 0 || seen_ < kWarmUpSteps) return;
  using namespace torch::autograd::profiler;
  const ProfilerConfig config(ProfilerState::KINETO);
  std::set<ActivityType> activities{ActivityType::CPU};
  if (on_gpu_) activities.insert(ActivityType::CUDA);
  prepareProfiler(config, activities);
  enableProfiler(config, activities);
  running_ = true;
}

void StepProfiler::end_step() {
  ++seen_;
  if (!running_ || --left_ > 0) return;
  running_ = false;
  const auto trace = torch::autograd::profiler::disableProfiler();
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  trace->save(path_);
  if (!std::filesystem::exists(path_)) throw IoError(path_ + ": cannot write the trace");
}

}  // namespace dagpam::trainer
