// CTC loss from logits to logits: gather, dynamic programme, gradient.
//
// States come in pairs: a blank and the label behind it; the last pair has a blank alone. Seen from the end, with
// labels and frames turned round, the backward direction is the forward one, so both run the same code.
#pragma once

#include "rows.cuh"
#include "scaled.cuh"

namespace ctckit {
namespace cuda {

// What gather_kernel makes of the logits of blank and labels: emissions for the loss, plain logits for the alignment.
template <class R>
struct EmissionColumns {
  Stored<R>* to;
  R shift, shift_rest;
  double bound;
  CTCKIT_INLINE void set(int64_t at, int64_t j, R logit, R top) const {
    put(to + at, emission(logit, j == 0 ? shift : R(0), j == 0 ? shift_rest : R(0), top, bound));
  }
};
template <class R>
struct LogitColumns {
  R* to;
  CTCKIT_INLINE void set(int64_t at, int64_t, R logit, R) const { put(to + at, logit); }
};

// A warp a frame: row norms (maximum, 1 / sum) and the columns [B, T, S + 1] of blank and labels. Frames beyond a
// length and labels beyond a target length are nobody's business: what is there stays.
template <class T, class Columns>
CTCKIT_KERNEL gather_kernel(View logits, Shape shape, const int64_t* lengths, Targets targets, Working<T> norm_shift,
                            Working<T>* norms, Columns columns, unsigned long long* fault) {
  using R = Working<T>;
  const int64_t at = warp_of(), t = at / shape.B, b = at % shape.B;
  if (at >= shape.T * shape.B) return;
  Norm<R> norm{R(0), R(0)};
  if (t < get(lengths + b)) {
    const T* row = address<const T>(logits, t, b);
    norm = normalise(reduce_row(row, shape.C, logits.stride_c), norm_shift);
    if (lane_of() == 0 && !(norm.total < INFINITY)) note(fault, Fault::kLogits, b * shape.T + t);
    const int64_t U = clamped(get(targets.target_lengths + b), targets.S);
    const int64_t to = (b * shape.T + t) * (targets.S + 1);
    for (int64_t j = lane_of(); j <= U; j += kWarp) {
      const int64_t label = j == 0 ? kBlank : get(targets.labels + b * targets.S + j - 1);
      const bool known = label >= 0 && label < shape.C;
      columns.set(to + j, j, known ? static_cast<R>(widen(get(row + label * logits.stride_c))) : R(0), norm.top);
    }
  }
  if (lane_of() == 0) {
    put(norms + 2 * at, norm.top);
    put(norms + 2 * at + 1, norm.total > 0 ? R(1) / norm.total : R(0));
  }
}

// One utterance's lengths, noted by the first warp that asks if they or the labels are out of range.
struct Utterance {
  int64_t b;
  int32_t length, labels;
};

CTCKIT_DEVICE Utterance utterance_of(const Shape& shape, const int64_t* lengths, const Targets& targets, bool notes,
                                     unsigned long long* fault) {
  const int64_t b = blockIdx.x;
  const bool first = notes && lane_of() == 0;
  const int64_t length = length_of(lengths, b, shape.T, Fault::kLengths, first, fault);
  const int64_t U = length_of(targets.target_lengths, b, targets.S, Fault::kTargetLengths, first, fault);
  for (int64_t u = lane_of(); notes && u < U; u += kWarp) {
    const int64_t label = get(targets.labels + b * targets.S + u);
    if (label <= kBlank || label >= shape.C) note(fault, Fault::kLabels, b * targets.S + u);
  }
  return {b, static_cast<int32_t>(length), static_cast<int32_t>(U)};
}

// Log of what all frames were divided by, less their maxima; or with them. Each lane of the warp returns it.
template <class R>
CTCKIT_DEVICE double log_norm_of_frame(const R* norms, const Shape& shape, int64_t t, int64_t b, bool with_maximum) {
  const R* norm = norms + 2 * (t * shape.B + b);
  return (with_maximum ? static_cast<double>(get(norm)) : 0.0) - log(static_cast<double>(get(norm + 1)));
}

CTCKIT_DEVICE double add_over_warp(double x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAll, x, offset);
  return x;
}
CTCKIT_DEVICE float add_over_warp(float x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAll, x, offset);
  return x;
}

