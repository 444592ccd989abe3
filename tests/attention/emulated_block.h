// tests/attention/emulated_block.h: the state of a block on the emulated machine.
#pragma once

#include <ucontext.h>

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "emulated_machine.h"

namespace dagpam::attention::testing {

constexpr size_t kSharedBytes = 228 * 1024;  // from address 0; the kernels' start at 1024

// An accumulator that products which are not waited for will write.
struct Held {
  float* at;
  std::vector<float> values;
  int products = 0;
};

struct Issued {
  ProductOperands operands;
  float* accumulator;
};

struct Fiber {
  ucontext_t context{};
  std::vector<char> stack;
  std::function<bool()> ready;  // empty: it can go on
  const char* waits_for = "";
  bool done = false;
  // Products: not executed ones in order, cut into groups; held accumulators.
  std::deque<std::vector<Issued>> groups{1};
  std::vector<Held> held;
  std::vector<uint32_t> unfenced;
};

// An addition by the copy engine.
struct Addition {
  int thread = 0;
  float* to = nullptr;
  uint32_t from = 0, bytes = 0;
  bool read = false;
  std::vector<float> numbers;
};

struct Barrier {
  int count = 0, pending = 0;
  int64_t bytes = 0;
  uint32_t phase = 0;
};

struct Meeting {
  int arrived = 0;
  uint64_t generation = 0;
};

struct Warp {
  Meeting meeting;
  std::array<std::array<float, 32>, 2> values{};
};

struct Block {
  int x = 0, y = 0, z = 0;
  std::mt19937_64 random;
  std::vector<uint8_t> memory = std::vector<uint8_t>(kSharedBytes, 0xFF);  // as threads see it
  std::vector<uint8_t> async = std::vector<uint8_t>(kSharedBytes, 0xFF);   // as products do
  std::map<uint32_t, Barrier> barriers;
  std::array<Meeting, 16> named;
  std::vector<Warp> warps;
  std::vector<Fiber> fibers;
  std::deque<std::function<void()>> copies;  // on their way
  std::deque<Addition> additions;            // likewise
  std::string error;
  ucontext_t scheduler{};
  int current = -1;
  int64_t round = 0;
  std::map<int, int64_t> due;           // the round in which a warpgroup's oldest products are done
  int held_back = -1, held_rounds = 0;  // a warpgroup that gets no turns
  const std::function<void()>* body = nullptr;

  Fiber& fiber() { return fibers[static_cast<size_t>(current)]; }
  bool coin() { return random() % 2 == 0; }
};

extern Block* block;  // that runs

void fail(const std::string& what);  // the first counts; the block then ends

// The running thread goes on when `ready`, of which `what` tells where it never is.
void wait_until(const char* what, std::function<bool()> ready);

bool in_memory(uint32_t at, uint32_t bytes);

// The first addition that has not read yet reads, or the first one adds.
void move_an_addition();

// The oldest group of products of a warpgroup, if all its threads have committed it and, unless
// `at_once`, its round has come.
bool execute_group(int warpgroup, bool at_once);

}  // namespace dagpam::attention::testing
