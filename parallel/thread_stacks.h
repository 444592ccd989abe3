// parallel/thread_stacks.h: where every thread of this process is, for the report of a hang.
#pragma once

namespace dagpam::parallel {

// Once, before it is needed: takes the signal SIGRTMIN + 3 and loads what unwinding needs.
void prepare_thread_stacks();

// Writes the call stack of every thread to this file descriptor, as module(function+offset) where
// names are known. Uses only what works while another thread holds any lock; a thread that does not
// answer within a second (it waits for a device) is said to. One caller at a time.
void write_thread_stacks(int fd);

}  // namespace dagpam::parallel