template <class R>
CTCKIT_DEVICE double log_norms_over_warp(const R* norms, const Shape& shape, const Utterance& one) {
  double sum = 0.0;
  for (int64_t t = lane_of(); t < one.length; t += kWarp) sum += log_norm_of_frame(norms, shape, t, one.b, false);
  return add_over_warp(sum);
}

// Emissions are relative to the rows' maxima, and so is the total. Where a loss cannot be below zero, it is rounding.
template <class R>
CTCKIT_DEVICE R loss_of(const Scaled& total, double log_norms, bool never_negative) {
  if (!alive(total)) return static_cast<R>(INFINITY);
  const double loss = log_norms - log(total.mantissa) - static_cast<double>(total.exponent) * 0.6931471805599453;
  return static_cast<R>(never_negative && loss < 0.0 ? 0.0 : loss);
}

// What one direction sees as round, label i and frame.
struct Way {
  bool forward;
  int32_t length, labels;
  CTCKIT_INLINE int64_t frame(int32_t round) const { return forward ? round : length - 1 - round; }
  CTCKIT_INLINE int64_t label(int32_t i) const { return forward || i >= labels ? i : labels - 1 - i; }
  // Whether a path may go from label i - 1 to label i without a blank: as an upper bound of the former's exponent.
  CTCKIT_INLINE int32_t cap(const int64_t* of, int32_t i) const {
    return i > 0 && i < labels && get(of + label(i)) != get(of + label(i - 1)) ? 0x7fffffff : kDead;
  }
};

CTCKIT_DEVICE Scaled capped(const Scaled& x, int32_t cap) { return {x.mantissa, x.exponent < cap ? x.exponent : cap}; }

// The arrays of the dynamic programme: norms [T, B, 2], emissions [B, T, S + 1], kept [B, T, S], occupancy
// [B, T, S + 1] if there is to be a gradient, losses [B].
template <class R>
struct Trellis {
  const R* norms;
  Stored<R>*emissions, *kept;
  bool with_gradient;
  R *occupancy, *losses;
};

// A label's occupancy: one direction's state times what the other kept of it, over the total.
template <class R>
CTCKIT_DEVICE R occupancy_of(const Scaled& here, const Stored<R>& other, const Scaled& total, R inverse) {
  R scale;
  power(here.exponent + other.exponent - total.exponent, scale);
  return static_cast<R>(here.mantissa) * other.mantissa * inverse * scale;
}

// Occupancies of frames begin..T-1 are zero.
template <class R>
CTCKIT_DEVICE void clear_frames(R* occupancy, const Shape& shape, int64_t b, int64_t begin, int64_t width) {
  R* mine = occupancy + b * shape.T * width;
  for (int64_t i = begin * width + threadIdx.x; i < shape.T * width; i += blockDim.x) put(mine + i, R(0));
}

// Rounds for which a lane with Q pairs has emissions on their way: a memory's latency. The loop over them is unrolled,
// and longer ones were slower (csrc/README.md). They divide kTile.
template <class R, int Q>
constexpr int kAhead = Q * sizeof(R) <= 4 ? 8 : Q * sizeof(R) <= 8 ? 4 : 2;
constexpr int kRenormalise = 4;  // rounds after which mantissas come back to 1
constexpr int kTile = 32;        // rounds after which blanks are added up

CTCKIT_METHOD inline int64_t ctc_warp_shared_bytes(int64_t S, int64_t R) {
  return 8 * (2 * (S + 1) + 2) + 4 * (2 * (S + 1) + 2) + R * 2 * kTile * (kWarp + 1);
}

// What a warp reads of one direction's frames, one row after another: column 0 and those of its pairs. Loads are
// unconditional, or the compiler would wait for each to choose its result: a pair without a label reads column 0.
template <class X, int Q>
struct Reader {
  const X* row;
  int64_t step;
  int32_t left, column[Q];

  // Asks for a row's columns of the pairs, and goes on to the next row if there is one.
  CTCKIT_INLINE void read(X (&to)[Q]) {
    CTCKIT_UNROLL for (int q = 0; q < Q; ++q) to[q] = get(row + column[q]);
    if (--left > 0) row += step;
  }
  CTCKIT_INLINE void read(X& first, X (&to)[Q]) {
    first = get(row);
    read(to);
  }
};

