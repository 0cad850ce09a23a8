// CTC loss from logits to logits: gather, dynamic programme, gradient.
#pragma once

#include "rows.cuh"

namespace ctckit {
namespace cuda {

// mantissa * 2^exponent with the mantissa in [1, 2), or zero. As on the CPU: no exp or log in the loop over frames,
// nothing underflows.
struct Scaled {
  double mantissa;
  int64_t exponent;
};

constexpr int64_t kDead = -(int64_t{1} << 60);

CTCKIT_DEVICE double power(int64_t n) { return n < -1000 ? 0.0 : __longlong_as_double((n + 1023) << 52); }

CTCKIT_DEVICE Scaled renormalise(double mantissa, int64_t exponent) {
  if (!(mantissa > 0)) return {0.0, kDead};
  const int64_t bits = __double_as_longlong(mantissa);
  return {__longlong_as_double((bits & 0xfffffffffffffLL) | 0x3ff0000000000000LL), exponent + (bits >> 52) - 1023};
}

CTCKIT_DEVICE Scaled multiply(const Scaled& a, const Scaled& b) {
  return renormalise(a.mantissa * b.mantissa, a.exponent + b.exponent);
}

CTCKIT_DEVICE Scaled add(const Scaled& a, const Scaled& b) {
  const int64_t top = a.exponent > b.exponent ? a.exponent : b.exponent;
  return renormalise(a.mantissa * power(a.exponent - top) + b.mantissa * power(b.exponent - top), top);
}

// exp(x); beyond 2^49 a double is too coarse for the reduction, and such a number is as good as this one.
CTCKIT_DEVICE Scaled exp_scaled(double x) {
  if (x == -INFINITY) return {0.0, kDead};
  const double bounded = x < -0x1p49 ? -0x1p49 : x > 0x1p49 ? 0x1p49 : x;
  const double n = rint(bounded * 1.4426950408889634);
  return renormalise(exp(fma(n, -1.9082149292705877e-10, fma(n, -0.6931471803691238, bounded))),
                     static_cast<int64_t>(n));
}

// A warp a frame: row norms (maximum, 1 / sum) and the logits of blank and labels.
template <class T>
CTCKIT_KERNEL gather_kernel(View logits, Shape shape, const int64_t* lengths, Targets targets, Working<T> norm_shift,
                            Working<T>* norms, Working<T>* columns, unsigned long long* bad) {
  using R = Working<T>;
  const int64_t at = warp_of(), t = at / shape.B, b = at % shape.B;
  if (at >= shape.T * shape.B) return;
  const int64_t width = targets.S + 1;
  const bool alive = t < get(lengths + b);
  R* out = columns + (b * shape.T + t) * width;
  Norm<R> norm{R(0), R(0)};
  if (alive) {
    const T* row = address<const T>(logits, t, b);
    norm = normalise(reduce_row(row, shape.C, logits.stride_c), norm_shift);
    if (lane_of() == 0 && !(norm.total < INFINITY)) note_bad(bad, b * shape.T + t);
    const int64_t U = get(targets.target_lengths + b);
    for (int64_t j = lane_of(); j < width; j += kWarp) {
      const int64_t label = j == 0 ? kBlank : j <= U ? get(targets.labels + b * targets.S + j - 1) : -1;
      put(out + j, label < 0 ? R(0) : static_cast<R>(widen(get(row + label * logits.stride_c))));
    }
  } else {
    for (int64_t j = lane_of(); j < width; j += kWarp) put(out + j, R(0));
  }
  if (lane_of() == 0) {
    put(norms + 2 * at, norm.top);
    put(norms + 2 * at + 1, norm.total > 0 ? R(1) / norm.total : R(0));
  }
}

// What is kept of a state until the other direction comes by. The exponent of a float's is relative to nothing, so a
// clip of logits may span 2^31 bits; doubles have room for everything.
template <class R>
struct Kept {
  float mantissa;
  int32_t exponent;
};
template <>
struct Kept<double> {
  double mantissa;
  int64_t exponent;
};

template <class R>
CTCKIT_DEVICE Kept<R> keep(const Scaled& x) {
  if constexpr (sizeof(R) == 8) return {x.mantissa, x.exponent};
  if (x.exponent <= -0x7fffffff) return {0.0f, -0x7fffffff};  // dead to whatever meets it
  return {static_cast<float>(x.mantissa), static_cast<int32_t>(x.exponent)};
}

// One direction's part of a block's shared memory: two frames of states, with dead ones at either end, two frames of
// emissions, and two frames of occupancies.
struct Direction {
  double *mantissa, *emission_mantissa, *gamma;
  int64_t *exponent, *emission_exponent;
  int64_t frame, columns, states;

