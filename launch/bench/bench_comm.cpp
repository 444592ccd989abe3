#include "launch/bench/bench_comm.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "configs/errors.h"
#include "launch/bench/row.h"
#include "parallel/devices.h"
#include "parallel/mpi_plain.h"
#include "parallel/shared_tensors.h"

namespace dagpam::launch {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kElement = sizeof(float);

// 1, 2, ..., 7, 1, 2, ... from element `first` on: whole numbers, so that sums of few ranks are
// exact in any order.
at::Tensor pattern(int64_t first, int64_t count) {
  return at::arange(first, first + count, at::kLong).remainder(7).add(1).to(at::kFloat);
}

at::Tensor zeros(int64_t elements, const parallel::Communicator& world) {
  return at::zeros({elements}, at::TensorOptions(at::kFloat).device(world.device()));
}

// One collective at one size: tensors, the call, and what they must hold after it.
struct Case {
  int64_t count = 0;     // nccl-tests' column
  double bus_share = 1;  // busbw / algbw
  std::function<void()> fill, call;
  std::function<at::Tensor()> result, expected;
};

Case all_reduce_of(at::Tensor tensor, parallel::Communicator& world) {
  const int64_t ranks = world.size(), rank = world.rank(), elements = tensor.numel();
  auto t = std::make_shared<at::Tensor>(std::move(tensor));
  Case c;
  c.count = elements;
  c.bus_share = 2.0 * static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  c.fill = [=] { t->copy_(pattern(0, elements).mul(rank + 1)); };
  c.call = [=, &world] { world.all_reduce(*t); };
  c.result = [=] { return *t; };
  c.expected = [=] { return pattern(0, elements).mul(ranks * (ranks + 1) / 2); };
  return c;
}

// Of a tensor such as gradients are summed in.
Case all_reduce_case(int64_t elements, parallel::Communicator& world) {
  return all_reduce_of(parallel::zeros_to_sum(world, elements, at::kFloat), world);
}

Case all_gather_case(int64_t elements, parallel::Communicator& world) {
  const int64_t ranks = world.size(), part = elements / ranks;
  auto out = std::make_shared<at::Tensor>(zeros(part * ranks, world));
  auto in = std::make_shared<at::Tensor>(zeros(part, world));
  Case c;
  c.count = part;
  c.bus_share = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  c.fill = [=, rank = world.rank()] { in->copy_(pattern(rank * part, part)); };
  c.call = [=, &world] { world.all_gather(*out, *in); };
  c.result = [=] { return *out; };
  c.expected = [=] { return pattern(0, part * ranks); };
  return c;
}

Case reduce_scatter_case(int64_t elements, parallel::Communicator& world) {
  const int64_t ranks = world.size(), rank = world.rank(), part = elements / ranks;
  auto in = std::make_shared<at::Tensor>(zeros(part * ranks, world));
  auto out = std::make_shared<at::Tensor>(zeros(part, world));
  Case c;
  c.count = part;
  c.bus_share = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  c.fill = [=] { in->copy_(pattern(0, part * ranks).mul(rank + 1)); };
  c.call = [=, &world] { world.reduce_scatter(*out, *in); };
  c.result = [=] { return *out; };
  c.expected = [=] { return pattern(rank * part, part).mul(ranks * (ranks + 1) / 2); };
  return c;
}

Case broadcast_case(int64_t elements, parallel::Communicator& world) {
  auto t = std::make_shared<at::Tensor>(zeros(elements, world));
  Case c;
  c.count = elements;
  c.fill = [=, rank = world.rank()] { t->copy_(pattern(rank == 0 ? 0 : 3, elements)); };
  c.call = [=, &world] { world.broadcast(*t, 0); };
  c.result = [=] { return *t; };
  c.expected = [=] { return pattern(0, elements); };
  return c;
}

// Each rank sends to the next and receives from the one before; even ranks send first.
Case sendrecv_case(int64_t elements, parallel::Communicator& world) {
  const int ranks = world.size(), rank = world.rank();
  auto out = std::make_shared<at::Tensor>(zeros(elements, world));
  auto in = std::make_shared<at::Tensor>(zeros(elements, world));
  const int next = (rank + 1) % ranks, before = (rank + ranks - 1) % ranks;
  // In a ring of odd length the last rank, even as it is, receives first.
  const bool sends_first = rank % 2 == 0 && !(rank == ranks - 1 && ranks % 2 == 1);
  Case c;
  c.count = elements;
  c.fill = [=] { out->copy_(pattern(rank, elements)); };
  c.call = [=, &world] {
    if (sends_first) world.send(*out, next);
    world.recv(*in, before);
    if (!sends_first) world.send(*out, next);
  };
  c.result = [=] { return *in; };
  c.expected = [=] { return pattern(before, elements); };
  return c;
}

using MakeCase = Case (*)(int64_t, parallel::Communicator&);
struct Op {
  const char* name;
  MakeCase make;
};
constexpr Op kOps[] = {{"all_reduce", all_reduce_case},
                       {"all_gather", all_gather_case},
                       {"reduce_scatter", reduce_scatter_case},
                       {"broadcast", broadcast_case},
                       {"sendrecv", sendrecv_case}};

int64_t count_wrong(const Case& c, parallel::Communicator& world) {
  c.fill();
  c.call();
  at::Tensor wrong = c.result().cpu().ne(c.expected()).sum().reshape({1});
  world.all_reduce(wrong);
  return wrong.item<int64_t>();
}

// Seconds a call, of the slowest rank.
double time_calls(const Case& c, const CommBenchOptions& options, parallel::Communicator& world) {
  for (int64_t i = 0; i < options.warmup; ++i) c.call();
  parallel::wait_for_device(world.device());
  world.barrier();
  const auto start = Clock::now();
  for (int64_t i = 0; i < options.iterations; ++i) c.call();
  parallel::wait_for_device(world.device());
  const std::chrono::duration<double> took = Clock::now() - start;
  at::Tensor slowest = at::zeros({1}, at::kDouble);
  slowest.fill_(took.count() / static_cast<double>(options.iterations));
  world.all_reduce(slowest, parallel::ReduceOp::kMax);
  return slowest.item<double>();
}

// One of those that take turns.
struct Side {
  const char* name;
  Case c;
  parallel::Communicator& group;
  int64_t wrong = 0;
  std::vector<double> seconds{};  // a call, by round
};

std::vector<Side> sides_of(const Op& op, int64_t elements, parallel::Communicator& world,
                           parallel::Communicator* plain) {
  std::vector<Side> sides{{"ours", op.make(elements, world), world}};
  if (plain == nullptr) return sides;
  if (op.make == all_reduce_case && parallel::shares_memory(world)) {
    sides.push_back({"any tensor", all_reduce_of(zeros(elements, world), world), world});
  }
  sides.push_back({"plain", op.make(elements, *plain), *plain});
  if (op.make == all_reduce_case && world.device().is_cpu()) {
    Case c = all_reduce_case(elements, *plain);
    c.call = [t = c.result()]() mutable { parallel::plain_mpi_all_reduce(t); };
    sides.push_back({"MPI_Allreduce", std::move(c), *plain});
  }
  return sides;
}

void print_json(const Op& op, const std::vector<Side>& sides, int64_t bytes) {
  const Side& ours = sides.front();
  const parallel::Communicator& world = ours.group;
  const double seconds = median(ours.seconds);
  const double algbw = static_cast<double>(bytes) / seconds / 1e9;
  nlohmann::ordered_json row{
      {"name", "comm"},
      {"shape", std::string(op.name) + " " + std::to_string(bytes)},
      {"device", world.device().is_cpu() ? "cpu" : parallel::device_name(world.device())},
      {"ranks", world.size()},
      {"kernel", world.name()},
      {"ours_ms", seconds * 1e3},
      {"spread", spread(ours.seconds)},
      {"algbw_gbs", algbw},
      {"busbw_gbs", algbw * ours.c.bus_share},
      {"wrong", ours.wrong},
      {"peer", nullptr},
      {"peer_ms", nullptr},
      {"ratio", nullptr}};
  if (sides.size() > 1) {
    const Side& peer = sides.back();
    row["peer"] = peer.name;
    row["peer_ms"] = median(peer.seconds) * 1e3;
    row["ratio"] = seconds / median(peer.seconds);
  }
  std::printf("%s\n", row.dump().c_str());
}

void print_line(const Op& op, const std::vector<Side>& sides, int64_t bytes) {
  const Side& ours = sides.front();
  const double seconds = median(ours.seconds);
  const double algbw = static_cast<double>(bytes) / seconds / 1e9;
  const char* redop = op.make == all_reduce_case || op.make == reduce_scatter_case ? "sum" : "none";
  std::printf("%-14s %12lld %12lld %6s %6s %12.2f %8.3f %8.3f %7lld", op.name,
              static_cast<long long>(bytes), static_cast<long long>(ours.c.count), "float", redop,
              seconds * 1e6, algbw, algbw * ours.c.bus_share, static_cast<long long>(ours.wrong));
  if (sides.size() > 1) std::printf("  within %.2f x", spread(ours.seconds));
  for (size_t i = 1; i < sides.size(); ++i) {
    const double theirs = median(sides[i].seconds);
    std::printf("  | %s %.2f us, ratio %.3f", sides[i].name, theirs * 1e6, seconds / theirs);
  }
  std::printf("\n");
}

std::vector<Op> chosen(const std::vector<std::string>& names) {
  std::vector<Op> ops;
  for (const std::string& name : names.empty() ? comm_bench_ops() : names) {
    const Op* const found = std::find_if(std::begin(kOps), std::end(kOps),
                                         [&](const Op& op) { return name == op.name; });
    if (found == std::end(kOps)) {
      std::string known;
      for (const Op& op : kOps) known += (known.empty() ? "" : ", ") + std::string(op.name);
      throw ConfigError("--ops: '" + name + "' is not a collective: expected some of " + known);
    }
    ops.push_back(*found);
  }
  return ops;
}

}  // namespace

