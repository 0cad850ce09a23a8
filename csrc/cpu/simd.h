// Vectors as wide as the translation unit's instruction set, on GCC's and Clang's vector extensions; with
// intrinsics only where those extensions do badly.
//
// Everything is in a namespace of the instruction set's own, and nothing here calls inline functions of the
// standard library: the linker would merge those across translation units and might keep a copy with
// instructions that the machine lacks.
#pragma once

#include <cstdint>
#include <cstring>

#include "../core/working.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define CTCKIT_INLINE inline __attribute__((always_inline))

namespace ctckit {
namespace CTCKIT_ISA {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <class R>
struct IntegerOf;
template <>
struct IntegerOf<float> {
  using type = int32_t;
};
template <>
struct IntegerOf<double> {
  using type = int64_t;
};

template <class R>
constexpr int kLanes = kBytes / static_cast<int>(sizeof(R));

template <class R, int N = kLanes<R>>
using Vec __attribute__((vector_size(sizeof(R) * N))) = R;
template <class R, int N = kLanes<R>>
using IntVec __attribute__((vector_size(sizeof(R) * N))) = typename IntegerOf<R>::type;

template <class R>
constexpr R kInfinity = static_cast<R>(__builtin_inf());

template <class To, class From>
CTCKIT_INLINE To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

template <class V>
CTCKIT_INLINE V load_raw(const void* from) {
  V v;
  memcpy(&v, from, sizeof(v));
  return v;
}

template <class R>
CTCKIT_INLINE Vec<R> splat(R value) {
  return Vec<R>{} + value;
}

template <class R>
CTCKIT_INLINE IntVec<R> lane_numbers() {
  IntVec<R> lanes;
  for (int i = 0; i < kLanes<R>; ++i) lanes[i] = i;
  return lanes;
}

// The second operand where either is NaN, as the x86 instructions have it.
template <class V>
CTCKIT_INLINE V maximum(V a, V b) {
  return a > b ? a : b;
}
#if defined(__AVX512F__)
CTCKIT_INLINE Vec<float> maximum(Vec<float> a, Vec<float> b) { return _mm512_max_ps(a, b); }
CTCKIT_INLINE Vec<double> maximum(Vec<double> a, Vec<double> b) { return _mm512_max_pd(a, b); }
CTCKIT_INLINE Vec<double> minimum(Vec<double> a, Vec<double> b) { return _mm512_min_pd(a, b); }
#elif defined(__AVX2__)
CTCKIT_INLINE Vec<float> maximum(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
CTCKIT_INLINE Vec<double> maximum(Vec<double> a, Vec<double> b) { return _mm256_max_pd(a, b); }
CTCKIT_INLINE Vec<double> minimum(Vec<double> a, Vec<double> b) { return _mm256_min_pd(a, b); }
#else
CTCKIT_INLINE Vec<double> minimum(Vec<double> a, Vec<double> b) { return a < b ? a : b; }
#endif

// The lanes one place on, behind the last one of the vector before, and one place back, before the first of the next.
CTCKIT_INLINE Vec<double> lanes_before(Vec<double> v, Vec<double> previous) {
#if defined(__AVX512F__)
  return _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(v), _mm512_castpd_si512(previous), 7));
#elif defined(__AVX2__)
  return _mm256_shuffle_pd(_mm256_permute2f128_pd(previous, v, 0x21), v, 0x5);
#else
  return Vec<double>{previous[1], v[0]};
#endif
}
CTCKIT_INLINE Vec<double> lanes_after(Vec<double> v, Vec<double> next) {
#if defined(__AVX512F__)
  return _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(next), _mm512_castpd_si512(v), 1));
#elif defined(__AVX2__)
  return _mm256_shuffle_pd(v, _mm256_permute2f128_pd(v, next, 0x21), 0x5);
#else
  return Vec<double>{v[1], next[0]};
#endif
}

struct Add {
  template <class V>
  CTCKIT_INLINE V operator()(V a, V b) const {
    return a + b;
  }
};
struct Max {
  template <class V>
  CTCKIT_INLINE V operator()(V a, V b) const {
    return a > b ? a : b;
  }
};

