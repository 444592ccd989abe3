// launch/bench/bench_decode.h: time of a token in generation, beside the time in which this machine
// reads the bytes that a token needs.
#pragma once

#include <cstdint>
#include <vector>

#include "configs/run.pb.h"

namespace dagpam::launch {

struct DecodeBenchOptions {
  configs::RunConfig config;
  std::vector<int64_t> batches{1, 32};
  int64_t past = 256;   // tokens in the caches before
  int64_t tokens = 16;  // a round
  int64_t rounds = 5;
  bool json = false;
};

// On the CPU, with weights as they are initialised and model.vocab symbols. A step takes one token
// of each sequence through the model, reading every weight once and the keys and values of each
// sequence, and draws the next as `dagpam generate` does. The peer of a row is a sum over a tensor
// larger than the caches, at the rate of which as many bytes would be read; it takes turns with us.
// Throws ConfigError where the context has no room for past + tokens, or without model.vocab.
void bench_decode(const DecodeBenchOptions& options);

}  // namespace dagpam::launch
