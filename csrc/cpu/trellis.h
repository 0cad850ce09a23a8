// The dynamic programme of the loss: alphas, betas, occupancies, and the entropy of the paths.
//
// It runs on plain doubles first, with one power of two a frame for all states, and needs neither exp nor log there.
// Where a state that matters leaves their range it runs again with mantissa * 2^exponent for every state, which
// nothing leaves. Emissions are taken relative to the best one of their frame; occupancies and entropies do not depend
// on that, and the loss restores it from the row norms.
//
// Beside a state's weight p, the sum over its paths of exp(-cost), goes q, the sum of cost * exp(-cost), a path's cost
// being what its emissions lack to the best ones. The entropy of the paths is then log(p) + q / p of all of them, and
// its gradient with respect to a logit the covariance of cost and of passing there (an expectation semiring, as in
// Eisner, ACL 2002; for CTC in Liu, Jin and Zhang, NeurIPS 2018).
#pragma once

#include "rows.h"

namespace ctckit {
namespace CTCKIT_ISA {

constexpr int64_t kD = kLanes<double>;
constexpr double kDead = -0x1p100;      // the exponent of zero
constexpr double kBarrier = 2 * kDead;  // added to an exponent: less than zero

// Arrays of mantissas and exponents, padded so that vectors may run over either end: kPad states in front.
constexpr int64_t kPad = 8;
CTCKIT_INLINE int64_t padded_states(int64_t states) { return kPad + (states + kD - 1) / kD * kD + kPad; }

struct Scaled {
  Vec<double> mantissa, exponent;
};

CTCKIT_INLINE Scaled load_scaled(const double* mantissa, const double* exponent) {
  return {load(mantissa), load(exponent)};
}

// m * 2^n for integer-valued n <= 0, with 0 below what a double could add to 1 anyway.
CTCKIT_INLINE Vec<double> scaled(Vec<double> m, Vec<double> n) {
#if defined(__AVX512F__)
  return _mm512_scalef_pd(m, n);
#else
  return n < -1000.0 ? Vec<double>{} : m * power_of_two(n);
#endif
}

// Mantissa into [1, 2), or zero with a dead exponent.
CTCKIT_INLINE Scaled renormalise(Vec<double> mantissa, Vec<double> exponent) {
#if defined(__AVX512F__)
  const __mmask8 alive = _mm512_cmp_pd_mask(mantissa, _mm512_setzero_pd(), _CMP_GT_OQ);
  const __m512d whole = _mm512_add_pd(exponent, _mm512_getexp_pd(mantissa));
  return {_mm512_maskz_getmant_pd(alive, mantissa, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero),
          _mm512_mask_blend_pd(alive, _mm512_set1_pd(kDead), whole)};
#else
  const IntVec<double> bits = bit_cast<IntVec<double> >(mantissa);
  // The exponent field as a double, without a conversion from int64, which AVX2 lacks.
  const Vec<double> field = bit_cast<Vec<double> >((bits >> 52) | bit_cast<int64_t>(0x1p52)) - 0x1p52;
  const Vec<double> unit = bit_cast<Vec<double> >((bits & 0xfffffffffffffLL) | bit_cast<int64_t>(1.0));
  const auto alive = mantissa > 0.0;
  return {alive ? unit : Vec<double>{}, alive ? exponent + (field - 1023.0) : splat(kDead)};
#endif
}

// Sums before renormalisation.
CTCKIT_INLINE Scaled add(const Scaled& a, const Scaled& b) {
  const Vec<double> top = maximum(a.exponent, b.exponent);
  return {scaled(a.mantissa, a.exponent - top) + scaled(b.mantissa, b.exponent - top), top};
}
CTCKIT_INLINE Scaled add(const Scaled& a, const Scaled& b, const Scaled& c) {
  const Vec<double> top = maximum(maximum(a.exponent, b.exponent), c.exponent);
  return {scaled(a.mantissa, a.exponent - top) + scaled(b.mantissa, b.exponent - top) +
              scaled(c.mantissa, c.exponent - top),
          top};
}
CTCKIT_INLINE Scaled multiply(const Scaled& a, const Scaled& b) {
  return renormalise(a.mantissa * b.mantissa, a.exponent + b.exponent);
}

// exp(x) as mantissa and exponent, for x <= 0 of any size; zero for -inf.
CTCKIT_INLINE Scaled exp_scaled(Vec<double> x) {
  const auto alive = x > -kInfinity<double>;
  // Beyond 2^49 a double is too coarse for the reduction; such a gap is as good as this one.
  const Vec<double> bounded = maximum(x, splat(-0x1p49));
  const Vec<double> n = nearest(bounded * 1.4426950408889634);
  const Vec<double> mantissa = exp_reduced((bounded - n * 0.6931471803691238) - n * 1.9082149292705877e-10);
  return {alive ? mantissa : Vec<double>{}, alive ? n : splat(kDead)};
}

// One scaled number.
struct ScaledOne {
  double mantissa, exponent;

