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

}  // namespace dagpam::attention::testing
