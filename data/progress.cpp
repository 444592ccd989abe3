#include "data/progress.h"

#include <array>
#include <cstdio>
#include <ostream>
#include <utility>

namespace dagpam::data {

Progress::Progress(std::ostream* out, std::string work)
    : out_(out), work_(std::move(work)), part_begin_(Clock::now()), last_(Clock::now()) {}

void Progress::start(const std::string& part, int64_t bytes) {
  part_ = part;
  part_bytes_ = bytes;
  part_begin_ = Clock::now();
}

void Progress::at(int64_t bytes) {
  constexpr std::chrono::seconds kEvery{2};
  constexpr double kMega = 1e6;
  const auto now = Clock::now();
  if (out_ == nullptr || now - last_ < kEvery) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - part_begin_).count();
  std::array<char, 96> numbers{};
  std::snprintf(numbers.data(), numbers.size(), "%.1f of %.1f MB, %.1f MB/s",
                static_cast<double>(bytes) / kMega, static_cast<double>(part_bytes_) / kMega,
                static_cast<double>(bytes) / kMega / seconds);
  *out_ << work_ << ": " << part_ << " " << numbers.data() << "\n" << std::flush;
}

}  // namespace dagpam::data
