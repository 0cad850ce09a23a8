#include "shim.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "traffic.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define CTCKIT_SWITCHING(fake, bottom, size) __sanitizer_start_switch_fiber(fake, bottom, size)
#define CTCKIT_SWITCHED(fake) __sanitizer_finish_switch_fiber(fake, nullptr, nullptr)
#else
#define CTCKIT_SWITCHING(fake, bottom, size) (void)0
#define CTCKIT_SWITCHED(fake) (void)0
#endif

namespace ctckit {
namespace shim {

Index thread_index, block_index, block_size;

namespace {

constexpr unsigned kWarp = 32;
// What every generation from Turing on grants a kernel that does not opt in to more.
constexpr unsigned kMostThreads = 1024, kMostBlocks = 0x7fffffff;
constexpr size_t kMostShared = 48 * 1024;
constexpr size_t kStack = 256 * 1024;

struct Lane {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  void* fake_stack = nullptr;
  bool done = false;
  Wait wait = Wait::kNothing;
  unsigned mask = 0;
  int source = 0;
  uint64_t value = 0, result = 0;
};

std::mt19937_64 random_bits;
std::vector<Lane> lanes;
std::vector<char> shared;
const std::function<void()>* body = nullptr;
const char* kernel_name = "";
ucontext_t scheduler;
void* scheduler_fake_stack = nullptr;
const void* scheduler_bottom = nullptr;
size_t scheduler_size = 0;
std::unordered_set<uint64_t> read_sectors, written_sectors;
std::vector<std::pair<std::string, Traffic>> log_of_launches;
Traffic traffic;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "shim: %s: block %u: %s\n", kernel_name, block_index.x, what.c_str());
  std::abort();
}

void enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
  (*body)();
  lanes[thread_index.x].done = true;
  CTCKIT_SWITCHING(nullptr, scheduler_bottom, scheduler_size);
  setcontext(&scheduler);
}

void run(unsigned lane) {
  thread_index.x = lane;
  CTCKIT_SWITCHING(&scheduler_fake_stack, lanes[lane].stack.get(), kStack);
  swapcontext(&scheduler, &lanes[lane].context);
  CTCKIT_SWITCHED(scheduler_fake_stack);
}

bool ready(const Lane& lane) { return !lane.done && lane.wait == Wait::kNothing; }

// Lets the lanes of a warp go whose rendezvous is complete.
bool release_warp(unsigned warp) {
  bool released = false;
  for (unsigned i = 0; i < kWarp && warp * kWarp + i < lanes.size(); ++i) {
    Lane& first = lanes[warp * kWarp + i];
    if (first.done || first.wait == Wait::kNothing || first.wait == Wait::kBlock) continue;
    uint64_t ballot = 0;
    bool complete = true;
    for (unsigned j = 0; j < kWarp; ++j) {
      if (!(first.mask >> j & 1u)) continue;
      if (warp * kWarp + j >= lanes.size()) fail("a mask names a lane that the block does not have");
      const Lane& other = lanes[warp * kWarp + j];
      if (other.done) fail("a mask names a lane that has returned");
      if (other.wait == Wait::kNothing) {
        complete = false;
        break;
      }
      if (other.wait != first.wait || other.mask != first.mask) {
        fail("lanes of one mask met at different operations");
      }
      ballot |= static_cast<uint64_t>(other.value & 1u) << j;
    }
    if (!complete) continue;
    const unsigned mask = first.mask;
    const Wait kind = first.wait;
    for (unsigned j = 0; j < kWarp; ++j) {
      if (!(mask >> j & 1u)) continue;
      Lane& lane = lanes[warp * kWarp + j];
      if (kind == Wait::kShuffle && !(mask >> lane.source & 1u)) fail("a shuffle reads a lane outside its mask");
      lane.result = kind == Wait::kBallot ? ballot : lanes[warp * kWarp + static_cast<unsigned>(lane.source)].value;
      lane.wait = Wait::kNothing;
    }
    released = true;
  }
  return released;
}