// A block an utterance, a warp a direction, Q pairs a lane, all states in registers. The first warp runs alpha forward
// over frames 0 .. seam-1 while the second runs beta backward over length-1 .. seam; each keeps of its labels what
// flows into them. Where they meet the total is known, and as each goes on over the other's ground it turns what the
// other kept into occupancies. What the labels leave is the blanks'. The third warp checks, fetches ahead and adds up
// the norms.
template <class R, int Q>
CTCKIT_BOUNDED(3 * kWarp) ctc_warp_kernel(Shape shape, const int64_t* lengths, Targets targets, bool never_negative,
                                          Trellis<R> trellis, unsigned long long* fault) {
  CTCKIT_SHARED(memory);
  constexpr int ahead = kAhead<R, Q>;
  const int64_t S = targets.S, width = S + 1;
  double* seam_mantissa = reinterpret_cast<double*>(memory);
  double* shared_log_norms = seam_mantissa + 2 * width;
  double* total_mantissa = shared_log_norms + 1;
  R* tile = reinterpret_cast<R*>(total_mantissa + 1);
  int32_t* seam_exponent = reinterpret_cast<int32_t*>(tile + 2 * kTile * (kWarp + 1));
  int32_t* total_exponent = seam_exponent + 2 * width;

  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = lane_of();
  const Utterance one = utterance_of(shape, lengths, targets, warp == 2, fault);
  const int64_t b = one.b;
  const Way way{warp == 0, one.length, one.labels};
  const int32_t seam = one.length / 2, first = lane * Q, own_seam = way.forward ? seam : one.length - seam;
  const int64_t direction = way.forward ? 1 : -1;
  const bool with_gradient = trellis.with_gradient;

  Scaled blank[Q], label[Q];
  int32_t cap[Q], kill[Q], place[Q];  // kill is 0, or for a pair without a label kDead
  bool has_label[Q];
  Reader<Stored<R>, Q> reader;
  CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
    const int32_t i = first + q;
    // Before its first frame a direction is in its first state.
    blank[q] = {1.0, i == 0 ? 0 : kDead};
    label[q] = {1.0, kDead};
    cap[q] = way.cap(targets.labels + b * S, i);
    has_label[q] = i < one.labels;
    kill[q] = has_label[q] ? 0 : kDead;
    place[q] = static_cast<int32_t>(way.label(i));
    reader.column[q] = has_label[q] ? 1 + place[q] : 0;
  }
  Stored<R> blank_ahead[ahead], label_ahead[ahead][Q];
  const auto read_from = [&](int32_t round) {
    reader.row = trellis.emissions + (b * shape.T + way.frame(round)) * width;
    reader.step = direction * width;
    reader.left = one.length - round;
    CTCKIT_UNROLL for (int k = 0; k < ahead; ++k) reader.read(blank_ahead[k], label_ahead[k]);
  };
  // What flows into this lane's states from those of the round before.
  const auto flow = [&](Scaled(&in_blank)[Q], Scaled(&in_label)[Q]) {
    Scaled before{__shfl_up_sync(kAll, label[Q - 1].mantissa, 1), __shfl_up_sync(kAll, label[Q - 1].exponent, 1)};
    if (lane == 0) before.exponent = kDead;
    CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
      in_blank[q] = add(blank[q], before);
      in_label[q] = add(label[q], blank[q], capped(before, cap[q]));
      before = label[q];
    }
  };
  const auto advance = [&](int k, Scaled(&in_label)[Q]) {
    Scaled in_blank[Q];
    flow(in_blank, in_label);
    CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
      blank[q] = multiply(in_blank[q], blank_ahead[k]);
      label[q] = multiply(in_label[q], label_ahead[k][q]);
      label[q].exponent += kill[q];
    }
    if (k % kRenormalise == kRenormalise - 1 || k == ahead - 1) {
      CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
        blank[q] = renormalise(blank[q]);
        label[q] = renormalise(label[q]);
      }
    }
  };
  // Rounds begin..end-1, after each of which there is something to do with k, the states and what flowed into them,
  // and something to read for the round that is `ahead`. The last rounds of all have nothing to read.
  const auto run = [&](int32_t begin, int32_t end, const auto& after, const auto& read) {
    int32_t base = begin;
    for (; base + ahead <= end; base += ahead) {
      CTCKIT_UNROLL for (int k = 0; k < ahead; ++k) {
        Scaled in_label[Q];
        advance(k, in_label);
        reader.read(blank_ahead[k], label_ahead[k]);
        after(k, base + k, in_label);
        read(k);
      }
    }
    CTCKIT_UNROLL for (int k = 0; k < ahead - 1; ++k) {
      if (base + k < end) {
        Scaled in_label[Q];
        advance(k, in_label);
        after(k, base + k, in_label);
      }
    }
  };

  if (warp == 2) {
    prefetch(trellis.emissions + b * shape.T * width, one.length * width * static_cast<int64_t>(sizeof(Stored<R>)),
             lane, kWarp);
    const double log_norms = log_norms_over_warp(trellis.norms, shape, one);
    if (lane == 0) *shared_log_norms = log_norms;
  } else {
    if (one.length > 0) {
      read_from(0);
      // Without a gradient nothing is kept, and the pointer walks over other memory: a branch would cost more.
      Stored<R>* keep = with_gradient ? trellis.kept : trellis.emissions;
      keep += (b * shape.T + way.frame(0)) * S;
      const auto after = [&](int, int32_t, const Scaled(&in_label)[Q]) {
        CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
          if (with_gradient && has_label[q]) put(keep + place[q], store<R>(in_label[q]));
        }
        keep += direction * S;
      };
      run(0, own_seam, after, [](int) {});
    }
    CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
      const int32_t i = first + q;
      if (!way.forward && i <= one.labels) {
        seam_mantissa[2 * (one.labels - i)] = blank[q].mantissa;
        seam_exponent[2 * (one.labels - i)] = blank[q].exponent;
      }
      if (!way.forward && has_label[q]) {
        seam_mantissa[2 * place[q] + 1] = label[q].mantissa;
        seam_exponent[2 * place[q] + 1] = label[q].exponent;
      }
    }
  }
  __syncthreads();

  // The total, at the seam: alpha flowing into its frame times beta there.
  if (way.forward) {
    Scaled in_blank[Q], in_label[Q], sum{1.0, kDead};
    flow(in_blank, in_label);
    CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
      const int32_t i = first + q;
      const auto beta = [&](int32_t s) { return Scaled{seam_mantissa[s], seam_exponent[s]}; };
      if (i <= one.labels) sum = add(sum, multiply(in_blank[q], beta(2 * i)));
      if (has_label[q]) sum = add(sum, multiply(in_label[q], beta(2 * i + 1)));
      sum = renormalise(sum);
    }
    sum = add_over_warp(sum);
    if (one.length == 0) sum = {1.0, one.labels == 0 ? 0 : kDead};
    if (lane == 0) {
      *total_mantissa = sum.mantissa;
      *total_exponent = sum.exponent;
      put(trellis.losses + b, loss_of<R>(sum, *shared_log_norms, never_negative));
    }
  }
  __syncthreads();
  if (!with_gradient) return;
  const Scaled total{*total_mantissa, *total_exponent};
  clear_frames(trellis.occupancy, shape, b, alive(total) ? one.length : 0, width);
  if (!alive(total) || one.length == 0 || warp == 2) return;

  const R inverse = static_cast<R>(1.0 / total.mantissa);
  R* my_tile = tile + (way.forward ? 0 : kTile * (kWarp + 1));
  R* occupancy = trellis.occupancy + (b * shape.T + way.frame(own_seam)) * width;
  // Without labels nothing was kept, and what is read instead is not used.
  Reader<Stored<R>, Q> others;
  others.row = S == 0 ? trellis.emissions : trellis.kept + (b * shape.T + way.frame(own_seam)) * S;
  others.step = direction * S;
  others.left = one.length - own_seam;
  CTCKIT_UNROLL for (int q = 0; q < Q; ++q) others.column[q] = has_label[q] ? place[q] : 0;
  Stored<R> other[ahead][Q];
  const auto read_other = [&](int k) { others.read(other[k]); };
  if (own_seam < one.length) {
    read_from(own_seam);
    CTCKIT_UNROLL for (int k = 0; k < ahead; ++k) read_other(k);
  }
  for (int32_t begin = own_seam; begin < one.length; begin += kTile) {
    const int32_t end = begin + kTile < one.length ? begin + kTile : one.length;
    const auto after = [&](int k, int32_t round, const Scaled(&)[Q]) {
      R labels = 0;
      CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
        const R gamma = has_label[q] ? occupancy_of<R>(label[q], other[k][q], total, inverse) : R(0);
        labels += gamma;
        if (first + q < S) put(occupancy + 1 + place[q], gamma);
      }
      my_tile[(round - begin) * (kWarp + 1) + lane] = labels;
      occupancy += direction * width;
    };
    run(begin, end, after, read_other);
    __syncwarp();
    if (begin + lane < end) {
      R labels = 0;
      for (int i = 0; i < kWarp; ++i) labels += my_tile[lane * (kWarp + 1) + i];
      put(trellis.occupancy + (b * shape.T + way.frame(begin + lane)) * width, labels < R(1) ? R(1) - labels : R(0));
    }
    __syncwarp();
  }
}

