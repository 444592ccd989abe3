// attention/hopper/cuda_check.h: a CUDA runtime call's error as an exception with what was called,
// where, and the library's text. Included where cuda_runtime_api.h is.
#pragma once

#include <stdexcept>
#include <string>

#define DAGPAM_HOPPER_CHECK(...)                                                            \
  do {                                                                                      \
    const auto dagpam_error = (__VA_ARGS__);                                                \
    if (static_cast<int>(dagpam_error) != 0) {                                              \
      throw std::runtime_error(std::string(#__VA_ARGS__) + " at " __FILE__ ":" +            \
                               std::to_string(__LINE__) + ": " +                            \
                               cudaGetErrorString(static_cast<cudaError_t>(dagpam_error))); \
    }                                                                                       \
  } while (false)
