// launch.h with CUDA in the build.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>

#include "attention/hopper/cuda_check.h"
#include "attention/hopper/instances.h"
#include "attention/hopper/launch.h"

namespace dagpam::attention::hopper {
namespace {

int32_t narrow(int64_t n) { return static_cast<int32_t>(n); }
float scale_of(const Problem& p) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(p.width)));
}

Sight sight_of(const Problem& p) {
  Sight sight;
  sight.queries = narrow(p.queries);
  sight.keys = narrow(p.keys);
  sight.causal = p.causal;
  sight.bounds = p.bounds;
  sight.bounds_batch = p.bounds_of_batch ? p.queries : 0;
  sight.bounds_last = (p.bounds_of_batch ? p.batch : 1) * p.queries;
  sight.ranges = p.ranges;
  sight.ranges_batch = p.bounds_of_batch ? tiles(p.queries, kQueryTile) : 0;
  return sight;
}

// [B, N, H, D] contiguous.
Operand of_queries(const Problem& p, const void* data) {
  const int64_t row = p.heads * p.width;
  return {data, p.batch, p.queries, p.heads, p.width, p.queries * row, row, p.width};
}

// The head's matrix in the place of rows of a head.
TensorMap map_of_w(const Problem& p) {
  if (p.w_neg == nullptr) return {};
  return encode({p.w_neg, 1, p.width, p.heads, p.width, 0, p.width, p.width * p.width}, p.type,
                narrow(p.width));
}

// Of the current device: one block of the forward kernel fills one.
int64_t multiprocessors() {
  int device = 0, count = 0;
  DAGPAM_HOPPER_CHECK(cudaGetDevice(&device));
  DAGPAM_HOPPER_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

template <class Launch>
void run(const Problem& p, const Launch& launch, void (*bf16_64)(const Launch&),
         void (*bf16_128)(const Launch&), void (*fp16_64)(const Launch&),
         void (*fp16_128)(const Launch&)) {
  if (p.width != 64 && p.width != 128) {
    throw std::runtime_error("the fused attention kernel has head widths 64 and 128, not " +
                             std::to_string(p.width));
  }
  if (p.type == Type::kBf16) return p.width == 64 ? bf16_64(launch) : bf16_128(launch);
  return p.width == 64 ? fp16_64(launch) : fp16_128(launch);
}

}  // namespace

bool built() { return true; }

int architecture(int device) {
  int major = 0, minor = 0;
  DAGPAM_HOPPER_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  DAGPAM_HOPPER_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return 10 * major + minor;
}

void forward(const Problem& p, const ForwardResult& result) {
  ForwardLaunch launch;
  launch.stream = p.stream;
  launch.maps.q = encode(p.q, p.type, kQueryTile);
  launch.maps.q_neg = p.w_neg != nullptr ? TensorMap{} : encode(p.q_neg, p.type, kQueryTile);
  launch.maps.k = encode(p.k, p.type, kKeyTile);
  launch.maps.v = encode(p.v, p.type, kKeyTile);
  launch.maps.w_neg = map_of_w(p);
  ForwardParams& params = launch.params;
  params.sight = sight_of(p);
  params.batch = narrow(p.batch);
  params.heads = narrow(p.heads);
  params.group = narrow(p.heads / p.kv_heads);
  params.section =
      narrow(std::min(p.batch * p.heads, heads_a_section(p.keys, p.width, p.heads / p.kv_heads)));
  params.blocks =
      narrow(std::min(p.batch * p.heads * tiles(p.queries, kQueryTile), multiprocessors()));
  params.plus = p.plus;
  params.minus = p.minus;
  params.lambda_stride = p.lambda_of_head ? 1 : 0;
  params.forms_q_neg = p.w_neg != nullptr;
  params.scale2 = scale_of(p) * kLog2E;
  params.y = static_cast<uint16_t*>(result.y);
  params.o = static_cast<uint16_t*>(result.o);
  params.q_neg = static_cast<uint16_t*>(result.q_neg);
  params.lse2 = result.lse2;
  if (p.bounds != nullptr) {
    launch_ranges({params.sight, p.bounds_of_batch ? params.batch : 1, p.ranges}, p.stream);
  }
  run(p, launch, &launch_forward<Bf16, 64>, &launch_forward<Bf16, 128>, &launch_forward<Fp16, 64>,
      &launch_forward<Fp16, 128>);
}

void backward(const Problem& p, const BackwardBuffers& buffers) {
  BackwardLaunch launch;
  launch.stream = p.stream;
  launch.maps.q = encode(p.q, p.type, kQueryTile);
  launch.maps.q_neg = encode(of_queries(p, buffers.q_neg), p.type, kQueryTile);
  launch.maps.dy = encode(of_queries(p, buffers.dy), p.type, kQueryTile);
  launch.maps.k = encode(p.k, p.type, kKeyTile);
  launch.maps.v = encode(p.v, p.type, kKeyTile);
  launch.finish_maps = {launch.maps.q, map_of_w(p)};
  const Sight sight = sight_of(p);
  const int32_t batch = narrow(p.batch), heads = narrow(p.heads);
  const auto numbers = [](const void* x) { return static_cast<const uint16_t*>(x); };
  launch.rows = {sight,        batch,       heads, numbers(buffers.dy), numbers(buffers.o),
                 buffers.lse2, buffers.rows};
  BackwardParams& main = launch.main;
  main.sight = sight;
  main.batch = batch;
  main.heads = heads;
  main.kv_heads = narrow(p.kv_heads);
  main.plus = p.plus;
  main.minus = p.minus;
  main.lambda_stride = p.lambda_of_head ? 1 : 0;
  main.scale = scale_of(p);
  main.scale2 = main.scale * kLog2E;
  main.rows = buffers.rows;
  main.dq = buffers.dq_sums;
  main.turns = buffers.turns;
  main.dk = static_cast<uint16_t*>(buffers.dk);
  main.dv = static_cast<uint16_t*>(buffers.dv);
  FinishParams& finish = launch.finish;
  finish.batch = batch;
  finish.queries = narrow(p.queries);
  finish.heads = heads;
  finish.scale = main.scale;
  finish.dq = buffers.dq_sums;
  finish.through_map = p.w_neg != nullptr;
  finish.dq_out = static_cast<uint16_t*>(buffers.dq);
  finish.dq_neg_out = static_cast<uint16_t*>(buffers.dq_neg);
  finish.dw_runs = buffers.dw_runs;
  run(p, launch, &launch_backward<Bf16, 64>, &launch_backward<Bf16, 128>,
      &launch_backward<Fp16, 64>, &launch_backward<Fp16, 128>);
}

}  // namespace dagpam::attention::hopper