  void multiply(double factor) {
    int shift;
    mantissa = ::frexp(mantissa * factor, &shift);
    exponent += shift;
  }
  double log() const { return ::log(mantissa) + exponent * 0.6931471805599453; }
};

CTCKIT_INLINE ScaledOne add(const ScaledOne& a, const ScaledOne& b) {
  const bool ordered = a.exponent >= b.exponent;
  const ScaledOne &more = ordered ? a : b, &less = ordered ? b : a;
  const double gap = less.exponent - more.exponent;
  return {more.mantissa + (gap < -1000 ? 0.0 : ::ldexp(less.mantissa, static_cast<int>(gap))), more.exponent};
}


// A frame's largest weight is kept between kLow and kHigh, so that products of two, times a path's cost, are numbers
// too; what falls below kLeast is lost.
constexpr double kLeast = 0x1p-1022, kLow = 0x1p300, kHigh = 0x1p480;
// Beyond this many nats of cost an exponential leaves kLeast too little room.
constexpr double kCoarse = 690.0;

// Two kinds of numbers with the same operations. A value takes kArrays arrays, each `part` long.
struct Exponents {
  using Value = Scaled;
  static constexpr int64_t kArrays = 2;
  static constexpr bool kRanged = false;
  static constexpr double kShut = kBarrier, kOpen = 0.0;  // gates

  CTCKIT_INLINE static Value get(const double* at, int64_t part) { return {load(at), load(at + part)}; }
  CTCKIT_INLINE static void put(double* at, int64_t part, const Value& value) {
    store(at, value.mantissa);
    store(at + part, value.exponent);
  }
  CTCKIT_INLINE static Value all(const double* at, int64_t part) { return {splat(at[0]), splat(at[part])}; }
  CTCKIT_INLINE static ScaledOne one(const double* at, int64_t part) { return {at[0], at[part]}; }
  static void set_one(double* at, int64_t part, bool alive) {
    at[0] = alive ? 1.0 : 0.0;
    at[part] = alive ? 0.0 : kDead;
  }
  template <bool>
  CTCKIT_INLINE static Value exp(Vec<double> x) {
    return exp_scaled(x);
  }
  CTCKIT_INLINE static Value none() { return {Vec<double>{}, splat(kDead)}; }
  CTCKIT_INLINE static Value before(const Value& value, const Value& previous) {
    return {lanes_before(value.mantissa, previous.mantissa), lanes_before(value.exponent, previous.exponent)};
  }
  CTCKIT_INLINE static Value after(const Value& value, const Value& next) {
    return {lanes_after(value.mantissa, next.mantissa), lanes_after(value.exponent, next.exponent)};
  }
  CTCKIT_INLINE static Value gate(const Value& value, Vec<double> gate) {
    return {value.mantissa, value.exponent + gate};
  }
  CTCKIT_INLINE static Value sum(const Value& a, const Value& b) { return add(a, b); }
  CTCKIT_INLINE static Value sum(const Value& a, const Value& b, const Value& c) { return add(a, b, c); }
  CTCKIT_INLINE static Value times(const Value& a, const Value& b) { return multiply(a, b); }
  CTCKIT_INLINE static Value times(const Value& a, Vec<double> b) { return renormalise(a.mantissa * b, a.exponent); }
  CTCKIT_INLINE static Value settled(const Value& a) { return renormalise(a.mantissa, a.exponent); }
  // alpha * beta / total, for a total of 2^exponent / inverse.
  CTCKIT_INLINE static Vec<double> share(const Value& alpha, const Value& beta, Vec<double> inverse,
                                         Vec<double> exponent) {
    return scaled(beta.mantissa * alpha.mantissa * inverse, beta.exponent + alpha.exponent - exponent);
  }
};

struct Plain {
  using Value = Vec<double>;
  static constexpr int64_t kArrays = 1;
  static constexpr bool kRanged = true;
  static constexpr double kShut = 0.0, kOpen = 1.0;

