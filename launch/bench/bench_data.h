// launch/bench/bench_data.h: how fast batches and tokens come.
#pragma once

#include <cstdint>
#include <string>

namespace dagpam::launch {

struct DataBenchOptions {
  std::string prefix;  // loader: a data set, or ""
  int64_t context = 128, batch = 32;
  std::string text, tokenizer;  // tokenizer: a text file and T of `data prepare`, or ""
  std::string peer;             // command that encodes the same text (launch/bench/peer.h), or ""
  int64_t rounds = 5;
  bool json = false;
};

// Prints a row for the loader and one for the tokenizer, whichever were asked for.
void bench_data(const DataBenchOptions& options);

}  // namespace dagpam::launch
