#include "trainer/run_control.h"

#include <utility>

namespace dagpam::trainer {

RunControl::RunControl(RunLimits limits, parallel::Communicator& world)
    : limits_(std::move(limits)), agreement_(world) {
  if (world.rank() == 0) files_ = std::make_unique<RequestFiles>(limits_.run_dir);
}

bool RunControl::poll(RunSaver* saver) {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
  agreement_.bring(Vote::kSignal, signal_.received() != 0);
  agreement_.bring(Vote::kTimeOver,
                   limits_.max_minutes > 0 && seconds.count() > 60 * limits_.max_minutes);
  agreement_.bring(Vote::kStopFile, files_ && files_->stop());
  const bool tell = files_ && files_->save() && !save_told_;
  agreement_.bring(Vote::kSaveFile, tell);
  save_told_ |= tell;
  if (saver) saver->bring(agreement_);
  agreement_.exchange();
  if (saver) saver->advance(agreement_);

  if (agreement_.count(Vote::kSaveFile) > 0) {
    save_wish_ = true;
    if (files_) files_->taken_save();
    save_told_ = false;
  }
  if (stop()) return true;
  interrupted_ = agreement_.count(Vote::kSignal) > 0;
  stop_file_ = agreement_.count(Vote::kStopFile) > 0;
  if (agreement_.count(Vote::kTimeOver) > 0) reason_ = "--max-minutes is over";
  if (stop_file_) reason_ = "the file STOP in the run folder";
  if (interrupted_) reason_ = "a signal";
  return stop();
}

bool RunControl::poll_now(RunSaver* saver) {
  poll(saver);
  return poll(saver);
}

bool RunControl::stop_after(int64_t step) {
  if (!stop() && limits_.stop_after > 0 && step >= limits_.stop_after) {
    reason_ = "--stop-after " + std::to_string(limits_.stop_after);
  }
  return stop();
}

bool RunControl::take_save_wish() { return std::exchange(save_wish_, false); }

void RunControl::settle() {
  agreement_.settle();
  if (files_ && stop_file_) files_->taken_stop();
}

}  // namespace dagpam::trainer