constexpr int kWideWarps = 8;                 // of a direction
constexpr int kWideHalf = kWideWarps * kWarp;  // threads of a direction

// One direction's states in memory, shared or global: two rounds of pairs, a dead one before the first.
struct WideStates {
  double *blank_mantissa, *label_mantissa;
  int32_t *blank_exponent, *label_exponent, *cap;
  int64_t size;

  CTCKIT_METHOD static int64_t pairs(int64_t S) { return (S + 3) / 2 * 2; }
  CTCKIT_METHOD static int64_t bytes(int64_t S) { return pairs(S) * (2 * (8 + 8 + 4 + 4) + 4); }

  CTCKIT_METHOD WideStates(char* memory, int64_t S) : size(pairs(S)) {
    blank_mantissa = reinterpret_cast<double*>(memory);
    label_mantissa = blank_mantissa + 2 * size;
    blank_exponent = reinterpret_cast<int32_t*>(label_mantissa + 2 * size);
    label_exponent = blank_exponent + 2 * size;
    cap = label_exponent + 2 * size;
  }
  CTCKIT_INLINE Scaled blank(int32_t buffer, int64_t i) const {
    return {blank_mantissa[buffer * size + 1 + i], blank_exponent[buffer * size + 1 + i]};
  }
  CTCKIT_INLINE Scaled label(int32_t buffer, int64_t i) const {
    return {label_mantissa[buffer * size + 1 + i], label_exponent[buffer * size + 1 + i]};
  }
  CTCKIT_INLINE void set(int32_t buffer, int64_t i, const Scaled& blank, const Scaled& label) const {
    blank_mantissa[buffer * size + 1 + i] = blank.mantissa;
    blank_exponent[buffer * size + 1 + i] = blank.exponent;
    label_mantissa[buffer * size + 1 + i] = label.mantissa;
    label_exponent[buffer * size + 1 + i] = label.exponent;
  }
  // What flows into pair i from the other buffer.
  CTCKIT_INLINE void flow(int32_t buffer, int64_t i, Scaled& in_blank, Scaled& in_label) const {
    const Scaled before = label(1 - buffer, i - 1), stays = blank(1 - buffer, i);
    in_blank = add(stays, before);
    in_label = add(label(1 - buffer, i), stays, capped(before, cap[i]));
  }
};

