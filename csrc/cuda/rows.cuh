// One warp reduces one row.
//
// Rows start anywhere: 966 classes leave every other row off a 16-byte boundary. The head up to the boundary and the
// tail behind the last full 16 bytes go element by element, the rest in 16-byte loads.
#pragma once

#include "device.cuh"
#include "launch.h"

namespace ctckit {
namespace cuda {

// Where the 16-byte part of a row lies.
struct Split {
  int64_t head, packs;
};

template <class T>
CTCKIT_DEVICE Split split_row(const T* row, int64_t C) {
  const int64_t off = static_cast<int64_t>(reinterpret_cast<uintptr_t>(row) % 16);
  int64_t head = (16 - off) % 16 / static_cast<int64_t>(sizeof(T));
  if (head > C) head = C;
  return {head, (C - head) / kPack<T>};
}

// Vectors of a lane that are on their way before the first is waited for.
constexpr int kTogether = 4;

// A lane's share of a row in ascending order of class: one(value, class), and many(vectors, class of the first,
// number of vectors), vector k of them kWarp * kPack<T> * k classes further.
template <class T, class One, class Many>
CTCKIT_DEVICE void for_row(const T* row, int64_t C, int64_t stride, const One& one, const Many& many) {
  const int lane = lane_of();
  if (stride != 1) {
    for (int64_t c = lane; c < C; c += kWarp) one(widen(get(row + c * stride)), c);
    return;
  }
  const Split split = split_row(row, C);
  if (lane < split.head) one(widen(get(row + lane)), lane);
  for (int64_t i = lane; i < split.packs; i += kTogether * kWarp) {
    const int64_t left = (split.packs - i + kWarp - 1) / kWarp;
    const int count = left < kTogether ? static_cast<int>(left) : kTogether;
    const int64_t c = split.head + i * kPack<T>;
    Pack<T> packs[kTogether];
    CTCKIT_UNROLL for (int k = 0; k < kTogether; ++k) {
      if (k < count) packs[k] = get_pack(row + c + k * kWarp * kPack<T>);
    }
    many(packs, c, count);
  }
  const int64_t c = split.head + split.packs * kPack<T> + lane;
  if (c < C) one(widen(get(row + c)), c);
}

// As on the CPU: the best non-blank, the sum of exp(logit - best) over non-blanks, the blank; if asked for, the sum of the
// same terms, each times its logit - best.
template <class R>
struct Reduced {
  R best_logit, total, blank, moment;
  int best;
};

// A moment about another best logit, `by` above; of no terms it is 0, and so is `total` times -inf.
template <class R>
CTCKIT_DEVICE R moment_from(R moment, R total, R by) {
  return by > minus_infinity<R>() ? moment + total * by : R(0);
}

template <class T, bool kMoment = false>
CTCKIT_DEVICE Reduced<Working<T>> reduce_row(const T* row, int64_t C, int64_t stride) {
  using R = Working<T>;
  constexpr int kNone = 0x7fffffff;
  R top = minus_infinity<R>(), total = 0, moment = 0;
  int best = kNone;
  // exp(x), with what it adds to the moment; -inf adds 0 rather than NaN.
  const auto term = [&](R x) {
    const R value = exp_of(x);
    if (kMoment && x > minus_infinity<R>()) moment += value * x;
    return value;
  };
  // What to subtract: where nothing but -inf has been seen yet, exp(-inf) is 0 rather than NaN.
  const auto zero = [&] { return top == minus_infinity<R>() ? R(0) : top; };
  const auto raise = [&](R most) {
    const R scale = exp_of(top - most);
    if (kMoment) moment = scale * moment_from(moment, total, top - most);
    total *= scale;
    top = most;
  };
  for_row(
      row, C, stride,
      [&](R x, int64_t c) {
        if (c == kBlank) return;
        if (best == kNone) best = static_cast<int>(c);
        if (x > top) {
          raise(x);
          best = static_cast<int>(c);
        }
        total += term(x - zero());
      },
      [&](const Pack<T>(&packs)[kTogether], int64_t first, int count) {
        // The maximum of all comes first, then at most one rescaling.
        const int begin = static_cast<int>(first);
        R x[kTogether][kPack<T>];
        R most = minus_infinity<R>();
        CTCKIT_UNROLL for (int k = 0; k < kTogether; ++k) {
          CTCKIT_UNROLL for (int i = 0; i < kPack<T>; ++i) {
            x[k][i] = k < count ? widen(packs[k].v[i]) : minus_infinity<R>();
            if (k == 0 && i == 0 && begin == kBlank) x[k][i] = minus_infinity<R>();
            most = larger_of(most, x[k][i]);
          }
        }
        if (best == kNone) best = begin + (begin == kBlank ? 1 : 0);
        if (most > top) {
          raise(most);
          CTCKIT_UNROLL for (int k = kTogether - 1; k >= 0; --k) {
            CTCKIT_UNROLL for (int i = kPack<T> - 1; i >= 0; --i) {
              if (x[k][i] == most) best = begin + k * kWarp * kPack<T> + i;
            }
          }
        }
        const R from = zero();
        CTCKIT_UNROLL for (int k = 0; k < kTogether; ++k) {
          if (k < count) {
            CTCKIT_UNROLL for (int i = 0; i < kPack<T>; ++i) total += term(x[k][i] - from);
          }
        }
      });
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const R other_top = __shfl_xor_sync(kAll, top, offset);
    const R other_total = __shfl_xor_sync(kAll, total, offset);
    const R other_moment = kMoment ? __shfl_xor_sync(kAll, moment, offset) : R(0);
    const int other_best = __shfl_xor_sync(kAll, best, offset);
    if (other_top > top || (other_top == top && other_best < best)) best = other_best;
    const R most = other_top > top ? other_top : top;
    if (most == minus_infinity<R>()) {
      total += other_total;
    } else {
      const R scale = exp_of(top - most), other_scale = exp_of(other_top - most);
      if (kMoment) {
        moment = scale * moment_from(moment, total, top - most) +
                 other_scale * moment_from(other_moment, other_total, other_top - most);
      }
      total = total * scale + other_total * other_scale;
    }
    top = most;
  }
  return {top, total, widen(get(row)), moment, best};
}

// The shifted row's maximum and sum; (0, 0) if all is -inf, NaN if the row holds NaN or +inf.
template <class R>
struct Norm {
  R top, total;
};

template <class R>
CTCKIT_DEVICE Norm<R> normalise(const Reduced<R>& row, R shift) {
  const R blank = row.blank + shift, nan_or_zero = blank == minus_infinity<R>() ? R(0) : blank - blank;
  if (row.best_logit == minus_infinity<R>()) {
    if (blank == minus_infinity<R>()) return {R(0), row.total};
    return {blank, row.total + nan_or_zero + R(1)};
  }
  if (blank <= row.best_logit) return {row.best_logit, row.total + exp_of(blank - row.best_logit)};
  return {blank, row.total * exp_of(row.best_logit - blank) + nan_or_zero + R(1)};
}

// What is wrong with the arguments, the first of it: see launch.h.
CTCKIT_DEVICE void note(unsigned long long* fault, Fault kind, int64_t position) {
  atomicMin(fault, static_cast<unsigned long long>(kind) << kFaultShift | static_cast<unsigned long long>(position));
}

// A length, fit for use; the one lane that is told to notes it if it was not.
CTCKIT_DEVICE int64_t length_of(const int64_t* lengths, int64_t b, int64_t most, Fault kind, bool notes,
                                unsigned long long* fault) {
  const int64_t length = get(lengths + b), used = clamped(length, most);
  if (notes && used != length) note(fault, kind, b);
  return used;
}

}  // namespace cuda
}  // namespace ctckit