  CTCKIT_INLINE static Value get(const double* at, int64_t) { return load(at); }
  CTCKIT_INLINE static void put(double* at, int64_t, Value value) { store(at, value); }
  CTCKIT_INLINE static Value all(const double* at, int64_t) { return splat(at[0]); }
  CTCKIT_INLINE static ScaledOne one(const double* at, int64_t) { return {at[0], 0.0}; }
  static void set_one(double* at, int64_t, bool alive) { at[0] = alive ? 1.0 : 0.0; }
  template <bool fine>
  CTCKIT_INLINE static Value exp(Vec<double> x) {
    return exp_nonpositive<fine>(x);
  }
  CTCKIT_INLINE static Value none() { return Value{}; }
  CTCKIT_INLINE static Value before(Value value, Value previous) { return lanes_before(value, previous); }
  CTCKIT_INLINE static Value after(Value value, Value next) { return lanes_after(value, next); }
  CTCKIT_INLINE static Value gate(Value value, Vec<double> gate) { return value * gate; }
  CTCKIT_INLINE static Value sum(Value a, Value b) { return a + b; }
  CTCKIT_INLINE static Value sum(Value a, Value b, Value c) { return a + b + c; }
  CTCKIT_INLINE static Value times(Value a, Value b) { return a * b; }
  CTCKIT_INLINE static Value settled(Value a) { return a; }
  CTCKIT_INLINE static Vec<double> share(Value alpha, Value beta, Vec<double> inverse, Vec<double>) {
    return beta * alpha * inverse;
  }
};

// Lets the processor round what is below kLeast to zero, which Plain allows for; making such numbers takes it long.
class NoSubnormals {
 public:
#if defined(__SSE2__)
  NoSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~NoSubnormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

// One utterance: U + 1 blanks, from kPad on, and U labels beside them, so that a vector holds states with the same kind
// of predecessors. A frame is an array each of the blanks' weights and the labels', then of their q if there is
// entropy.
template <class Number, bool kEntropy>
class Trellis {
  using Value = typename Number::Value;
  static constexpr int64_t kA = Number::kArrays;

 public:
  Trellis(int64_t length, int64_t U)
      : length_(length),
        U_(U),
        part_(padded_states(U + 1)),
        frame_((kEntropy ? 4 : 2) * kA * part_),
        emission_((kA + (kEntropy ? 1 : 0)) * part_),
        memory_(size(length, U)),
        alphas_(memory_.get()),
        emissions_(alphas_ + (length + 1) * frame_),
        betas_(emissions_ + length * emission_),
        skip_(betas_ + 2 * frame_),
        scratch_(skip_ + part_),
        lifts_(scratch_ + 2 * part_),
        offsets_(lifts_ + length + 1),
        flushed_(offsets_ + length) {}

  // columns: R [length, width] and kD more to be read, the raw logits of blank and labels; norms: the row maxima, every norm_stride apart.
  // False if these numbers cannot hold them.
  template <class R>
  bool set(const int64_t* labels, const R* columns, int64_t width, const R* norms, int64_t norm_stride, double shift) {
    double* column = scratch_;
    for (int64_t i = 0; i < part_; ++i) {
      skip_[i] = Number::kShut;
      column[i] = -kInfinity<double>;
    }
    for (int64_t u = 1; u < U_; ++u) {
      if (labels[u] != labels[u - 1]) skip_[kPad + u] = Number::kOpen;
    }
    Vec<double> least{};
    for (int64_t t = 0; t < length_; ++t) {
      const R* from = columns + t * width;
      const double norm = norms[t * norm_stride];
      // What is no label is impossible; its place is read, at most a vector beyond the columns.
      Vec<double> most = splat(-kInfinity<double>);
      for (int64_t j = 0; j <= U_; j += kD) {
        Vec<double> x = load_wide(from + j);
        if (j == 0) x[0] += shift;
        const auto real = lane_numbers<double>() <= U_ - j;
        x = real ? x : splat(-kInfinity<double>);
        most = maximum(most, x);
        store(column + j, x);
      }
      double top = reduce<double, kD>(most, Max());
      if (top == -kInfinity<double>) top = norm;
      offsets_[t] = top - norm;
      double* to = emissions_ + t * emission_ + kPad - 1;  // the blank, and from kPad on the labels
      for (int64_t j = 0; j <= U_ + kD; j += kD) {
        const Vec<double> x = load(column + j) - top;
        Number::put(to + j, part_, Number::template exp<sizeof(R) == 8>(x));
        const auto possible = x > -kInfinity<double>;
        const Vec<double> cost = possible ? -x : Vec<double>{};
        least = maximum(least, cost);
        if constexpr (kEntropy) store(to + kA * part_ + j, cost);
      }
    }
    return !Number::kRanged || reduce<double, kD>(least, Max()) < kCoarse;
  }

