#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "emulated_block.h"

namespace dagpam::attention::testing {
namespace {

constexpr size_t kStack = 128 * 1024;

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

bool finished() {
  return std::all_of(block->fibers.begin(), block->fibers.end(),
                     [](const Fiber& fiber) { return fiber.done; });
}

// Whether a thread's warpgroup is held back: now and then one is for a while, so that the others
// get as far ahead as barriers let them.
bool held_back(int thread) { return thread / hopper::kWarpgroup == block->held_back; }

void choose_held_back() {
  if (block->held_rounds-- > 0) return;
  const auto warpgroups = static_cast<uint64_t>(block->fibers.size()) / hopper::kWarpgroup;
  block->held_back =
      warpgroups > 1 && block->coin() ? static_cast<int>(block->random() % warpgroups) : -1;
  // Until nothing else can go on, or for some rounds.
  const bool as_long_as_can_be = block->held_back >= 0 && block->coin();
  block->held_rounds = as_long_as_can_be ? 1 << 30 : static_cast<int>(block->random() % 16);
}

// One turn for every fiber that can go on, in random order; false where none can.
bool run_round() {
  std::vector<int> order(block->fibers.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::shuffle(order.begin(), order.end(), block->random);
  choose_held_back();
  ++block->round;
  bool moved = false;
  for (const int i : order) {
    Fiber& fiber = block->fibers[static_cast<size_t>(i)];
    if (held_back(i) || fiber.done || (fiber.ready && !fiber.ready())) continue;
    fiber.ready = nullptr;
    block->current = i;
    swapcontext(&block->scheduler, &fiber.context);
    if (!block->error.empty()) return true;
    moved = true;
  }
  if (moved || block->held_back < 0) return moved;
  block->held_back = -1;
  block->held_rounds = 0;
  return true;  // they may go on
}

void land_a_copy() {
  const auto copy = std::move(block->copies.front());
  block->copies.pop_front();
  copy();
}

// The first one that has not read yet reads, or the first one adds.
void move_an_addition() {
  auto& all = block->additions;
  const auto unread =
      std::find_if(all.begin(), all.end(), [](const Addition& x) { return !x.read; });
  if (unread != all.end() && (unread == all.begin() || block->coin())) {
    unread->numbers.resize(unread->bytes / 4);
    std::memcpy(unread->numbers.data(), block->async.data() + unread->from, unread->bytes);
    unread->read = true;
    return;
  }
  for (size_t i = 0; i < all.front().numbers.size(); ++i)
    all.front().to[i] += all.front().numbers[i];
  all.pop_front();
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
    const bool late = !moved || block->random() % 8 == 0;
    if (!block->copies.empty() && late) {
      land_a_copy();
    } else if (!block->additions.empty() && late) {
      move_an_addition();
    } else if (!moved && block->due.empty()) {
      fail(describe_stop());
    }
  }
  if (block->error.empty() && !block->copies.empty()) fail("a copy lands after the block's end");
  for (const Addition& addition : block->additions) {
    if (!addition.read && block->error.empty()) fail("an addition reads after the block's end");
  }
  while (block->error.empty() && !block->additions.empty()) move_an_addition();
  for (const auto& [at, barrier] : block->barriers) {
    if (block->error.empty() && barrier.bytes != 0) fail("bytes announced that do not come");
  }
  for (const Fiber& fiber : block->fibers) {
    if (block->error.empty() && !fiber.held.empty()) fail("a product that nobody waits for");
  }
}

}  // namespace

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

bool in_memory(uint32_t at, uint32_t bytes) {
  if (at >= 1024 && at + bytes <= kSharedBytes) return true;
  fail("shared memory address " + std::to_string(at));
  return false;
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

void Emulated::load_four(uint32_t at, float (&x)[4]) {
  if (at % 16 != 0) fail("four numbers off 16 bytes");
  for (uint32_t i = 0; i < 4; ++i) x[i] = load_float(at + 4 * i);
}

void Emulated::store_four(uint32_t at, float a, float b, float c, float d) {
  if (at % 16 != 0) fail("four numbers off 16 bytes");
  store(at, a);
  store(at + 4, b);
  store(at + 8, c);
  store(at + 12, d);
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

void Emulated::add_bytes(float* to, uint32_t from, uint32_t bytes) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || from % 16 != 0 || bytes % 16 != 0) {
    fail("an addition off 16 bytes");
  }
  if (!in_memory(from, bytes)) return;
  block->additions.push_back({thread(), to, from, bytes, false, {}});
  while (!block->additions.empty() && block->coin()) move_an_addition();
}

void Emulated::wait_sums_read() {
  wait_until("additions that read", [own = thread()] {
    return std::all_of(block->additions.begin(), block->additions.end(),
                       [own](const Addition& x) { return x.thread != own || x.read; });
  });
}

void Emulated::wait_turn(const int32_t* counter, int32_t value) {
  wait_until("a turn", [counter, value] { return *counter == value; });
}

void Emulated::end_turn(int32_t* counter) { ++*counter; }

}  // namespace dagpam::attention::testing
