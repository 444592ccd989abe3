// parallel/bucket_schedule.h: when the reduction of which bucket of gradients starts.
//
// A bucket is full when all of its members were reached in the last micro-batch's backward. Full
// buckets start in order, each once all before it have started, so that every rank makes the same
// calls in the same order whatever order its backward takes.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "parallel/communicator.h"

namespace dagpam::parallel {

class BucketSchedule {
 public:
  // start(b) begins the reduction of bucket b, or gives nullptr where there is nothing to wait for.
  // Without `overlap` all start in finish().
  BucketSchedule(std::function<WorkPtr(size_t)> start, bool overlap);
  void add_bucket(size_t members);

  // As those of GradientReducer. begin_step throws c10::Error where reductions are under way.
  void begin_step();
  void reduce_from_now_on();
  bool reducing() const { return reducing_; }

  // A member of `bucket` has its last gradient; only while reducing.
  void reached(size_t bucket);

  // Starts what has not started and waits for each in turn; done(b) follows each wait.
  void finish(const std::function<void(size_t)>& done);

 private:
  struct Bucket {
    size_t members = 0, missing = 0;  // not yet reached
    WorkPtr work;                     // under way
  };

  void start_next();

  std::function<WorkPtr(size_t)> start_;
  bool overlap_, reducing_ = false;
  std::vector<Bucket> buckets_;
  size_t started_ = 0;  // buckets [0, started_) are under way
};

}  // namespace dagpam::parallel