const std::vector<std::string>& comm_bench_ops() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Op& op : kOps) all.emplace_back(op.name);
    return all;
  }();
  return names;
}

bool bench_comm(const CommBenchOptions& options, parallel::Communicator& world,
                parallel::Communicator* plain) {
  const std::vector<Op> ops = chosen(options.ops);
  if (options.max_bytes < options.min_bytes) {
    throw ConfigError("--max-bytes: " + std::to_string(options.max_bytes) +
                      " is less than --min-bytes " + std::to_string(options.min_bytes) +
                      ": give a larger one");
  }
  if (world.size() < 2) {
    throw ConfigError("bench comm: one rank talks to nobody: start with mpirun -n 2 or more");
  }
  if (world.rank() == 0 && !options.json) {
    std::printf("# %d ranks of %s, mean of %lld calls on the slowest rank\n", world.size(),
                world.name().c_str(), static_cast<long long>(options.iterations));
    std::printf("%-14s %12s %12s %6s %6s %12s %8s %8s %7s\n", "#", "size(B)", "count", "type",
                "redop", "time(us)", "algbw", "busbw", "wrong");
  }
  bool good = true;
  for (const Op& op : ops) {
    for (int64_t bytes = options.min_bytes; bytes <= options.max_bytes; bytes *= options.factor) {
      const int64_t unit = kElement * world.size();  // every rank has a part of the same size
      const int64_t whole = std::max<int64_t>(bytes / unit, 1) * unit;
      std::vector<Side> sides = sides_of(op, whole / kElement, world, plain);
      for (Side& side : sides) {
        side.wrong = count_wrong(side.c, world);
        good = good && side.wrong == 0;
      }
      for (int64_t round = 0; round < options.rounds; ++round) {
        for (Side& side : sides) side.seconds.push_back(time_calls(side.c, options, world));
      }
      if (world.rank() != 0) continue;
      options.json ? print_json(op, sides, whole) : print_line(op, sides, whole);
      std::fflush(stdout);
    }
  }
  return good;
}

}  // namespace dagpam::launch