void run_block() {
  const unsigned warps = (static_cast<unsigned>(lanes.size()) + kWarp - 1) / kWarp;
  for (;;) {
    std::vector<unsigned> able;
    for (unsigned warp = 0; warp < warps; ++warp) {
      for (unsigned i = warp * kWarp; i < lanes.size() && i < (warp + 1) * kWarp; ++i) {
        if (ready(lanes[i])) {
          able.push_back(warp);
          break;
        }
      }
    }
    if (able.empty()) {
      bool left = false;
      for (Lane& lane : lanes) {
        if (lane.done) continue;
        left = true;
        if (lane.wait != Wait::kBlock) fail("deadlock: a lane waits for lanes that are at a barrier");
      }
      if (!left) return;
      for (Lane& lane : lanes) lane.wait = Wait::kNothing;
      continue;
    }
    const unsigned warp = able[random_bits() % able.size()];
    std::vector<unsigned> order;
    for (unsigned i = warp * kWarp; i < lanes.size() && i < (warp + 1) * kWarp; ++i) order.push_back(i);
    std::shuffle(order.begin(), order.end(), random_bits);
    for (const unsigned lane : order) {
      if (ready(lanes[lane])) run(lane);
    }
    release_warp(warp);
  }
}

}  // namespace

void set_seed(uint64_t seed) { random_bits.seed(seed); }

char* shared_memory() { return shared.data(); }

void count(const void* address, size_t size, bool write) {
  const auto begin = reinterpret_cast<uintptr_t>(address);
  auto& sectors = write ? written_sectors : read_sectors;
  for (uintptr_t sector = begin / 32; sector <= (begin + size - 1) / 32; ++sector) {
    if (sectors.insert(sector).second) traffic.sector_bytes += 32;
  }
  traffic.lane_bytes += static_cast<int64_t>(size);
  if (!write) ++(size == 16 ? traffic.vector_loads : traffic.scalar_loads);
}

void count_exponential() { ++traffic.exponentials; }

uint64_t meet(Wait kind, unsigned mask, uint64_t value, int source) {
  const unsigned self = thread_index.x;
  Lane& lane = lanes[self];
  if (kind != Wait::kBlock && !(mask >> self % kWarp & 1u)) fail("a lane calls an operation whose mask leaves it out");
  lane.wait = kind;
  lane.mask = mask;
  lane.value = value;
  lane.source = source;
  CTCKIT_SWITCHING(&lane.fake_stack, scheduler_bottom, scheduler_size);
  swapcontext(&lane.context, &scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(lane.fake_stack, &scheduler_bottom, &scheduler_size);
#endif
  return lane.result;
}

void launch(const char* name, unsigned grid, unsigned block, size_t shared_bytes, const std::function<void()>& kernel) {
  kernel_name = name;
  body = &kernel;
  block_size.x = block;
  traffic = {};
  read_sectors.clear();
  written_sectors.clear();
  if (block == 0 || block > kMostThreads || grid == 0 || grid > kMostBlocks) fail("a launch that a GPU would refuse");
  if (shared_bytes > kMostShared) fail("more shared memory than a GPU gives without opt-in");
  std::vector<unsigned> order(grid);
  for (unsigned i = 0; i < grid; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random_bits);
  for (const unsigned index : order) {
    block_index.x = index;
    shared.assign(shared_bytes, static_cast<char>(0xff));
    shared.shrink_to_fit();
    lanes.resize(block);
    for (Lane& lane : lanes) {
      if (!lane.stack) lane.stack = std::make_unique<char[]>(kStack);
      lane.done = false;
      lane.wait = Wait::kNothing;
      getcontext(&lane.context);
      lane.context.uc_stack.ss_sp = lane.stack.get();
      lane.context.uc_stack.ss_size = kStack;
      lane.context.uc_link = nullptr;
      makecontext(&lane.context, enter, 0);
    }
    run_block();
  }
  const std::string bare = name + (name[0] == '(');
  log_of_launches.emplace_back(bare.substr(0, bare.find('<')), traffic);
}

std::vector<std::pair<std::string, Traffic>> take_log() {
  auto log = std::move(log_of_launches);
  log_of_launches.clear();
  return log;
}

}  // namespace shim
}  // namespace ctckit
