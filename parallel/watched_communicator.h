// parallel/watched_communicator.h: a group whose calls are recorded, and compared before they are
// made.
#pragma once

#include <memory>

#include "parallel/communicator.h"
#include "parallel/flight_recorder.h"

namespace dagpam::parallel {

struct WatchOptions {
  // Gets every call when it begins and when it is waited for; must outlive the group and its parts.
  FlightRecorder* recorder = nullptr;
  // Before each collective the ranks compare what they are about to call (operation, type, shape,
  // root, number of calls so far): 8 bytes a rank, and a wait of the host. For the search of a
  // mistake, not for production. Where it differs, every rank throws CommError with what each
  // calls.
  bool compare = false;
};

// `inner`, watched; it must outlive the watched group. The groups split from that are watched
// alike.
std::unique_ptr<Communicator> make_watched_communicator(Communicator& inner,
                                                        const WatchOptions& options);

}  // namespace dagpam::parallel
