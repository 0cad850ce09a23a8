// Executes the CUDA kernels on the CPU, to find what a compiler cannot: every thread of a block is a fiber.
//
// Warps run in an order drawn from a seed, and so do the lanes of a warp, each until it must wait: a missing barrier
// shows as a wrong result for some seed. Warp-wide operations are rendezvous: all lanes that the mask names must
// arrive at the same operation with the same mask, and none of them may have returned. Shared memory starts out
// poisoned (all ones: NaN, -1) and lies in an allocation of its own size, for AddressSanitizer to guard.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define CTCKIT_KERNEL static void
#define CTCKIT_BOUNDED(threads) static void
#define CTCKIT_UNROLL
#define CTCKIT_INLINE inline
#define CTCKIT_DEVICE static inline
#define CTCKIT_METHOD
#define CTCKIT_COUNT_EXPONENTIAL() ::ctckit::shim::count_exponential()
#define CTCKIT_SHARED(name) char* name = ::ctckit::shim::shared_memory()
#define CTCKIT_LAUNCH(kernel, grid, block, shared, stream, ...)                                            \
  ::ctckit::shim::launch(#kernel, static_cast<unsigned>(grid), static_cast<unsigned>(block), shared, [&] { \
    (void)(stream);                                                                                        \
    kernel(__VA_ARGS__);                                                                                   \
  })

namespace ctckit {
namespace shim {

struct Index {
  unsigned x;
};
extern Index thread_index, block_index, block_size;

// What a launch moved between global memory and the chip if the cache holds everything that is read twice: whole
// 32-byte sectors, each counted once a launch; and what lanes asked for, repeats included.
struct Traffic {
  int64_t sector_bytes = 0, lane_bytes = 0, vector_loads = 0, scalar_loads = 0, exponentials = 0;
};

void set_seed(uint64_t seed);
void launch(const char* name, unsigned grid, unsigned block, size_t shared, const std::function<void()>& kernel);
char* shared_memory();
void count(const void* address, size_t size, bool write);
void count_exponential();

enum class Wait { kNothing, kBlock, kWarp, kShuffle, kBallot };

// Waits, as a lane, for the lanes in mask; returns what `source` brought (or the ballot).
uint64_t meet(Wait kind, unsigned mask, uint64_t value, int source);

template <class T>
inline T get(const T* from) {
  count(from, sizeof(T), false);
  return *from;
}
template <class T>
inline void put(T* to, T value) {
  count(to, sizeof(T), true);
  *to = value;
}

}  // namespace shim

namespace cuda {
using Stream = void*;
}
}  // namespace ctckit

#define threadIdx ::ctckit::shim::thread_index
#define blockIdx ::ctckit::shim::block_index
#define blockDim ::ctckit::shim::block_size

inline void __syncthreads() { ctckit::shim::meet(ctckit::shim::Wait::kBlock, 0, 0, 0); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { ctckit::shim::meet(ctckit::shim::Wait::kWarp, mask, 0, 0); }
inline unsigned __ballot_sync(unsigned mask, bool vote) {
  return static_cast<unsigned>(ctckit::shim::meet(ctckit::shim::Wait::kBallot, mask, vote, 0));
}
template <class T>
inline T shim_shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = ctckit::shim::meet(ctckit::shim::Wait::kShuffle, mask, bits, source);
  memcpy(&value, &bits, sizeof(T));
  return value;
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int offset) {
  return shim_shuffle(mask, value, static_cast<int>(threadIdx.x % 32) ^ offset);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, int offset) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  return shim_shuffle(mask, value, lane < offset ? lane : lane - offset);
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

// Fibers run one at a time: a plain update is atomic.
inline unsigned long long atomicMin(unsigned long long* at, unsigned long long value) {
  const unsigned long long before = *at;
  if (value < before) *at = value;
  return before;
}

template <class To, class From>
inline To shim_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}
inline float __uint_as_float(unsigned bits) { return shim_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return shim_cast<unsigned>(value); }
inline int __double2hiint(double value) { return static_cast<int>(shim_cast<int64_t>(value) >> 32); }
inline int __double2loint(double value) { return static_cast<int>(shim_cast<int64_t>(value) & 0xffffffff); }
inline double __hiloint2double(int high, int low) {
  return shim_cast<double>(static_cast<uint64_t>(static_cast<unsigned>(high)) << 32 | static_cast<unsigned>(low));
}

struct __half {
  _Float16 value;
};
inline __half __ushort_as_half(unsigned short bits) { return {shim_cast<_Float16>(bits)}; }
inline unsigned short __half_as_ushort(__half half) { return shim_cast<unsigned short>(half.value); }
inline float __half2float(__half half) { return static_cast<float>(half.value); }
inline __half __float2half_rn(float value) { return {static_cast<_Float16>(value)}; }

struct __nv_bfloat16 {
  unsigned short bits;
};
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  const unsigned bits = __float_as_uint(value);
  const unsigned rounded = value == value ? bits + 0x7fffu + (bits >> 16 & 1u) : bits | 0x400000u;
  return {static_cast<unsigned short>(rounded >> 16)};
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