  // All alphas; returns the total weight of all paths.
  ScaledOne forward() {
    const int64_t end = kPad + U_;
    double* from = alphas_;
    clear(from);
    Number::set_one(from + kPad, part_, true);  // before the first frame a path is in the first blank
    double lift = 0.0;
    lifts_[0] = lift;
    for (int64_t t = 0; t < length_; ++t) {
      double* to = from + frame_;
      const double* emission = emissions_ + t * emission_;
      Watch watch;
      const Value blank_emission = Number::all(emission + kPad - 1, part_);
      Value previous = Number::none();
      [[maybe_unused]] Value previous_costs = Number::none();
      for (int64_t s = kPad; s <= end; s += kD) {
        const Value label_emission = Number::get(emission + s, part_);
        const Vec<double> skip = load(skip_ + s);
        const auto entering = [&](const double* at, Value& last, Value& blanks, Value& labels) {
          const Value blank = Number::get(at + s, part_), label = Number::get(at + kA * part_ + s, part_);
          const Value before = Number::before(label, last);
          last = label;
          blanks = Number::sum(blank, before);
          labels = Number::sum(label, blank, Number::gate(before, skip));
        };
        Value into_blanks, into_labels;
        entering(from, previous, into_blanks, into_labels);
        const Value blanks = Number::times(into_blanks, blank_emission);
        const Value labels = Number::times(into_labels, label_emission);
        watch.see(into_blanks, blank_emission, blanks);
        watch.see(into_labels, label_emission, labels);
        Number::put(to + s, part_, blanks);
        Number::put(to + kA * part_ + s, part_, labels);
        if constexpr (kEntropy) {
          Value blank_costs, label_costs;
          entering(from + 2 * kA * part_, previous_costs, blank_costs, label_costs);
          put_costs(to + 2 * kA * part_ + s, blank_costs, blank_emission, blanks,
                    splat(emission[kA * part_ + kPad - 1]));
          put_costs(to + 3 * kA * part_ + s, label_costs, label_emission, labels, load(emission + kA * part_ + s));
        }
      }
      settle(to, watch, t, lift);
      lifts_[t + 1] = lift;
      from = to;
    }
    total_ = ending(from);
    if constexpr (kEntropy) {
      const ScaledOne costs = ending(from + 2 * kA * part_);
      mean_cost_ = total_.mantissa > 0 ? costs.mantissa / total_.mantissa * ::exp2(costs.exponent - total_.exponent) : 0;
    }
    total_.exponent -= lift;
    total_.multiply(1.0);
    return total_;
  }

  // After forward(), in nats.
  double entropy() const { return larger(0.0, total_.log() + mean_cost_); }

  // Sum of what the emissions were taken relative to, less the row maxima.
  double offset() const {
    double sum = 0.0;
    for (int64_t t = 0; t < length_; ++t) sum += offsets_[t];
    return sum;
  }

