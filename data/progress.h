// data/progress.h: a line now and then from work that takes long.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace dagpam::data {

// Quiet for the first two seconds, then a line every two: "prepare: train 45.0 of 90.0 MB, 12.3
// MB/s".
class Progress {
 public:
  // `out` may be null: quiet.
  Progress(std::ostream* out, std::string work);

  void start(const std::string& part, int64_t bytes);
  void at(int64_t bytes);  // of the part

 private:
  using Clock = std::chrono::steady_clock;

  std::ostream* out_;
  std::string work_, part_;
  int64_t part_bytes_ = 0;
  Clock::time_point part_begin_, last_;
};

}  // namespace dagpam::data