  static constexpr int64_t kPad = 2;
  CTCKIT_METHOD static int64_t doubles(int64_t S) { return 2 * (2 * (2 * S + 1 + 2 * kPad) + 2 * (S + 1) + 2 * S + 1); }

  CTCKIT_METHOD Direction(double* memory, int64_t S) : frame(2 * S + 1 + 2 * kPad), columns(S + 1), states(2 * S + 1) {
    mantissa = memory;
    exponent = reinterpret_cast<int64_t*>(mantissa + 2 * frame);
    emission_mantissa = reinterpret_cast<double*>(exponent + 2 * frame);
    emission_exponent = reinterpret_cast<int64_t*>(emission_mantissa + 2 * columns);
    gamma = reinterpret_cast<double*>(emission_exponent + 2 * columns);
  }
  CTCKIT_METHOD Scaled state(int64_t buffer, int64_t s) const {
    const int64_t at = buffer * frame + kPad + s;
    return {mantissa[at], exponent[at]};
  }
  CTCKIT_METHOD void set_state(int64_t buffer, int64_t s, const Scaled& x) const {
    const int64_t at = buffer * frame + kPad + s;
    mantissa[at] = x.mantissa;
    exponent[at] = x.exponent;
  }
  CTCKIT_METHOD Scaled emission(int64_t buffer, int64_t s) const {
    const int64_t at = buffer * columns + (s % 2 == 0 ? 0 : (s + 1) / 2);
    return {emission_mantissa[at], emission_exponent[at]};
  }
};

CTCKIT_METHOD inline int64_t ctc_shared_bytes(int64_t S) {
  return 8 * (2 * Direction::doubles(S) + 2 * (2 * S + 1) + 2);
}

// A block an utterance, in two halves of `half` threads (a multiple of 32), a state a thread. The first half runs
// alpha forward over frames 0 .. seam-1 while the second runs beta backward over length-1 .. seam; each keeps its
// states in global memory. Where they meet the total is known, and as each goes on over the other's ground it turns
// what the other kept into occupancies, which take the place of the gathered logits.
template <class R>
CTCKIT_KERNEL ctc_kernel(Shape shape, const int64_t* lengths, Targets targets, double shift, int half,
                         bool with_gradient, R* losses, const R* norms, R* columns, Kept<R>* kept) {
  CTCKIT_SHARED(memory);
  const int64_t b = blockIdx.x, S = targets.S, width = S + 1, most = 2 * S + 1;
  const int64_t length = get(lengths + b), U = get(targets.target_lengths + b), states = 2 * U + 1;
  const int64_t* labels = targets.labels + b * S;
  R* mine = columns + b * shape.T * width;
  Kept<R>* my_kept = kept + b * shape.T * most;
  const bool forward = static_cast<int>(threadIdx.x) < half;
  const int64_t thread = forward ? threadIdx.x : threadIdx.x - half;
  double* shared = reinterpret_cast<double*>(memory);
  const Direction own(shared + (forward ? 0 : Direction::doubles(S)), S);
  double* product_mantissa = shared + 2 * Direction::doubles(S);
  int64_t* product_exponent = reinterpret_cast<int64_t*>(product_mantissa + most);
  double* total_mantissa = reinterpret_cast<double*>(product_exponent + most);
  int64_t* total_exponent = reinterpret_cast<int64_t*>(total_mantissa + 1);

  const int64_t seam = length / 2;
  const auto frame_of = [&](int64_t round) { return forward ? round : length - 1 - round; };
  // Emissions of a round's frame, into the buffer of that round's parity.
  const auto stage = [&](int64_t round) {
    if (round >= length) return;
    for (int64_t j = thread; j <= U; j += half) {
      const Scaled x =
          exp_scaled(static_cast<double>(get(mine + frame_of(round) * width + j)) + (j == 0 ? shift : 0.0));
      own.emission_mantissa[round % 2 * width + j] = x.mantissa;
      own.emission_exponent[round % 2 * width + j] = x.exponent;
    }
  };
  // What flows into state s from the buffer of the round before.
  const auto inflow = [&](int64_t round, int64_t s) {
    const int64_t from = (round + 1) % 2, step = forward ? -1 : 1;
    Scaled sum = add(own.state(from, s), own.state(from, s + step));
    const int64_t entered = forward ? s : s + 2;  // the label that a skip leads to decides whether it may
    if (entered % 2 == 1 && entered >= 3 && entered < states &&
        get(labels + entered / 2) != get(labels + entered / 2 - 1)) {
      sum = add(sum, own.state(from, s + 2 * step));
    }
    return sum;
  };

  for (int64_t i = thread; i < 2 * own.frame; i += half) {
    own.mantissa[i] = 0.0;
    own.exponent[i] = kDead;
  }
  __syncthreads();
  // Before its first frame a direction is in its first state.
  if (thread == 0) own.set_state(1, forward ? 0 : states - 1, Scaled{1.0, 0});
  stage(0);
  __syncthreads();

  for (int64_t round = 0; round < length - seam; ++round) {
    if (!forward || round < seam) {
      stage(round + 1);
      for (int64_t s = thread; s < states; s += half) {
        const Scaled in = inflow(round, s), here = multiply(in, own.emission(round % 2, s));
        own.set_state(round % 2, s, here);
        if (with_gradient) put(my_kept + frame_of(round) * most + s, keep<R>(forward ? here : in));
      }
    }
    __syncthreads();
  }

  // The total, at the seam: alpha flowing into its frame times beta there.
  for (int64_t s = thread; forward && s < states; s += half) {
    const Direction back(shared + Direction::doubles(S), S);
    const Scaled joint = multiply(inflow(seam, s), back.state((length - seam + 1) % 2, s));
    product_mantissa[s] = joint.mantissa;
    product_exponent[s] = joint.exponent;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    Scaled sum{0.0, kDead};
    if (length == 0) {
      sum = U == 0 ? Scaled{1.0, 0} : sum;
    } else {
      for (int64_t s = 0; s < states; ++s) sum = add(sum, Scaled{product_mantissa[s], product_exponent[s]});
    }
    *total_mantissa = sum.mantissa;
    *total_exponent = sum.exponent;
  }
  __syncthreads();
  const Scaled total{*total_mantissa, *total_exponent};
  const bool impossible = !(total.mantissa > 0);
  if (forward && thread < kWarp) {
    double log_norm = 0.0;
    for (int64_t t = thread; t < length && !impossible; t += kWarp) {
      const R* norm = norms + 2 * (t * shape.B + b);
      log_norm += static_cast<double>(get(norm)) - log(static_cast<double>(get(norm + 1)));
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) log_norm += __shfl_xor_sync(kAll, log_norm, offset);
    if (thread == 0) {
      const double log_total = log(total.mantissa) + static_cast<double>(total.exponent) * 0.6931471805599453;
      put(losses + b, impossible ? static_cast<R>(INFINITY) : static_cast<R>(log_norm - log_total));
    }
  }
  if (!with_gradient) return;
  if (impossible) {
    for (int64_t i = threadIdx.x; i < length * width; i += 2 * half) put(mine + i, R(0));
    return;
  }

  // Rounds go on where each direction stands.
  const double inverse = 1.0 / total.mantissa;
  const int64_t begin = forward ? seam : length - seam;
  for (int64_t i = 0; i < length - seam; ++i) {
    const int64_t round = begin + i, t = frame_of(round);
    double* gamma = own.gamma + i % 2 * most;
    if (round < length) {
      stage(round + 1);
      for (int64_t s = thread; s < states; s += half) {
        const Scaled in = inflow(round, s), here = multiply(in, own.emission(round % 2, s));
        own.set_state(round % 2, s, here);
        const Kept<R> other = get(my_kept + t * most + s);
        const Scaled& part = forward ? here : in;
        gamma[s] = part.mantissa * other.mantissa * inverse * power(part.exponent + other.exponent - total.exponent);
        if (s % 2 == 1) put(mine + t * width + (s + 1) / 2, static_cast<R>(gamma[s]));
      }
    }
    __syncthreads();
    // One warp adds up the blanks; the buffer it reads is written again only after the next barrier but one.
    if (round < length && thread < kWarp) {
      double blank = 0.0;
      for (int64_t s = 2 * thread; s < states; s += 2 * kWarp) blank += gamma[s];
      for (int offset = kWarp / 2; offset > 0; offset /= 2) blank += __shfl_xor_sync(kAll, blank, offset);
      if (thread == 0) put(mine + t * width, static_cast<R>(blank));
    }
  }
}

// For each label the first label of the same class, so that a class gets its occupancies from one lane.
CTCKIT_KERNEL firsts_kernel(Shape shape, Targets targets, int32_t* firsts) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= shape.B * targets.S) return;
  const int64_t b = i / targets.S, u = i % targets.S;
  if (u >= get(targets.target_lengths + b)) return;
  const int64_t* labels = targets.labels + b * targets.S;
  int64_t v = 0;
  while (get(labels + v) != get(labels + u)) ++v;
  put(firsts + i, static_cast<int32_t>(v));
}

