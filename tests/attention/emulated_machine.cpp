#include "emulated_machine.h"

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagpam::attention::testing {
namespace {

constexpr size_t kSharedBytes = 228 * 1024;  // from address 0; the kernels' start at 1024
constexpr size_t kStack = 128 * 1024;

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
  std::string error;
  ucontext_t scheduler{};
  int current = -1;
  const std::function<void()>* body = nullptr;

  Fiber& fiber() { return fibers[static_cast<size_t>(current)]; }
  bool coin() { return random() % 2 == 0; }
};

Block* block = nullptr;

void fail(const std::string& what) {
  if (block->error.empty()) block->error = what;
}

void wait_until(const char* what, std::function<bool()> ready) {
  if (ready()) return;
  block->fiber().ready = std::move(ready);
  block->fiber().waits_for = what;
  swapcontext(&block->fiber().context, &block->scheduler);
}

void start() {
  (*block->body)();
  block->fiber().done = true;
  swapcontext(&block->fiber().context, &block->scheduler);
}

void settle(Barrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.count;
}

Barrier& barrier_at(uint32_t at) {
  const auto found = block->barriers.find(at);
  if (found == block->barriers.end()) {
    fail("no barrier at " + std::to_string(at));
    return block->barriers[at];
  }
  return found->second;
}

bool in_memory(uint32_t at, uint32_t bytes) {
  if (at >= 1024 && at + bytes <= kSharedBytes) return true;
  fail("shared memory address " + std::to_string(at));
  return false;
}

void deliver(uint32_t to, const void* from, uint32_t bytes) {
  if (!in_memory(to, bytes)) return;
  std::memcpy(block->memory.data() + to, from, bytes);
  std::memcpy(block->async.data() + to, from, bytes);
}

void arrived_bytes(uint32_t at, uint32_t bytes) {
  Barrier& barrier = barrier_at(at);
  barrier.bytes -= bytes;
  settle(barrier);
}

void send(std::function<void()> copy) {
  if (block->coin()) {
    copy();
  } else {
    block->copies.push_back(std::move(copy));
  }
}

void meet(Meeting& meeting, int count, const char* what) {
  const uint64_t generation = meeting.generation;
  if (++meeting.arrived == count) {
    meeting.arrived = 0;
    ++meeting.generation;
    return;
  }
  wait_until(what, [&meeting, generation] { return meeting.generation != generation; });
}

// A 16-bit number of an operand: `line` counts rows of A or columns of B, `inner` the 16 terms.
// Along columns (K-major): 8 lines of 128 bytes a group, groups 'stride' apart. Along rows
// (MN-major): 64 lines in 128 bytes, further ones `leading` apart; 8 inner a group. The address is
// swizzled last: its bits 4 to 6 by bits 7 to 9.
float element(uint64_t descriptor, bool along_rows, int line, int inner, bool bf16) {
  const auto field = [&](int bit) {
    return static_cast<uint32_t>(descriptor >> bit & 0x3FFF) << 4;
  };
  const auto l = static_cast<uint32_t>(line), i = static_cast<uint32_t>(inner);
  const uint32_t start = field(0), leading = field(16), stride = field(32);
  uint32_t address = along_rows
                         ? start + l / 64 * leading + l % 64 * 2 + i / 8 * stride + i % 8 * 128
                         : start + l / 8 * stride + l % 8 * 128 + i * 2;
  address ^= (address >> 7 & 7) << 4;
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) fail("descriptor of another layout");
  if (!in_memory(address, 2)) return 0;
  uint16_t bits = 0;
  std::memcpy(&bits, block->async.data() + address, 2);
  return decode(bits, bf16);
}

// A fragment's element (row, inner): register of a thread, low or high half.
float of_registers(const Issued* const* issued, int row, int inner, bool bf16) {
  const int thread = row / 16 * 32 + row % 8 * 4 + inner % 8 / 2;
  const int which = row % 16 / 8 + inner / 8 * 2;
  const uint32_t pair = issued[thread]->operands.registers[which];
  return decode(inner % 2 == 0 ? pair & 0xFFFF : pair >> 16, bf16);
}

Held& held_of(Fiber& fiber, const float* at) {
  return *std::find_if(fiber.held.begin(), fiber.held.end(),
                       [at](const Held& held) { return held.at == at; });
}

void check_same(const ProductOperands& a, const ProductOperands& b) {
  if (a.a != b.a || a.b != b.b || a.adds != b.adds || a.columns != b.columns ||
      a.a_along_rows != b.a_along_rows || a.b_along_rows != b.b_along_rows) {
    fail("threads of a warpgroup ask for different products");
  }
}

