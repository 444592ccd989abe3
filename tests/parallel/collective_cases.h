// Cases that hold in a group of any size, for ranks as threads and as processes: every rank of
// `group` runs them. The expected numbers are closed forms in rank r, size P and index i.
#pragma once

#include "parallel/communicator.h"

namespace dagpam::parallel::cases {

// Where the cases that follow make their tensors; the CPU at first. Not while ranks run as threads.
void on_device(at::Device where);

void all_reduce(Communicator& group);
void all_reduce_out_of_order_waits(Communicator& group);
void all_gather(Communicator& group);
void reduce_scatter(Communicator& group);
void broadcast(Communicator& group);
void send_and_recv(Communicator& group);
void all_gather_bytes(Communicator& group);
void split(Communicator& group);
void counts(Communicator& group);
void consistency(Communicator& group);
void refusals(Communicator& group);  // sends nothing

inline void all(Communicator& group) {
  all_reduce(group);
  all_reduce_out_of_order_waits(group);
  all_gather(group);
  reduce_scatter(group);
  broadcast(group);
  send_and_recv(group);
  all_gather_bytes(group);
  split(group);
  counts(group);
  consistency(group);
  refusals(group);
}

}  // namespace dagpam::parallel::cases
