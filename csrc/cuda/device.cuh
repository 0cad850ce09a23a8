// The small part of CUDA that the kernels are written in; under g++ the same names come from the shim, which
// executes them on the CPU (csrc/shim/shim.h).
#pragma once

#include "../core/problem.h"
#include "../core/working.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define CTCKIT_KERNEL static __global__ void
// A kernel for blocks of this many threads. That one block is enough keeps ptxas from spilling to fit more.
#define CTCKIT_BOUNDED(threads) static __global__ void __launch_bounds__(threads, 1)
#define CTCKIT_UNROLL _Pragma("unroll")
#define CTCKIT_DEVICE static __device__ __forceinline__
#define CTCKIT_COUNT_EXPONENTIAL() ((void)0)
#define CTCKIT_METHOD __host__ __device__
#define CTCKIT_INLINE __device__ __forceinline__
#define CTCKIT_SHARED(name) extern __shared__ __align__(16) char name[]
#define CTCKIT_LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
namespace ctckit {
namespace cuda {
using Stream = cudaStream_t;
}
}  // namespace ctckit
#else
#include "../shim/shim.h"
#endif

namespace ctckit {
namespace cuda {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kWarp = 32;

struct Bf16 {
  uint16_t bits;
};
struct Fp16 {
  uint16_t bits;
};

CTCKIT_DEVICE float widen(float x) { return x; }
CTCKIT_DEVICE double widen(double x) { return x; }
CTCKIT_DEVICE float widen(Bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
CTCKIT_DEVICE float widen(Fp16 x) { return __half2float(__ushort_as_half(x.bits)); }

CTCKIT_DEVICE void narrow(float x, float& to) { to = x; }
CTCKIT_DEVICE void narrow(double x, double& to) { to = x; }
CTCKIT_DEVICE void narrow(float x, Fp16& to) { to.bits = __half_as_ushort(__float2half_rn(x)); }
CTCKIT_DEVICE void narrow(float x, Bf16& to) { to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x)); }

// 2^x in one special-function instruction; what is below the normal numbers is zero.
CTCKIT_DEVICE float power_of(float x) {
#if defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

// exp(x) for x <= 0.
CTCKIT_DEVICE float exp_of(float x) {
  CTCKIT_COUNT_EXPONENTIAL();
  return power_of(x * 1.44269504f);
}
CTCKIT_DEVICE double exp_of(double x) { return exp(x); }
CTCKIT_DEVICE float larger_of(float a, float b) { return fmaxf(a, b); }
CTCKIT_DEVICE double larger_of(double a, double b) { return fmax(a, b); }
CTCKIT_DEVICE float log_of(float x) { return logf(x); }
CTCKIT_DEVICE double log_of(double x) { return log(x); }

template <class R>
CTCKIT_DEVICE R minus_infinity() {
  return static_cast<R>(-INFINITY);
}

// Global memory is touched through these two alone, so that the shim can count bytes.
#if defined(__CUDACC__)
template <class T>
CTCKIT_DEVICE T get(const T* from) {
  return *from;
}
template <class T>
CTCKIT_DEVICE void put(T* to, T value) {
  *to = value;
}
#else
using shim::get;
using shim::put;
#endif

template <class T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));
template <class T>
struct alignas(16) Pack {
  T v[kPack<T>];
};
template <class T>
CTCKIT_DEVICE Pack<T> get_pack(const T* from) {
#if defined(__CUDACC__)
  Pack<T> pack;
  *reinterpret_cast<uint4*>(&pack) = *reinterpret_cast<const uint4*>(from);
  return pack;
#else
  return get(reinterpret_cast<const Pack<T>*>(from));
#endif
}
template <class T>
CTCKIT_DEVICE void put_pack(T* to, const Pack<T>& pack) {
#if defined(__CUDACC__)
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(&pack);
#else
  put(reinterpret_cast<Pack<T>*>(to), pack);
#endif
}

// Asks for memory to be brought to the second-level cache, by `threads` threads, the ends first: what a pass over all
// logits wrote may have left it, and a loop that waits for each round cannot look far enough ahead.
CTCKIT_DEVICE void prefetch(const void* begin, int64_t bytes, int64_t thread, int64_t threads) {
#if defined(__CUDACC__)
  constexpr int64_t line = 128;
  const char* memory = static_cast<const char*>(begin);
  for (int64_t at = thread * line; at < (bytes + 1) / 2; at += threads * line) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(memory + at));
    asm volatile("prefetch.global.L2 [%0];" ::"l"(memory + bytes - 1 - at));
  }
#else
  (void)begin, (void)bytes, (void)thread, (void)threads;
#endif
}

// Lengths and counts as they may be used: what is out of range is reported by one kernel of the op (rows.cuh, note)
// and must not lead another one out of its memory.
CTCKIT_DEVICE int64_t clamped(int64_t x, int64_t most) { return x < 0 ? 0 : x > most ? most : x; }

CTCKIT_DEVICE int lane_of() { return static_cast<int>(threadIdx.x) % kWarp; }
CTCKIT_DEVICE int64_t warp_of() { return (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp; }

template <class T>
CTCKIT_DEVICE T* address(const View& view, int64_t t, int64_t b) {
  return static_cast<T*>(view.data) + t * view.stride_t + b * view.stride_b;
}

}  // namespace cuda
}  // namespace ctckit