CTCKIT_METHOD inline int64_t ctc_wide_shared_bytes() { return 8 * (2 * 2 * kWideWarps + 2) + 4 * 2; }

// The same for any number of labels: states in memory, pairs dealt out to kWideHalf threads a direction, a barrier a
// round. The memory is the block's shared memory, or for more states than that holds a part of `states`.
template <class R>
CTCKIT_BOUNDED(2 * kWideHalf) ctc_wide_kernel(Shape shape, const int64_t* lengths, Targets targets, bool never_negative,
                                              Trellis<R> trellis, char* states, unsigned long long* fault) {
  CTCKIT_SHARED(memory);
  const int64_t S = targets.S, width = S + 1;
  double* sums = reinterpret_cast<double*>(memory);  // [direction][parity][warp]
  double* total_mantissa = sums + 2 * 2 * kWideWarps;
  int32_t* total_exponent = reinterpret_cast<int32_t*>(total_mantissa + 2);

  const int thread = static_cast<int>(threadIdx.x) % kWideHalf, warp = thread / kWarp;
  const Utterance one = utterance_of(shape, lengths, targets, threadIdx.x < kWarp, fault);
  const int64_t b = one.b;
  const Way way{static_cast<int>(threadIdx.x) < kWideHalf, one.length, one.labels};
  const int32_t seam = one.length / 2, own_seam = way.forward ? seam : one.length - seam;
  char* both = states == nullptr ? memory + ctc_wide_shared_bytes() : states + 2 * b * WideStates::bytes(S);
  const WideStates own(both + (way.forward ? 0 : WideStates::bytes(S)), S);
  const Stored<R>* emissions = trellis.emissions + b * shape.T * width;
  const bool with_gradient = trellis.with_gradient;
  Stored<R>* kept = with_gradient ? trellis.kept + b * shape.T * S : nullptr;
  R* occupancy = with_gradient ? trellis.occupancy + b * shape.T * width : nullptr;

  // Pair i of a round; returns its label, and what flowed into it.
  const auto advance = [&](int32_t round, int32_t i, Scaled& in_label) {
    const Stored<R>* row = emissions + way.frame(round) * width;
    Scaled in_blank;
    own.flow(round % 2, i, in_blank, in_label);
    const Scaled blank = renormalise(multiply(in_blank, get(row)));
    const Stored<R> z = i < one.labels ? get(row + 1 + way.label(i)) : Stored<R>{R(1), kDead};
    const Scaled label = renormalise(multiply(in_label, z));
    own.set(round % 2, i, blank, label);
    return label;
  };

  prefetch(emissions, one.length * width * static_cast<int64_t>(sizeof(Stored<R>)), threadIdx.x, blockDim.x);
  for (int32_t i = thread - 1; i <= one.labels; i += kWideHalf) {
    // Before its first frame a direction is in its first state.
    own.set(0, i, Scaled{1.0, kDead}, Scaled{1.0, kDead});
    own.set(1, i, Scaled{1.0, i == 0 ? 0 : kDead}, Scaled{1.0, kDead});
    if (i >= 0) own.cap[i] = way.cap(targets.labels + b * S, i);
  }
  __syncthreads();
  for (int32_t round = 0; round < one.length - seam; ++round) {
    for (int32_t i = thread; i <= one.labels && round < own_seam; i += kWideHalf) {
      Scaled in_label;
      advance(round, i, in_label);
      if (with_gradient && i < one.labels) put(kept + way.frame(round) * S + way.label(i), store<R>(in_label));
    }
    __syncthreads();
  }

  Scaled sum{1.0, kDead};
  const WideStates back(both + WideStates::bytes(S), S);
  const int32_t there = (one.length - seam + 1) % 2;
  for (int32_t i = thread; way.forward && i <= one.labels; i += kWideHalf) {
    Scaled in_blank, in_label;
    own.flow(seam % 2, i, in_blank, in_label);
    sum = renormalise(add(sum, multiply(in_blank, back.blank(there, one.labels - i))));
    if (i < one.labels) sum = renormalise(add(sum, multiply(in_label, back.label(there, one.labels - 1 - i))));
  }
  sum = add_over_warp(sum);
  if (way.forward && lane_of() == 0) {
    sums[2 * warp] = sum.mantissa;
    sums[2 * warp + 1] = static_cast<double>(sum.exponent);
  }
  __syncthreads();
  if (way.forward && warp == 0) {
    const bool mine = lane_of() < kWideWarps;
    sum = add_over_warp(Scaled{mine ? sums[2 * lane_of()] : 1.0,
                               mine ? static_cast<int32_t>(sums[2 * lane_of() + 1]) : kDead});
    if (one.length == 0) sum = {1.0, one.labels == 0 ? 0 : kDead};
    const double log_norms = log_norms_over_warp(trellis.norms, shape, one);
    if (lane_of() == 0) {
      *total_mantissa = sum.mantissa;
      *total_exponent = sum.exponent;
      put(trellis.losses + b, loss_of<R>(sum, log_norms, never_negative));
    }
  }
  __syncthreads();
  if (!with_gradient) return;
  const Scaled total{*total_mantissa, *total_exponent};
  clear_frames(trellis.occupancy, shape, b, alive(total) ? one.length : 0, width);
  if (!alive(total)) return;

  const R inverse = static_cast<R>(1.0 / total.mantissa);
  for (int32_t step = 0; step < one.length - seam; ++step) {
    const int32_t round = own_seam + step;
    double* parts = sums + (2 * (way.forward ? 0 : 1) + step % 2) * kWideWarps;
    if (round < one.length) {
      R labels = 0;
      R* to = occupancy + way.frame(round) * width + 1;
      for (int32_t i = thread; i <= S; i += kWideHalf) {
        R gamma = 0;
        if (i <= one.labels) {
          Scaled in_label;
          const Scaled here = advance(round, i, in_label);
          if (i < one.labels) {
            gamma = occupancy_of<R>(here, get(kept + way.frame(round) * S + way.label(i)), total, inverse);
          }
        }
        labels += gamma;
        if (i < S) put(to + way.label(i), gamma);
      }
      labels = add_over_warp(labels);
      if (lane_of() == 0) parts[warp] = labels;
    }
    __syncthreads();
    // The parts that are read here are written again only after the next barrier.
    if (round < one.length && thread == 0) {
      double labels = 0;
      for (int i = 0; i < kWideWarps; ++i) labels += parts[i];
      put(occupancy + way.frame(round) * width, static_cast<R>(labels < 1.0 ? 1.0 - labels : 0.0));
    }
  }
}

