// Tiles of rows whose classes are strided, as in a [B, C, T] tensor of a convolution seen as [T, B, C]: what is
// adjacent in memory are then the frames of one class, and a tile of frames is transposed at once.
#pragma once

#include "simd.h"

namespace ctckit {
namespace CTCKIT_ISA {

// Rows a tile, at most: enough for runs of memory that the processor fetches ahead, few enough for its cache.
constexpr int64_t kTileRows = 64;
// Rows a vector.
template <class T>
constexpr int64_t kTileVector = kBytes / static_cast<int64_t>(sizeof(T));

#if defined(__SSE2__)

#if defined(__AVX512F__)
using Words = __m512i;
#define CTCKIT_UNPACK(half, bits) _mm512_unpack##half##_epi##bits
#elif defined(__AVX2__)
using Words = __m256i;
#define CTCKIT_UNPACK(half, bits) _mm256_unpack##half##_epi##bits
#else
using Words = __m128i;
#define CTCKIT_UNPACK(half, bits) _mm_unpack##half##_epi##bits
#endif

template <int kWord>
CTCKIT_INLINE Words unpack_low(Words a, Words b) {
  if constexpr (kWord == 2) return CTCKIT_UNPACK(lo, 16)(a, b);
  if constexpr (kWord == 4) return CTCKIT_UNPACK(lo, 32)(a, b);
  if constexpr (kWord == 8) return CTCKIT_UNPACK(lo, 64)(a, b);
}
template <int kWord>
CTCKIT_INLINE Words unpack_high(Words a, Words b) {
  if constexpr (kWord == 2) return CTCKIT_UNPACK(hi, 16)(a, b);
  if constexpr (kWord == 4) return CTCKIT_UNPACK(hi, 32)(a, b);
  if constexpr (kWord == 8) return CTCKIT_UNPACK(hi, 64)(a, b);
}
#undef CTCKIT_UNPACK

// A vector of 16-byte parts, each `apart` bytes after the one before.
CTCKIT_INLINE Words load_parts(const char* from, [[maybe_unused]] int64_t apart) {
  const __m128i first = load_raw<__m128i>(from);
#if defined(__AVX512F__)
  Words words = _mm512_castsi128_si512(first);
  words = _mm512_inserti32x4(words, load_raw<__m128i>(from + apart), 1);
  words = _mm512_inserti32x4(words, load_raw<__m128i>(from + 2 * apart), 2);
  return _mm512_inserti32x4(words, load_raw<__m128i>(from + 3 * apart), 3);
#elif defined(__AVX2__)
  return _mm256_inserti128_si256(_mm256_castsi128_si256(first), load_raw<__m128i>(from + apart), 1);
#else
  return first;
#endif
}
CTCKIT_INLINE void store_part(char* to, __m128i part) { memcpy(to, &part, 16); }
CTCKIT_INLINE void store_parts(char* to, [[maybe_unused]] int64_t apart, Words words) {
#if defined(__AVX512F__)
  store_part(to, _mm512_castsi512_si128(words));
  store_part(to + apart, _mm512_extracti32x4_epi32(words, 1));
  store_part(to + 2 * apart, _mm512_extracti32x4_epi32(words, 2));
  store_part(to + 3 * apart, _mm512_extracti32x4_epi32(words, 3));
#elif defined(__AVX2__)
  store_part(to, _mm256_castsi256_si128(words));
  store_part(to + apart, _mm256_extracti128_si256(words, 1));
#else
  store_part(to, words);
#endif
}

// In each part of 16 bytes a square of words, transposed: repeated interleaving of one half of the rows with the other.
template <int kWord>
CTCKIT_INLINE void transpose_squares(Words (&rows)[16 / kWord]) {
  constexpr int kSide = 16 / kWord;
#pragma GCC unroll 3
  for (int done = 1; done < kSide; done *= 2) {
    Words next[kSide];
#pragma GCC unroll 4
    for (int i = 0; i < kSide / 2; ++i) {
      next[2 * i] = unpack_low<kWord>(rows[i], rows[i + kSide / 2]);
      next[2 * i + 1] = unpack_high<kWord>(rows[i], rows[i + kSide / 2]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kSide; ++i) rows[i] = next[i];
  }
}

#endif

// Rows of C classes that lie `stride` apart in the tile, from or to memory where classes lie `stride_c` apart and rows
// are adjacent.
template <bool kToTile, class T, class Strided>
CTCKIT_INLINE void transpose_tile(T* tile, int64_t stride, int64_t rows, Strided* strided, int64_t stride_c,
                                  int64_t C) {
  const auto move = [&](int64_t c, int64_t row) {
    for (; row < rows; ++row) {
      if constexpr (kToTile) {
        tile[row * stride + c] = strided[c * stride_c + row];
      } else {
        strided[c * stride_c + row] = tile[row * stride + c];
      }
    }
  };
  int64_t c = 0;
#if defined(__SSE2__)
  constexpr int kWord = sizeof(T), kSide = 16 / kWord;
  const int64_t whole = rows / kTileVector<T> * kTileVector<T>;
  const int64_t apart = kSide * stride * kWord;
  for (; c + kSide <= C; c += kSide) {
    for (int64_t row = 0; row < whole; row += kTileVector<T>) {
      Words words[kSide];
#pragma GCC unroll 8
      for (int i = 0; i < kSide; ++i) {
        if constexpr (kToTile) {
          __builtin_prefetch(strided + (c + i + 2 * kSide) * stride_c + row);
          words[i] = load_raw<Words>(strided + (c + i) * stride_c + row);
        } else {
          __builtin_prefetch(strided + (c + i + 2 * kSide) * stride_c + row, 1);
          words[i] = load_parts(reinterpret_cast<const char*>(tile + (row + i) * stride + c), apart);
        }
      }
      transpose_squares<kWord>(words);
#pragma GCC unroll 8
      for (int i = 0; i < kSide; ++i) {
        if constexpr (kToTile) {
          store_parts(reinterpret_cast<char*>(tile + (row + i) * stride + c), apart, words[i]);
        } else {
          memcpy(strided + (c + i) * stride_c + row, &words[i], sizeof(Words));
        }
      }
    }
  }
  if (whole < rows) {
    for (int64_t k = 0; k < c; ++k) move(k, whole);
  }
#endif
  for (; c < C; ++c) move(c, 0);
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