// Reduces by halves: the same tree, hence the same rounding, every time.
template <class R, int N, class Operation>
CTCKIT_INLINE R reduce(Vec<R, N> v, Operation operation) {
  if constexpr (N == 2) {
    return operation(v[0], v[1]);
  } else {
    const char* bytes = reinterpret_cast<const char*>(&v);
    return reduce<R, N / 2>(operation(load_raw<Vec<R, N / 2>>(bytes), load_raw<Vec<R, N / 2>>(bytes + sizeof(v) / 2)),
                            operation);
  }
}

// One bit a lane: whether a == b there.
template <class R>
CTCKIT_INLINE uint64_t equal_bits(Vec<R> a, Vec<R> b) {
  uint64_t bits = 0;
  for (int i = 0; i < kLanes<R>; ++i) bits |= static_cast<uint64_t>(a[i] == b[i]) << i;
  return bits;
}
#if defined(__AVX512F__)
template <>
CTCKIT_INLINE uint64_t equal_bits<float>(Vec<float> a, Vec<float> b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
#elif defined(__AVX2__)
template <>
CTCKIT_INLINE uint64_t equal_bits<float>(Vec<float> a, Vec<float> b) {
  return static_cast<uint64_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)));
}
#elif defined(__SSE2__)
template <>
CTCKIT_INLINE uint64_t equal_bits<float>(Vec<float> a, Vec<float> b) {
  return static_cast<uint64_t>(_mm_movemask_ps(_mm_cmpeq_ps(a, b)));
}
#endif

// --- storage types -------------------------------------------------------------------------------------

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

using HalfVec = uint16_t __attribute__((vector_size(kLanes<float> * 2)));
using WordVec = uint32_t __attribute__((vector_size(kBytes)));

CTCKIT_INLINE float widen(Float16 value) {
  const uint32_t sign = (value.bits & 0x8000u) << 16, rest = value.bits & 0x7fffu;
  if (rest >= 0x7c00u) return bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  // Multiplying by 2^112 moves the exponent's bias and turns subnormals into normal numbers.
  const float magnitude = bit_cast<float>(rest << 13) * 0x1p112f;
  return bit_cast<float>(bit_cast<uint32_t>(magnitude) | sign);
}

CTCKIT_INLINE Float16 narrow_to_float16(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (rest >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // rounds to 65536 or above
  if (rest < 0x38800000u) {
    // Subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the last bits.
    const float rounded = bit_cast<float>(rest) + 0.5f;
    return {static_cast<uint16_t>(sign | (bit_cast<uint32_t>(rounded) - 0x3f000000u))};
  }
  const uint32_t even = rest + 0xfffu + (rest >> 13 & 1u);
  return {static_cast<uint16_t>(sign | ((even >> 13) - (112u << 10)))};
}

CTCKIT_INLINE Vec<float> load(const float* from) { return load_raw<Vec<float>>(from); }
CTCKIT_INLINE Vec<double> load(const double* from) { return load_raw<Vec<double>>(from); }
// 16-bit words to 32 bits and back, for words that fit. Compilers split the conversions of their vector extensions.
CTCKIT_INLINE WordVec widen_words(const void* from) {
#if defined(__AVX512F__)
  return bit_cast<WordVec>(_mm512_cvtepu16_epi32(load_raw<__m256i>(from)));
#elif defined(__AVX2__)
  return bit_cast<WordVec>(_mm256_cvtepu16_epi32(load_raw<__m128i>(from)));
#else
  return __builtin_convertvector(load_raw<HalfVec>(from), WordVec);
#endif
}
CTCKIT_INLINE void store_words(void* to, WordVec words) {
#if defined(__AVX512F__)
  const auto half = _mm512_cvtepi32_epi16(bit_cast<__m512i>(words));
#elif defined(__AVX2__)
  const __m256i wide = bit_cast<__m256i>(words);
  // Packing works in halves of 128 bits; the permutation brings both results together.
  const auto half = _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(wide, wide), 0x08));
#else
  const auto half = __builtin_convertvector(words, HalfVec);
