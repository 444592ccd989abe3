#include "trainer/run_saver.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <utility>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "data/tokenizer.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

using checkpoint::posix_file_system;

template <typename T>
bool is_ready(const std::future<T>& future) {
  return future.valid() && future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

void require_finite(const std::vector<checkpoint::TensorPiece>& pieces, int64_t step) {
  constexpr uint32_t kExponent = 0x7f800000;  // all ones: infinite or not a number
  for (const checkpoint::TensorPiece& piece : pieces) {
    const auto* values = reinterpret_cast<const float*>(piece.bytes.data());
    const size_t count = piece.bytes.size() / sizeof(float);
    bool bad = false;
    for (size_t i = 0; i < count; ++i) {
      bad |= (std::bit_cast<uint32_t>(values[i]) & kExponent) == kExponent;
    }
    if (!bad) continue;
    throw NonFiniteError("step " + std::to_string(step) + ": " + piece.name +
                         " holds numbers that are not finite: nothing was saved; lower "
                         "optimizer.lr, or look at the data; the last checkpoint is good");
  }
}

std::string words(int64_t step, double stall_ms, double seconds) {
  char text[128];
  std::snprintf(text, sizeof text, "saved step %lld (training waited %.1f ms, written in %.2f s)",
                static_cast<long long>(step), stall_ms, seconds);
  return text;
}

}  // namespace

RunSaver::RunSaver(SaveSettings settings, TrainingStep& step, const parallel::Grid& grid,
                   parallel::Communicator& world)
    : settings_(std::move(settings)), step_(step), grid_(grid), world_(world) {
  if (world.rank() == 0) {
    tokenizer_digest_ = data::tokenizer_from_json(settings_.tokenizer_json)->digest();
  }
}

RunSaver::~RunSaver() = default;

void RunSaver::begin(const Progress& progress) {
  const Clock::time_point start = Clock::now();
  if (state_ != State::kIdle && world_.rank() == 0) {
    log_info("the save of step " + std::to_string(progress.step) + " waits for that of step " +
             std::to_string(saving_));
  }
  finish();
  const auto& config = settings_.config;
  snapshot_.take(state_of(step_, config.parallel().zero() == 1), grid_,
                 config.checkpoint().asynchronous());
  if (world_.rank() == 0) {
    Progress here = progress;
    here.saved_dp = grid_.topology.dp();
    here.saved_tp = grid_.topology.tp();
    manifest_ = to_manifest(here, config, tokenizer_digest_,
                            step_.rate(std::max<int64_t>(progress.step - 1, 0)));
  }
  saving_ = progress.step;
  writer_ = std::make_unique<checkpoint::CheckpointWriter>(
      posix_file_system(), checkpoint::SaveOptions{settings_.checkpoints, progress.step,
                                                   progress.run_id, settings_.lease, log_warning});
  record_.clear();
  begun_ = start;
  state_ = State::kShards;
  ++saves_;
  shard_ = std::async(std::launch::async, [this] { return write_shard(); });
  if (!config.checkpoint().asynchronous()) {
    shard_.wait();
    gather();
    if (commit_.valid()) commit_.wait();
  }
  stall_ms_ = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  if (!config.checkpoint().asynchronous()) finish();
}

std::string RunSaver::write_shard() {
  require_finite(snapshot_.pieces(), saving_);
  return writer_->write_shard(world_.rank(), world_.size(), snapshot_.pieces());
}

void RunSaver::commit(const std::vector<std::string>& records) {
  auto& fs = posix_file_system();
  writer_->commit(manifest_, records,
                  {{checkpoint::kConfigName, configs::print(settings_.config)},
                   {checkpoint::kTokenizerName, settings_.tokenizer_json}},
                  settings_.before_commit);
  const auto& keep = settings_.config.checkpoint();
  checkpoint::prune(fs, settings_.checkpoints, {keep.keep(), keep.keep_every(), keep.keep_best()},
                    settings_.lease);
}

void RunSaver::bring(Agreement& agreement) {
  heard_for_ = std::exchange(brought_for_, saves_);
  if (state_ == State::kShards && is_ready(shard_)) record_ = shard_.get();
  agreement.bring(Vote::kShardWritten, state_ == State::kShards && !shard_.valid());
  agreement.bring(Vote::kCommitted, state_ == State::kCommit && is_ready(commit_));
}

void RunSaver::advance(const Agreement& agreement) {
  if (heard_for_ != saves_) return;  // the votes speak of an earlier save
  if (state_ == State::kShards && agreement.count(Vote::kShardWritten) == world_.size()) {
    gather();
  } else if (state_ == State::kCommit && agreement.count(Vote::kCommitted) > 0) {
    close();
  }
}

void RunSaver::finish() {
  if (state_ == State::kShards) gather();
  if (state_ != State::kCommit) return;
  close();
  world_.barrier();
}

void RunSaver::gather() {
  if (shard_.valid()) record_ = shard_.get();
  auto records = world_.all_gather_bytes(record_);
  state_ = State::kCommit;
  if (world_.rank() != 0) return;
  commit_ = std::async(std::launch::async, [this, all = std::move(records)] { commit(all); });
}

// Rank 0 waits for the commit.
void RunSaver::close() {
  if (commit_.valid()) commit_.get();
  state_ = State::kIdle;
  committed_ = saving_;
  const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
  if (world_.rank() == 0) log_info(words(saving_, stall_ms_, seconds));
}

}  // namespace dagpam::trainer
