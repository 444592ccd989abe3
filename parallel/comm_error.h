// parallel/comm_error.h: what a failed or overdue collective throws.
#pragma once

#include <stdexcept>
#include <string>

namespace dagpam::parallel {

// The text names rank, group, collective, sequence number, expression and the library's own words.
class CommError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace dagpam::parallel
