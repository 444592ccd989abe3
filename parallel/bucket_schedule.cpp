#include "parallel/bucket_schedule.h"

#include <c10/util/Exception.h>

#include <utility>

namespace dagpam::parallel {

BucketSchedule::BucketSchedule(std::function<WorkPtr(size_t)> start, bool overlap)
    : start_(std::move(start)), overlap_(overlap) {}

void BucketSchedule::add_bucket(size_t members) { buckets_.push_back({members, members, nullptr}); }

void BucketSchedule::begin_step() {
  TORCH_CHECK(started_ == 0, "a step begins before the last one's gradients were reduced");
  reducing_ = false;
}

void BucketSchedule::reduce_from_now_on() {
  TORCH_CHECK(!reducing_, "reduce_from_now_on is called once a step");
  reducing_ = true;
  for (Bucket& bucket : buckets_) bucket.missing = bucket.members;
}

void BucketSchedule::start_next() {
  Bucket& bucket = buckets_[started_];
  bucket.work = start_(started_);
  ++started_;
}

void BucketSchedule::reached(size_t bucket) {
  --buckets_[bucket].missing;
  if (!overlap_) return;
  while (started_ < buckets_.size() && buckets_[started_].missing == 0) {
    start_next();
    if (const WorkPtr& work = buckets_[started_ - 1].work) work->keep_moving();
  }
  for (size_t i = 0; i < started_; ++i) {
    if (buckets_[i].work) buckets_[i].work->make_progress();
  }
}

void BucketSchedule::finish(const std::function<void(size_t)>& done) {
  while (started_ < buckets_.size()) start_next();
  for (size_t i = 0; i < buckets_.size(); ++i) {
    if (buckets_[i].work) buckets_[i].work->wait();
    buckets_[i].work.reset();
    done(i);
  }
  started_ = 0;
  reducing_ = false;
}

}  // namespace dagpam::parallel