#endif
  memcpy(to, &half, sizeof(half));
}

CTCKIT_INLINE Vec<float> load(const BFloat16* from) { return bit_cast<Vec<float>>(widen_words(from) << 16); }
CTCKIT_INLINE Vec<float> load(const Float16* from) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(load_raw<__m256i>(from));
#elif defined(__AVX2__) && defined(__F16C__)
  return _mm256_cvtph_ps(load_raw<__m128i>(from));
#elif defined(__aarch64__)
  return bit_cast<Vec<float>>(vcvt_f32_f16(load_raw<float16x4_t>(from)));
#else
  Vec<float> v;
  for (int i = 0; i < kLanes<float>; ++i) v[i] = widen(from[i]);
  return v;
#endif
}

// As many floats as there are lanes of double.
CTCKIT_INLINE Vec<double> load_wide(const float* from) {
  return __builtin_convertvector((load_raw<Vec<float, kLanes<double>>>(from)), Vec<double>);
}
CTCKIT_INLINE Vec<double> load_wide(const double* from) { return load(from); }

CTCKIT_INLINE void store(float* to, Vec<float> v) { memcpy(to, &v, sizeof(v)); }
CTCKIT_INLINE void store(double* to, Vec<double> v) { memcpy(to, &v, sizeof(v)); }
CTCKIT_INLINE void store(BFloat16* to, Vec<float> v) {
  const WordVec bits = bit_cast<WordVec>(v);
  const WordVec even = bits + 0x7fffu + (bits >> 16 & 1u);
  store_words(to, (even | bit_cast<WordVec>(v != v)) >> 16);  // a NaN stays one
}
CTCKIT_INLINE void store(Float16* to, Vec<float> v) {
#if defined(__AVX512F__)
  const __m256i half = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  memcpy(to, &half, sizeof(half));
#elif defined(__AVX2__) && defined(__F16C__)
  const __m128i half = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  memcpy(to, &half, sizeof(half));
#elif defined(__aarch64__)
  const float16x4_t half = vcvt_f16_f32(bit_cast<float32x4_t>(v));
  memcpy(to, &half, sizeof(half));
#else
  for (int i = 0; i < kLanes<float>; ++i) to[i] = narrow_to_float16(v[i]);
#endif
}

CTCKIT_INLINE float load_one(const float* from) { return *from; }
CTCKIT_INLINE double load_one(const double* from) { return *from; }
CTCKIT_INLINE float load_one(const BFloat16* from) { return bit_cast<float>(static_cast<uint32_t>(from->bits) << 16); }
CTCKIT_INLINE float load_one(const Float16* from) { return widen(*from); }

CTCKIT_INLINE void store_one(float* to, float value) { *to = value; }
CTCKIT_INLINE void store_one(double* to, double value) { *to = value; }
CTCKIT_INLINE void store_one(BFloat16* to, float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  to->bits = static_cast<uint16_t>((value == value ? bits + 0x7fffu + (bits >> 16 & 1u) : bits | 0x400000u) >> 16);
}
CTCKIT_INLINE void store_one(Float16* to, float value) { *to = narrow_to_float16(value); }

// --- exp and log ---------------------------------------------------------------------------------------

// 2^n for integer-valued n in [-1022, 1023] (double) or [-126, 127] (float).
CTCKIT_INLINE Vec<float> power_of_two(Vec<float> n) {
  return bit_cast<Vec<float>>((bit_cast<IntVec<float>>(n + 0x1.8p23f) + 127) << 23);
}
CTCKIT_INLINE Vec<double> power_of_two(Vec<double> n) {
  return bit_cast<Vec<double>>((bit_cast<IntVec<double>>(n + 0x1.8p52) + 1023) << 52);
}

