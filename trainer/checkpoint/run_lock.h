// trainer/checkpoint/run_lock.h: one program writes to a run folder at a time.
//
// RUN/LOCK is held by flock for the life of the object (the kernel frees it when the process dies,
// however that happens) and says who holds it: lines "host", "pid", "started", "job", "lease". A
// clean end empties it; text in a LOCK that nobody holds tells of a run that died. On network file
// systems without flock across hosts the lease still tells two generations of a run apart: check()
// before anything is committed.
#pragma once

#include <string>

namespace dagpam::checkpoint {

class RunLock {
 public:
  // Takes the lock at once or throws CheckpointError naming the holder; IoError where the file
  // cannot be made. The folder exists. `job`: the batch system's id, if there is one. Rank 0 alone
  // takes it.
  explicit RunLock(const std::string& run_dir, const std::string& job = "");

  ~RunLock();  // release()
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  // 32 hex digits, new with each lock; names this start of the program in temporary files.
  const std::string& lease() const { return lease_; }

  // Throws CheckpointError where RUN/LOCK is gone or holds another lease: another start has taken
  // over.
  void check() const;

  void release() noexcept;  // empties and frees the file; later calls do nothing

 private:
  std::string path_;
  int fd_ = -1;
  std::string lease_;
};

}  // namespace dagpam::checkpoint