  // Whether all that was rounded to zero is less than 2^-60 of the total. What a state lost, times all that leads on
  // from there, is lost; and by the row norms' probabilities, of which a state's continuations (beginnings, in the
  // backward pass) have at most 1, that is at most the loss itself. log_inverse(t): minus the row's log-normaliser,
  // relative to its maximum; log_total: log-probability of all paths.
  template <class Function>
  bool sound(bool backwards, const Function& log_inverse, double log_total) const {
    if constexpr (Number::kRanged) {
      constexpr double kBits = 1.4426950408889634;
      double passed = 0.0, worst = -kInfinity<double>;
      for (int64_t i = 0; i < length_; ++i) {
        const int64_t t = backwards ? length_ - 1 - i : i;
        passed += (offsets_[t] + log_inverse(t)) * kBits;
        if (flushed_[t] != kNone) worst = larger(worst, passed - flushed_[t]);
      }
      if (worst == -kInfinity<double>) return true;
      const double states = static_cast<double>(2 * U_ + 1) * static_cast<double>(length_);
      return worst - 1022.0 + ::log2(states) < log_total * kBits - 60.0;
    }
    return true;
  }

  // After forward(): occupancies R [length, width], blank first, and the entropy's gradient likewise. False if these
  // numbers cannot hold the result.
  template <class R>
  bool backward(R* occupancy, R* covariance, int64_t width) {
    [[maybe_unused]] const Vec<double> mean = splat(mean_cost_);
    const int64_t end = kPad + U_;
    double *gamma = scratch_, *moved = scratch_ + part_;
    double *from = betas_, *to = betas_ + frame_;
    clear(from);
    clear(to);
    Number::set_one(from + end, part_, true);
    double lift = 0.0;
    for (int64_t t = length_ - 1; t >= 0; --t) {
      const double* alpha = alphas_ + (t + 1) * frame_;
      const double* emission = emissions_ + t * emission_;
      const Value blank_emission = Number::all(emission + kPad - 1, part_);
      double inverse = 1.0 / total_.mantissa;
      if constexpr (Number::kRanged) {
        const double power = -lifts_[t + 1] - lift - total_.exponent;
        if (!(power >= -1020.0 && power <= 400.0)) return false;
        inverse *= ::exp2(power);
      }
      const auto share = [inverse = splat(inverse), exponent = splat(total_.exponent)](const Value& a, const Value& b) {
        return Number::share(a, b, inverse, exponent);
      };
      Watch watch;
      Vec<double> blank_shares{};
      [[maybe_unused]] Vec<double> blank_moved{};
      Pair at{Number::get(from + kPad, part_), Number::get(from + kA * part_ + kPad, part_)};
      [[maybe_unused]] Pair costs_at = at;
      if constexpr (kEntropy) {
        costs_at = {Number::get(from + 2 * kA * part_ + kPad, part_), Number::get(from + 3 * kA * part_ + kPad, part_)};
      }
      for (int64_t s = kPad; s <= end; s += kD) {
        const Value label_emission = Number::get(emission + s, part_);
        const Vec<double> skip = load(skip_ + s + 1);
        // What follows frame t, from each state; without the emission of t, which alpha already has.
        const auto leaving = [&](const double* frame, Pair& at, Value& blanks, Value& labels) {
          const Pair next{Number::get(frame + s + kD, part_), Number::get(frame + kA * part_ + s + kD, part_)};
          blanks = Number::sum(at.blanks, at.labels);
          labels = Number::sum(at.labels, Number::after(at.blanks, next.blanks),
                               Number::gate(Number::after(at.labels, next.labels), skip));
          at = next;
        };
        Value past_blanks, past_labels;
        leaving(from, at, past_blanks, past_labels);
        const Value alpha_blanks = Number::get(alpha + s, part_);
        const Value alpha_labels = Number::get(alpha + kA * part_ + s, part_);
        const Vec<double> in_blanks = share(alpha_blanks, past_blanks), in_labels = share(alpha_labels, past_labels);
        blank_shares += in_blanks;
        store(gamma + s, in_labels);
        const Value blanks = Number::times(past_blanks, blank_emission);
        const Value labels = Number::times(past_labels, label_emission);
        watch.see(past_blanks, blank_emission, blanks);
        watch.see(past_labels, label_emission, labels);
        Number::put(to + s, part_, blanks);
        Number::put(to + kA * part_ + s, part_, labels);
        if constexpr (kEntropy) {
          Value blank_costs, label_costs;
          leaving(from + 2 * kA * part_, costs_at, blank_costs, label_costs);
          blank_moved += share(alpha_blanks, blank_costs) - mean * in_blanks +
                         share(Number::get(alpha + 2 * kA * part_ + s, part_), past_blanks);
          store(moved + s, share(alpha_labels, label_costs) - mean * in_labels +
                               share(Number::get(alpha + 3 * kA * part_ + s, part_), past_labels));
          put_costs(to + 2 * kA * part_ + s, blank_costs, blank_emission, blanks,
                    splat(emission[kA * part_ + kPad - 1]));
          put_costs(to + 3 * kA * part_ + s, label_costs, label_emission, labels, load(emission + kA * part_ + s));
        }
      }
      R* out = occupancy + t * width;
      out[0] = static_cast<R>(reduce<double, kD>(blank_shares, Add()));
      for (int64_t u = 0; u < U_; ++u) out[u + 1] = static_cast<R>(gamma[kPad + u]);
      if constexpr (kEntropy) {
        out = covariance + t * width;
        out[0] = static_cast<R>(reduce<double, kD>(blank_moved, Add()));
        for (int64_t u = 0; u < U_; ++u) out[u + 1] = static_cast<R>(moved[kPad + u]);
      }
      settle(to, watch, t, lift);
      double* swapped = from;
      from = to;
      to = swapped;
    }
    return true;
  }