// A warp a frame: (softmax - occupancy) * grad_loss. Columns where the two cancel are computed apart, rounded once.
template <class T>
CTCKIT_KERNEL ctc_gradient_kernel(const Working<T>* grad_losses, View logits, Shape shape, const int64_t* lengths,
                                  Targets targets, const Working<T>* losses, const Working<T>* norms,
                                  const Working<T>* occupancy, Working<T> norm_shift, const int32_t* firsts,
                                  View grad) {
  using R = Working<T>;
  const int64_t at = warp_of(), t = at / shape.B, b = at % shape.B;
  if (at >= shape.T * shape.B) return;
  const T* row = address<const T>(logits, t, b);
  T* to = address<T>(grad, t, b);
  const bool zero = t >= get(lengths + b) || get(losses + b) == INFINITY;
  const R top = zero ? R(0) : get(norms + 2 * at), inverse = zero ? R(0) : get(norms + 2 * at + 1);
  const R weight = zero ? R(0) : get(grad_losses + b);
  const auto dense = [&](R x) { return zero ? R(0) : exp_of(x - top) * inverse * weight; };
  const bool packs = logits.stride_c == 1 && grad.stride_c == 1 &&
                     reinterpret_cast<uintptr_t>(row) % 16 == reinterpret_cast<uintptr_t>(to) % 16;
  const auto put_one = [&](R x, int64_t c) {
    T value;
    narrow(x, value);
    put(to + c * grad.stride_c, value);
  };
  if (zero) {
    for (int64_t c = lane_of(); c < shape.C; c += kWarp) put_one(R(0), c);
    return;
  }
  for_row(
      row, shape.C, logits.stride_c, [&](R x, int64_t c) { put_one(dense(x), c); },
      [&](const Pack<T>& pack, int64_t first) {
        Pack<T> out;
        for (int i = 0; i < kPack<T>; ++i) narrow(dense(widen(pack.v[i])), out.v[i]);
        if (packs) {
          put_pack(to + first, out);
        } else {
          for (int i = 0; i < kPack<T>; ++i) put(to + (first + i) * grad.stride_c, out.v[i]);
        }
      });
  __syncwarp();  // other lanes wrote these columns
  const int64_t U = get(targets.target_lengths + b);
  const R* gamma = occupancy + (b * shape.T + t) * (targets.S + 1);
  const int64_t* labels = targets.labels + b * targets.S;
  const int32_t* first = firsts + b * targets.S;
  for (int64_t u = lane_of() - 1; u < U; u += kWarp) {
    if (u < 0) {
      put_one((exp_of(widen(get(row)) + norm_shift - top) * inverse - get(gamma)) * weight, kBlank);
    } else if (get(first + u) == u) {
      R taken = 0;
      for (int64_t v = u; v < U; ++v) {
        if (get(first + v) == u) taken += get(gamma + v + 1);
      }
      const int64_t label = get(labels + u);
      put_one((exp_of(widen(get(row + label * logits.stride_c)) - top) * inverse - taken) * weight, label);
    }
  }
}

}  // namespace cuda
}  // namespace ctckit