// To the nearest integer, for magnitudes below 2^22 or 2^51.
CTCKIT_INLINE Vec<float> nearest(Vec<float> x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
CTCKIT_INLINE Vec<double> nearest(Vec<double> x) { return (x + 0x1.8p52) - 0x1.8p52; }

// exp(r) for |r| <= ln(2)/2: relative error 3e-9 (float, before rounding) and 2e-16 (double).
CTCKIT_INLINE Vec<float> exp_reduced(Vec<float> r) {
  Vec<float> p = splat(0.00138145f);
  p = p * r + 0.00836875f;
  p = p * r + 0.04166839f;
  p = p * r + 0.1666652f;
  p = p * r + 0.49999993f;
  p = p * r + 1.0f;
  return p * r + 1.0f;
}
// `fine`: else 7e-12, for numbers that come from float32.
template <bool fine = true>
CTCKIT_INLINE Vec<double> exp_reduced(Vec<double> r) {
  Vec<double> p = splat(1.0 / 362880);
  if constexpr (fine) {
    p = splat(1.0 / 479001600);
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
  }
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  return p * r + 1.0;
}

// exp(x) for x <= 0; zero where the result would be subnormal; NaN for NaN.
CTCKIT_INLINE Vec<float> exp_nonpositive(Vec<float> x) {
#if defined(__AVX512F__)
  const __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.33f), _CMP_NLT_UQ);
  const Vec<float> n = _mm512_roundscale_ps(x * 1.44269504f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm512_maskz_scalef_ps(kept, exp_reduced(x - n * 0.693147181f), n);
#else
  const Vec<float> n = nearest(x * 1.44269504f);
  const Vec<float> value = exp_reduced(x - n * 0.693147181f) * power_of_two(n);
  return x < -87.33f ? Vec<float>{} : value;
#endif
}
template <bool fine = true>
CTCKIT_INLINE Vec<double> exp_nonpositive(Vec<double> x) {
  const Vec<double> n = nearest(x * 1.4426950408889634);
  const Vec<double> value = exp_reduced<fine>((x - n * 0.6931471803691238) - n * 1.9082149292705877e-10) * power_of_two(n);
  return x < -708.0 ? Vec<double>{} : value;
}

// exp(x) for x <= 0 as a term of a sum that is at least 1: relative error 1.5e-7 * (1 + |x|), which the term's own
// size outweighs; exactly 1 at 0, so that a frame without any doubt costs nothing however many there are; -inf may
// come out as 2^-126. Two multiply-adds fewer than exp_nonpositive. 2^f by Lawson's minimax fit of relative error.
CTCKIT_INLINE Vec<float> exp_term(Vec<float> x) {
  // The bound keeps -inf finite. A NaN passes through it.
  const Vec<float> y = maximum(splat(-126.0f), x * 1.44269504f);
  Vec<float> p = splat(0.00132647285f);
#if defined(__AVX512F__)
  const Vec<float> n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const Vec<float> n = nearest(y);
#endif
  const Vec<float> f = y - n;
  p = p * f + 0.00967151299f;
  p = p * f + 0.0555073358f;
  p = p * f + 0.240222424f;
  p = p * f + 0.693147004f;
  p = p * f + 1.0f;
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, n);
#else
  return p * power_of_two(n);
#endif
}
CTCKIT_INLINE Vec<double> exp_term(Vec<double> x) { return exp_nonpositive(x); }

// exp for a single non-positive number, by the same arithmetic.
template <class R>
CTCKIT_INLINE R exp_one(R x) {
  return exp_nonpositive(splat(x))[0];
}

// log(x) for normal x > 0: absolute error 1e-7 (float).
CTCKIT_INLINE Vec<float> log_positive(Vec<float> x) {
  const IntVec<float> bits = bit_cast<IntVec<float>>(x);
  const IntVec<float> exponent = (bits - 0x3f3504f3) >> 23;  // so that the mantissa is in [sqrt(1/2), sqrt(2))
  const Vec<float> f = bit_cast<Vec<float>>(bits - (exponent << 23)) - 1.0f;
  Vec<float> p = splat(0.0891787136f);
  p = p * f - 0.143502068f;
  p = p * f + 0.148769627f;
  p = p * f - 0.165656339f;
  p = p * f + 0.199653979f;
  p = p * f - 0.250017469f;
  p = p * f + 0.333338581f;
  const Vec<float> n = __builtin_convertvector(exponent, Vec<float>);
  return n * 0.693147181f + (f + (p * f - 0.5f) * (f * f));
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