void execute(int warpgroup, const std::array<const Issued*, hopper::kWarpgroup>& issued) {
  const ProductOperands& p = issued[0]->operands;
  for (const Issued* other : issued) check_same(p, other->operands);
  std::vector<float> a(64 * 16), b(static_cast<size_t>(16 * p.columns));
  for (int row = 0; row < 64; ++row) {
    for (int k = 0; k < 16; ++k) {
      a[static_cast<size_t>(row * 16 + k)] = p.registers != nullptr
                                                 ? of_registers(issued.data(), row, k, p.bf16)
                                                 : element(p.a, p.a_along_rows, row, k, p.bf16);
    }
  }
  for (int k = 0; k < 16; ++k) {
    for (int column = 0; column < p.columns; ++column) {
      b[static_cast<size_t>(k * p.columns + column)] =
          element(p.b, p.b_along_rows, column, k, p.bf16);
    }
  }
  for (int thread = 0; thread < hopper::kWarpgroup; ++thread) {
    Fiber& fiber = block->fibers[static_cast<size_t>(warpgroup * hopper::kWarpgroup + thread)];
    Held& held = held_of(fiber, issued[static_cast<size_t>(thread)]->accumulator);
    for (int i = 0; i < p.columns / 2; ++i) {
      const int row = hopper::fragment_row(thread, i), column = hopper::fragment_column(thread, i);
      float sum = p.adds ? held.values[static_cast<size_t>(i)] : 0;
      for (int k = 0; k < 16; ++k) {
        sum +=
            a[static_cast<size_t>(row * 16 + k)] * b[static_cast<size_t>(k * p.columns + column)];
      }
      held.values[static_cast<size_t>(i)] = sum;
    }
    if (--held.products == 0) {
      std::copy(held.values.begin(), held.values.end(), held.at);
      fiber.held.erase(fiber.held.begin() + (&held - fiber.held.data()));
    }
  }
}

// The oldest group of a warpgroup, if all its threads have committed it.
bool execute_group(int warpgroup) {
  const auto fiber = [&](int thread) -> Fiber& {
    return block->fibers[static_cast<size_t>(warpgroup * hopper::kWarpgroup + thread)];
  };
  for (int thread = 0; thread < hopper::kWarpgroup; ++thread) {
    if (fiber(thread).groups.size() < 2) return false;
  }
  const size_t count = fiber(0).groups.front().size();
  for (int thread = 0; thread < hopper::kWarpgroup; ++thread) {
    if (fiber(thread).groups.front().size() != count) fail("products differ within a warpgroup");
  }
  for (size_t n = 0; n < count && block->error.empty(); ++n) {
    std::array<const Issued*, hopper::kWarpgroup> issued{};
    for (int thread = 0; thread < hopper::kWarpgroup; ++thread) {
      issued[static_cast<size_t>(thread)] = &fiber(thread).groups.front()[n];
    }
    execute(warpgroup, issued);
  }
  for (int thread = 0; thread < hopper::kWarpgroup; ++thread) fiber(thread).groups.pop_front();
  return true;
}

bool finished() {
  return std::all_of(block->fibers.begin(), block->fibers.end(),
                     [](const Fiber& fiber) { return fiber.done; });
}

// One turn for every fiber that can go on, in random order; false where none can.
bool run_round() {
  std::vector<int> order(block->fibers.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::shuffle(order.begin(), order.end(), block->random);
  bool moved = false;
  for (const int i : order) {
    Fiber& fiber = block->fibers[static_cast<size_t>(i)];
    if (fiber.done || (fiber.ready && !fiber.ready())) continue;
    fiber.ready = nullptr;
    block->current = i;
    swapcontext(&block->scheduler, &fiber.context);
    if (!block->error.empty()) return true;
    moved = true;
  }
  return moved;
}

void land_a_copy() {
  const auto copy = std::move(block->copies.front());
  block->copies.pop_front();
  copy();
}

std::string describe_stop() {
  std::map<std::string, int> waits;
  for (const Fiber& fiber : block->fibers) {
    if (!fiber.done) ++waits[fiber.waits_for];
  }
  std::string text = "the block has stopped:";
  for (const auto& [what, count] : waits) text += " " + std::to_string(count) + " at " + what + ";";
  return text;
}

void run_block() {
  for (Fiber& fiber : block->fibers) {
    fiber.stack.resize(kStack);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = kStack;
    makecontext(&fiber.context, start, 0);
  }
  while (block->error.empty() && !finished()) {
    const bool moved = run_round();
    if (!block->copies.empty() && (!moved || block->random() % 8 == 0)) {
      land_a_copy();
    } else if (!moved) {
      fail(describe_stop());
    }
  }
  if (block->error.empty() && !block->copies.empty()) fail("a copy lands after the block's end");
  for (const auto& [at, barrier] : block->barriers) {
    if (block->error.empty() && barrier.bytes != 0) fail("bytes announced that do not come");
  }
  for (const Fiber& fiber : block->fibers) {
    if (block->error.empty() && !fiber.held.empty()) fail("a product that nobody waits for");
  }
}

}  // namespace

