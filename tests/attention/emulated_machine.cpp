#include <algorithm>
#include <cstring>
#include <utility>

#include "emulated_block.h"

namespace dagpam::attention::testing {
namespace {

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

}  // namespace

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