// An utterance's labels in the order of their classes, equal ones in that of their places, so that a class gets its
// occupancies from one lane.
struct alignas(8) SortedLabel {
  int32_t label, place;
};

CTCKIT_KERNEL sort_kernel(Shape shape, Targets targets, SortedLabel* sorted) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= shape.B * targets.S) return;
  const int64_t b = i / targets.S, u = i % targets.S, U = clamped(get(targets.target_lengths + b), targets.S);
  if (u >= U) return;
  const int64_t* labels = targets.labels + b * targets.S;
  const int64_t label = get(labels + u);
  int64_t before = 0;
  for (int64_t v = 0; v < U; ++v) {
    const int64_t other = get(labels + v);
    before += other < label || (other == label && v < u);
  }
  const bool known = label > kBlank && label < shape.C;
  put(sorted + b * targets.S + before, SortedLabel{known ? static_cast<int32_t>(label) : -1, static_cast<int32_t>(u)});
}

// A warp a frame: (softmax - occupancy) * grad_loss. Columns where the two cancel are computed apart, rounded once.
template <class T>
CTCKIT_KERNEL ctc_gradient_kernel(const Working<T>* grad_losses, int64_t grad_losses_stride, View logits, Shape shape,
                                  const int64_t* lengths, Targets targets, const Working<T>* losses,
                                  const Working<T>* norms, const Working<T>* occupancy, Working<T> norm_shift,
                                  const SortedLabel* sorted, View grad) {
  using R = Working<T>;
  const int64_t at = warp_of(), t = at / shape.B, b = at % shape.B;
  if (at >= shape.T * shape.B) return;
  const T* row = address<const T>(logits, t, b);
  T* to = address<T>(grad, t, b);
  const bool zero = t >= get(lengths + b) || get(losses + b) == INFINITY;
  const R top = zero ? R(0) : get(norms + 2 * at), inverse = zero ? R(0) : get(norms + 2 * at + 1);
  const R weight = zero ? R(0) : get(grad_losses + b * grad_losses_stride);
  const R scale = inverse * weight;
  const auto dense = [&](R x) { return exp_of(x - top) * scale; };
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
      [&](const Pack<T>(&from)[kTogether], int64_t first, int count) {
        CTCKIT_UNROLL for (int k = 0; k < kTogether; ++k) {
          if (k >= count) return;
          const int64_t begin = first + k * kWarp * kPack<T>;
          Pack<T> out;
          for (int i = 0; i < kPack<T>; ++i) narrow(dense(widen(from[k].v[i])), out.v[i]);
          if (packs) {
            put_pack(to + begin, out);
          } else {
            for (int i = 0; i < kPack<T>; ++i) put(to + (begin + i) * grad.stride_c, out.v[i]);
          }
        }
      });
  __syncwarp();  // other lanes wrote these columns
  const int64_t U = clamped(get(targets.target_lengths + b), targets.S);
  const R* gamma = occupancy + (b * shape.T + t) * (targets.S + 1);
  const SortedLabel* mine = sorted + b * targets.S;
  for (int64_t i = lane_of() - 1; i < U; i += kWarp) {
    if (i < 0) {
      put_one((exp_of(widen(get(row)) + norm_shift - top) * inverse - get(gamma)) * weight, kBlank);
      continue;
    }
    const int64_t label = get(&mine[i].label);
    if (label < 0 || (i > 0 && get(&mine[i - 1].label) == label)) continue;
    R taken = 0;
    for (int64_t j = i; j < U && get(&mine[j].label) == label; ++j) taken += get(gamma + 1 + get(&mine[j].place));
    put_one((exp_of(widen(get(row + label * logits.stride_c)) - top) * inverse - taken) * weight, label);
  }
}

}  // namespace cuda
}  // namespace ctckit