uint32_t encode(float x, bool bf16) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, 4);
  if (bf16) return std::isnan(x) ? 0x7FC0 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const uint32_t sign = bits >> 16 & 0x8000;
  if (std::isnan(x)) return 0x7E00;
  const float magnitude = std::fabs(x);
  if (magnitude >= 65520.0F) return sign | 0x7C00;
  if (magnitude < 0x1p-14F)
    return sign | static_cast<uint32_t>(std::nearbyint(magnitude * 0x1p24F));
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  const auto mantissa = static_cast<uint32_t>(std::nearbyint(fraction * 2048));
  return sign | ((static_cast<uint32_t>(exponent + 14) << 10) + mantissa - 1024);
}

float decode(uint32_t bits, bool bf16) {
  float x = 0;
  if (bf16) {
    bits <<= 16;
    std::memcpy(&x, &bits, 4);
    return x;
  }
  const auto exponent = static_cast<int>(bits >> 10 & 31);
  const auto mantissa = static_cast<float>(bits & 1023);
  if (exponent == 31) {
    x = mantissa == 0 ? std::numeric_limits<float>::infinity()
                      : std::numeric_limits<float>::quiet_NaN();
  } else {
    x = exponent == 0 ? mantissa * 0x1p-24F : std::ldexp(mantissa + 1024, exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -x : x;
}

void emulate(const Grid& grid, uint64_t seed, const std::function<void()>& body) {
  std::mt19937_64 seeds(seed);
  for (int z = 0; z < grid.z; ++z) {
    for (int y = 0; y < grid.y; ++y) {
      for (int x = 0; x < grid.x; ++x) {
        const auto own = std::make_unique<Block>();
        block = own.get();
        block->x = x;
        block->y = y;
        block->z = z;
        block->random.seed(seeds());
        block->body = &body;
        block->fibers = std::vector<Fiber>(static_cast<size_t>(grid.threads));
        block->warps.resize(static_cast<size_t>(grid.threads / 32));
        run_block();
        const std::string error = block->error;
        block = nullptr;
        if (!error.empty()) {
          throw std::runtime_error("block (" + std::to_string(x) + ", " + std::to_string(y) + ", " +
                                   std::to_string(z) + "): " + error);
        }
      }
    }
  }
}

int Emulated::thread() { return block->current; }
int Emulated::block_x() { return block->x; }
int Emulated::block_y() { return block->y; }
int Emulated::block_z() { return block->z; }

void Emulated::barrier_init(uint32_t at, int count) {
  if (at % 8 != 0) fail("a barrier off 8 bytes");
  if (in_memory(at, 8)) block->barriers[at] = {count, count, 0, 0};
}

void Emulated::barrier_arrive(uint32_t at) {
  Barrier& barrier = barrier_at(at);
  if (--barrier.pending < 0) fail("a barrier has more arrivals than it waits for");
  settle(barrier);
}

void Emulated::barrier_expect(uint32_t at, uint32_t bytes) {
  barrier_at(at).bytes += bytes;
  barrier_arrive(at);
}

void Emulated::barrier_wait(uint32_t at, uint32_t parity) {
  const Barrier& barrier = barrier_at(at);
  wait_until("an mbarrier", [&barrier, parity] { return (barrier.phase & 1) != parity; });
}

void Emulated::named_sync(int id, int threads) {
  meet(block->named.at(static_cast<size_t>(id)), threads, "a named barrier");
}

void Emulated::named_arrive(int id, int threads) {
  Meeting& meeting = block->named.at(static_cast<size_t>(id));
  if (++meeting.arrived < threads) return;
  meeting.arrived = 0;
  ++meeting.generation;
}

void Emulated::sync_block() { named_sync(0, static_cast<int>(block->fibers.size())); }

void Emulated::sync_warp() {
  meet(block->warps[static_cast<size_t>(thread() / 32)].meeting, 32, "a warp");
}

void Emulated::load_tile(const EmulatedMap& map, uint32_t to, uint32_t barrier, int32_t column,
                         int32_t row, int32_t head, int32_t batch) {
  if (to % 1024 != 0) fail("a swizzled tile off 1024 bytes");
  send([=, &map] {
    for (int r = 0; r < map.box_rows; ++r) {
      for (int c = 0; c < hopper::kColumnBlock; ++c) {
        const int64_t n = row + r, d = column + c;
        uint16_t number = 0;
        if (n < map.rows && d < map.width && head < map.heads && batch < map.batch) {
          number =
              map.data[batch * map.batch_stride + n * map.row_stride + head * map.head_stride + d];
        }
        uint32_t address = to + static_cast<uint32_t>(r) * 128 + static_cast<uint32_t>(c) * 2;
        address ^= (address >> 7 & 7) << 4;
        deliver(address, &number, 2);
      }
    }
    arrived_bytes(barrier, static_cast<uint32_t>(map.box_rows) * 128);
  });
}

void Emulated::load_bytes(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  if (to % 16 != 0 || bytes % 16 != 0) fail("a copy off 16 bytes");
  send([=] {
    deliver(to, from, bytes);
    arrived_bytes(barrier, bytes);
  });
}

uint32_t Emulated::load_word(uint32_t at) {
  uint32_t x = 0;
  if (in_memory(at, 4)) std::memcpy(&x, block->memory.data() + at, 4);
  return x;
}

float Emulated::load_float(uint32_t at) {
  const uint32_t bits = load_word(at);
  float x = 0;
  std::memcpy(&x, &bits, 4);
  return x;
}

void Emulated::load_pair(uint32_t at, float (&x)[2]) {
  if (at % 8 != 0) fail("a pair off 8 bytes");
  x[0] = load_float(at);
  x[1] = load_float(at + 4);
}

void Emulated::store(uint32_t at, uint32_t x) {
  if (!in_memory(at, 4)) return;
  std::memcpy(block->memory.data() + at, &x, 4);
  block->fiber().unfenced.push_back(at);
}

void Emulated::store(uint32_t at, float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, 4);
  store(at, bits);
}

void Emulated::fence_async() {
  for (const uint32_t at : block->fiber().unfenced) {
    std::memcpy(block->async.data() + at, block->memory.data() + at, 4);
  }
  block->fiber().unfenced.clear();
}

void Emulated::issue(float* x, const ProductOperands& operands) {
  Fiber& fiber = block->fiber();
  const auto count = static_cast<size_t>(operands.columns / 2);
  const auto found = std::find_if(fiber.held.begin(), fiber.held.end(),
                                  [x](const Held& held) { return held.at == x; });
  Held& held = found != fiber.held.end()
                   ? *found
                   : fiber.held.emplace_back(Held{x, std::vector<float>(x, x + count)});
  ++held.products;
  std::fill(x, x + count, std::numeric_limits<float>::quiet_NaN());
  fiber.groups.back().push_back({operands, x});
}

void Emulated::commit() {
  block->fiber().groups.emplace_back();
  if (block->coin()) execute_group(thread() / hopper::kWarpgroup);
}

void Emulated::wait_for_products(int left) {
  const int warpgroup = thread() / hopper::kWarpgroup;
  Fiber& fiber = block->fiber();
  wait_until("a product", [&fiber, left, warpgroup] {
    while (fiber.groups.size() > static_cast<size_t>(left) + 1) {
      if (!execute_group(warpgroup)) return false;
    }
    return true;
  });
}

uint32_t Emulated::bits(float x) {
  uint32_t out = 0;
  std::memcpy(&out, &x, 4);
  return out;
}

float Emulated::shuffle_xor(float x, int mask) {
  Warp& warp = block->warps[static_cast<size_t>(thread() / 32)];
  auto& values = warp.values[warp.meeting.generation % 2];
  const auto lane = static_cast<size_t>(thread() % 32);
  values[lane] = x;
  meet(warp.meeting, 32, "a warp");
  return values[lane ^ static_cast<size_t>(mask)];
}

void Emulated::add_four(float* to, float a, float b, float c, float d) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0) fail("four numbers off 16 bytes");
  to[0] += a;
  to[1] += b;
  to[2] += c;
  to[3] += d;
}

void Emulated::wait_turn(const int32_t* counter, int32_t value) {
  wait_until("a turn", [counter, value] { return *counter == value; });
}

void Emulated::end_turn(int32_t* counter) { ++*counter; }

}  // namespace dagpam::attention::testing
