// Numbers of the dynamic programme: mantissa * 2^exponent, the exponent apart, so that nothing underflows and no
// exp or log is in the loop over frames.
//
// A mantissa is never zero, it is about 1 or more; nothing at all is a number with an exponent of about kDead. So
// sums and products need no case for zero: beside a live number a dead one is rounded away, and two dead ones make a
// dead one. Exponents of live numbers stay within kLive however long the clip (emission_bound).
#pragma once

#include "device.cuh"

namespace ctckit {
namespace cuda {

struct Scaled {
  double mantissa;
  int32_t exponent;
};

constexpr int32_t kDead = -(1 << 27), kLive = 1 << 25;

CTCKIT_DEVICE bool alive(const Scaled& x) { return x.exponent > kDead / 2; }

// The same in memory, with as many bits of mantissa as the working type has.
template <class R>
struct alignas(2 * sizeof(R)) Stored {
  R mantissa;
  int32_t exponent;
};

CTCKIT_DEVICE int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

// mantissa * 2^by for by <= 0, by adding to the exponent's bits. Less than 2^-1000 is nothing beside a mantissa of 1.
CTCKIT_DEVICE double shifted(double mantissa, int32_t by) {
  return __hiloint2double(__double2hiint(mantissa) + larger(by, -1000) * (1 << 20), __double2loint(mantissa));
}

CTCKIT_DEVICE Scaled add(const Scaled& a, const Scaled& b) {
  const int32_t top = larger(a.exponent, b.exponent);
  return {shifted(a.mantissa, a.exponent - top) + shifted(b.mantissa, b.exponent - top), top};
}

CTCKIT_DEVICE Scaled add(const Scaled& a, const Scaled& b, const Scaled& c) {
  const int32_t top = larger(larger(a.exponent, b.exponent), c.exponent);
  return {shifted(a.mantissa, a.exponent - top) + shifted(b.mantissa, b.exponent - top) +
              shifted(c.mantissa, c.exponent - top),
          top};
}

template <class X>
CTCKIT_DEVICE Scaled multiply(const Scaled& a, const X& b) {
  return {a.mantissa * static_cast<double>(b.mantissa), a.exponent + b.exponent};
}

// The mantissa in [1, 2) again. A frame multiplies it by less than 12 and adds at worst kDead to the exponent: once
// in a few frames is enough.
CTCKIT_DEVICE Scaled renormalise(const Scaled& x) {
  const int32_t high = __double2hiint(x.mantissa);
  return {__hiloint2double((high & 0xfffff) | 0x3ff00000, __double2loint(x.mantissa)),
          larger(x.exponent + (high >> 20) - 1023, kDead)};
}

CTCKIT_DEVICE Scaled add_over_warp(Scaled x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const Scaled other{__shfl_xor_sync(kAll, x.mantissa, offset), __shfl_xor_sync(kAll, x.exponent, offset)};
    x = renormalise(add(x, other));
  }
  return x;
}

template <class R>
CTCKIT_DEVICE Stored<R> store(const Scaled& x) {
  return {static_cast<R>(x.mantissa), x.exponent};
}

// 2^n for n <= 127; below the normal numbers it is zero.
CTCKIT_DEVICE void power(int32_t n, float& to) {
  to = __uint_as_float(static_cast<unsigned>(larger(n, -127) + 127) << 23);
}
CTCKIT_DEVICE void power(int32_t n, double& to) { to = __hiloint2double((larger(n, -1023) + 1023) * (1 << 20), 0); }

// How many nats a logit may lie from its row's maximum: what is farther counts as being there.
CTCKIT_METHOD inline double emission_bound(int64_t T) {
  return 0.6931471805599453 * kLive / static_cast<double>(T + 1);
}

// exp(x + shift - top) with a mantissa of 1 to 2. A shift comes as a sum of two, which floats need.
CTCKIT_DEVICE Stored<float> emission(float x, float shift, float shift_rest, float top, double bound) {
  if (!(x > -INFINITY)) return {1.0f, kDead};
  const auto two_sum = [](float a, float b, float& rest) {
    const float sum = a + b, part = sum - a;
    rest += (a - (sum - part)) + (b - part);
    return sum;
  };
  const float most = static_cast<float>(bound);
  float rest = shift_rest;
  const float sum = two_sum(two_sum(x, shift, rest), -top, rest);
  const float high = fminf(fmaxf(sum, -most), most), low = high == sum ? rest : 0.0f;
  const float n = floorf(high * 1.44269504f);
  // log2(e) in two parts: the first product less n is exact but for one rounding of the difference.
  const float part = fmaf(low, 1.44269504f, fmaf(high, 1.925963e-8f, fmaf(high, 1.4426950216293335f, -n)));
  return {power_of(part), static_cast<int32_t>(n)};
}

CTCKIT_DEVICE Stored<double> emission(double x, double shift, double shift_rest, double top, double bound) {
  if (!(x > -INFINITY)) return {1.0, kDead};
  const double high = fmin(fmax(x + shift - top + shift_rest, -bound), bound);
  const double n = floor(high * 1.4426950408889634);
  return {exp(fma(n, -1.9082149292705877e-10, fma(n, -0.6931471803691238, high))), static_cast<int32_t>(n)};
}

}  // namespace cuda
}  // namespace ctckit
