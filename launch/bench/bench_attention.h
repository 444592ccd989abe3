// launch/bench/bench_attention.h: time of attention, forward and backward with every gradient,
// beside LibTorch's own in the same process and run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dagpam::launch {

struct AttentionBenchOptions {
  std::string device = "cpu";   // cpu, cuda
  std::string kind = "DAGPAM";  // one of attention_kind_names()
  std::string type;  // float32, float64, bfloat16, float16; "": float32, bfloat16 on cuda
  std::vector<int64_t> lengths;  // tokens; empty: 128..1024, 512..8192 on cuda
  std::vector<int64_t> widths;   // of a head; empty: 32 and 64, 64 and 128 on cuda
  int64_t heads = 0;             // 0: 256 / width, 2048 / width on cuda
  int64_t batch = 0;             // 0: 2048 tokens in all, 16384 on cuda
  bool full = false;             // every query sees every key; else causal
  bool deterministic = false;    // sums of backward in a fixed order, as train.deterministic
  int64_t rounds = 7;
  bool json = false;
};

std::vector<std::string> attention_kind_names();

// Prints a row for each shape and peer, and for each peer the geometric means over the shapes. In a
// round each contender has a turn of some calls; problems change from call to call. A time is the
// median over the rounds; on a GPU it is taken between events on the device. Before it is timed,
// each peer's outputs and gradients are held against ours: returns whether all agreed. Throws
// ConfigError for a device that is not there or a type that the device's kernels do not take.
bool bench_attention(const AttentionBenchOptions& options);

}  // namespace dagpam::launch