 private:
  static constexpr double kNone = -1e300;  // nothing did

  static int64_t size(int64_t length, int64_t U) {
    const int64_t part = padded_states(U + 1);
    return part * ((length + 3) * (kEntropy ? 4 : 2) * kA + length * (kA + (kEntropy ? 1 : 0)) + 3) + 3 * length + 1;
  }

  struct Pair {
    Value blanks, labels;
  };

  // The largest state of a frame, and whether one that is alive has become too small to hold.
  struct Watch {
    Vec<double> most{};
    IntVec<double> lost{};

    CTCKIT_INLINE void see(const Value& before, const Value& emission, const Value& after) {
      if constexpr (Number::kRanged) {
        most = maximum(most, after);
        // Zero in, zero out: only of what was alive and possible.
        lost |= after < minimum(minimum(before, emission), splat(kLeast));
      }
    }
    CTCKIT_INLINE bool any() const {
      bool any = false;
      for (int i = 0; i < kD; ++i) any |= lost[i] != 0;
      return any;
    }
  };

  CTCKIT_INLINE void put_costs(double* to, const Value& costs, const Value& emission, const Value& weights,
                               Vec<double> cost) const {
    Number::put(to, part_, Number::settled(Number::sum(Number::times(costs, emission), Number::times(weights, cost))));
  }

  void clear(double* frame) const {
    for (int64_t array = 0; array < frame_; array += kA * part_) {
      for (int64_t i = 0; i < part_; ++i) Number::set_one(frame + array + i, part_, false);
    }
  }

  ScaledOne ending(const double* frame) const {
    ScaledOne sum = Number::one(frame + kPad + U_, part_);
    if (U_ > 0 && length_ > 0) sum = add(sum, Number::one(frame + kA * part_ + kPad + U_ - 1, part_));
    return sum;
  }

  // Brings the largest state of frame t back into range, and adds to `lift` the binary orders by which it lifted all.
  void settle(double* frame, Watch& watch, int64_t t, double& lift) const {
    if constexpr (Number::kRanged) {
      const double most = reduce<double, kD>(watch.most, Max());
      const double before = lift;
      if (most > 0 && !(most >= kLow && most < kHigh)) {
        int exponent;
        ::frexp(most, &exponent);
        lift += 400.0 - exponent;
        const Vec<double> factor = splat(::ldexp(1.0, 400 - exponent));
        for (double* array = frame; array < frame + frame_; array += part_) {
          for (int64_t s = kPad; s <= kPad + U_; s += kD) {
            const Vec<double> value = load(array + s), lifted = value * factor;
            watch.lost |= lifted < minimum(value, splat(kLeast));
            store(array + s, lifted);
          }
        }
      }
      flushed_[t] = watch.any() ? (lift < before ? lift : before) : kNone;
    }
  }

  const int64_t length_, U_, part_, frame_, emission_;
  const Reused<double> memory_;
  double *const alphas_, *const emissions_, *const betas_, *const skip_, *const scratch_;
  double *const lifts_, *const offsets_;
  double* const flushed_;  // the lift at which something of a frame became zero, else kNone
  double mean_cost_ = 0.0;
  ScaledOne total_{};
};

}  // namespace CTCKIT_ISA
}  // namespace ctckit
