// CTC loss from logits to logits.
//
// The dynamic programme keeps every state as mantissa * 2^exponent, both double: sums and products need
// neither exp nor log, nothing underflows, and the exponent is exact. Emissions are taken relative to their
// row's maximum; the loss restores that from the row norms, and occupancies do not depend on it.
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

// Blanks and labels of one frame, kept apart: a vector then holds states with the same kind of predecessors. Four
// parts of equal size: the blanks' mantissas and exponents, the labels' mantissas and exponents.
struct Frame {
  double* at;
  int64_t part;

  Scaled blanks(int64_t s) const { return {load(at + s), load(at + part + s)}; }
  Scaled labels(int64_t s) const { return {load(at + 2 * part + s), load(at + 3 * part + s)}; }
  void set_blanks(int64_t s, const Scaled& value) const {
    store(at + s, value.mantissa);
    store(at + part + s, value.exponent);
  }
  void set_labels(int64_t s, const Scaled& value) const {
    store(at + 2 * part + s, value.mantissa);
    store(at + 3 * part + s, value.exponent);
  }
  ScaledOne blank(int64_t s) const { return {at[s], at[part + s]}; }
  ScaledOne label(int64_t s) const { return {at[2 * part + s], at[3 * part + s]}; }
  void clear() const {
    for (int64_t i = 0; i < part; ++i) {
      at[i] = at[2 * part + i] = 0.0;
      at[part + i] = at[3 * part + i] = kDead;
    }
  }
};

// One utterance's trellis over `length` frames: U + 1 blanks, from kPad on, and U labels beside them.
class Trellis {
 public:
  Trellis(int64_t T, int64_t S)
      : part_(padded_states(S + 1)),
        emissions_(T * 2 * part_),
        alphas_((T + 1) * 4 * part_),
        betas_(2 * 4 * part_),
        skip_(part_),
        scratch_(part_) {}

  // columns: R [length, width], the raw logits of blank and labels; norms: the row maxima, every norm_stride apart.
  template <class R>
  void set(const int64_t* labels, int64_t U, int64_t length, const R* columns, int64_t width, const R* norms,
           int64_t norm_stride, double shift) {
    U_ = U;
    length_ = length;
    double* column = scratch_.get();
    for (int64_t i = 0; i < part_; ++i) {
      skip_[i] = kBarrier;
      column[i] = -kInfinity<double>;  // what is no label is impossible
    }
    for (int64_t u = 1; u < U; ++u) {
      if (labels[u] != labels[u - 1]) skip_[kPad + u] = 0.0;
    }
    for (int64_t t = 0; t < length; ++t) {
      const R* from = columns + t * width;
      const double top = norms[t * norm_stride];
      for (int64_t j = 0; j <= U; ++j) column[j] = from[j] - top;
      column[0] += shift;
      double* to = emissions_.get() + t * 2 * part_ + kPad - 1;  // the blank, and from kPad on the labels
      for (int64_t j = 0; j <= U + kD; j += kD) {
        const Scaled value = exp_scaled(load(column + j));
        store(to + j, value.mantissa);
        store(to + part_ + j, value.exponent);
      }
    }
  }

  // All alphas; returns the total weight of all paths.
  ScaledOne forward() {
    const int64_t part = part_, end = kPad + U_;
    const double* skip = skip_.get();
    // Before the first frame a path is in the first blank; the first frame enters that or the first label.
    Frame from{alphas_.get(), part};
    from.clear();
    from.at[kPad] = 1.0;
    from.at[part + kPad] = 0.0;
    const double* emission = emissions_.get();
    for (int64_t t = 0; t < length_; ++t, emission += 2 * part) {
      const Frame to{from.at + 4 * part, part};
      // There is no label before the first, where vectors look for one.
      to.at[2 * part + kPad - 1] = 0.0;
      to.at[3 * part + kPad - 1] = kDead;
      const Scaled blank_emission{splat(emission[kPad - 1]), splat(emission[part + kPad - 1])};
      for (int64_t s = kPad; s <= end; s += kD) {
        const Scaled blank = from.blanks(s), label = from.labels(s), before = from.labels(s - 1);
        const Scaled skipped{before.mantissa, before.exponent + load(skip + s)};
        to.set_blanks(s, multiply(add(blank, before), blank_emission));
        to.set_labels(s, multiply(add(label, blank, skipped), {load(emission + s), load(emission + part + s)}));
      }
      from = to;
    }
    total_ = from.blank(end);
    if (U_ > 0 && length_ > 0) total_ = add(total_, from.label(end - 1));
    return total_;
  }

  // After forward(): occupancies R [length, width], blank first.
  template <class R>
  void backward(R* occupancy, int64_t width) {
    const int64_t part = part_, U = U_, end = kPad + U;
    const double* skip = skip_.get();
    double* gamma = scratch_.get();
    Frame from{betas_.get(), part}, to{betas_.get() + 4 * part, part};
    from.clear();
    to.clear();
    from.at[end] = 1.0;
    from.at[part + end] = 0.0;
    const Vec<double> inverse = splat(1.0 / total_.mantissa), whole = splat(total_.exponent);
    const auto joint = [&](const Scaled& beta, const Scaled& alpha) {
      return scaled(beta.mantissa * alpha.mantissa * inverse, beta.exponent + alpha.exponent - whole);
    };
    for (int64_t t = length_ - 1; t >= 0; --t) {
      const Frame alpha{alphas_.get() + (t + 1) * 4 * part, part};
      const double* emission = emissions_.get() + t * 2 * part;
      const Scaled blank_emission{splat(emission[kPad - 1]), splat(emission[part + kPad - 1])};
      Vec<double> blanks{};
      for (int64_t s = kPad; s <= end; s += kD) {
        const Scaled blank = from.blanks(s), label = from.labels(s), after = from.labels(s + 1);
        const Scaled skipped{after.mantissa, after.exponent + load(skip + s + 1)};
        // What follows frame t, from each state; without the emission of t, which alpha already has.
        const Scaled past_blank = add(blank, label), past_label = add(label, from.blanks(s + 1), skipped);
        blanks += joint(past_blank, alpha.blanks(s));
        store(gamma + s, joint(past_label, alpha.labels(s)));
        to.set_blanks(s, multiply(past_blank, blank_emission));
        to.set_labels(s, multiply(past_label, {load(emission + s), load(emission + part + s)}));
      }
      R* out = occupancy + t * width;
      out[0] = static_cast<R>(reduce<double, kD>(blanks, Add()));
      for (int64_t u = 0; u < U; ++u) out[u + 1] = static_cast<R>(gamma[kPad + u]);
      const Frame swapped = from;
      from = to;
      to = swapped;
    }
  }

 private:
  int64_t part_, U_ = 0, length_ = 0;
  Scratch<double> emissions_, alphas_, betas_, skip_, scratch_;
  ScaledOne total_{};
};

// The first pass over the logits, for the loss and for alignment: row norms (maximum, 1 / sum) and the logits
// of blank and labels.
template <class T>
int64_t gather(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths, const Targets& targets,
               Working<T> norm_shift, Working<T>* norms, Working<T>* columns) {
  using R = Working<T>;
  const Order order(logits, shape);
  const int64_t width = targets.S + 1;
  FirstBad bad;
  share(pool, order.size(), rows_to_read(pool, order), [&](Chunks& chunks) {
    RowReader<T> rows(logits, shape.C, order);
    order.each(chunks, [&](int64_t t, int64_t b) {
      R* norm_out = norms + 2 * (t * shape.B + b);
      R* out = columns + (b * shape.T + t) * width;
      const int64_t U = t < lengths[b] ? targets.target_lengths[b] : -1;
      for (int64_t j = U + 1; j < width; ++j) out[j] = 0;
      if (U < 0) {
        norm_out[0] = norm_out[1] = 0;
        return;
      }
      const T* row = rows.row(t, b);
      const Norm<R> norm = normalise(reduce_row(row, shape.C, row + order.ahead), norm_shift);
      if (!(norm.total < kInfinity<R>)) bad.note(b * shape.T + t);
      norm_out[0] = norm.top;
      norm_out[1] = norm.total > 0 ? R(1) / norm.total : R(0);
      out[0] = load_one(row);
      const int64_t* labels = targets.labels + b * targets.S;
      for (int64_t u = 0; u < U; ++u) out[u + 1] = load_one(row + labels[u]);
    });
  });
  return bad.get();
}

template <class T>
int64_t ctc_loss(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths,
                 const Targets& targets, double shift, bool path_domain, bool with_gradient, Working<T>* losses,
                 Working<T>* norms, Working<T>* occupancy) {
  using R = Working<T>;
  const R norm_shift = path_domain ? R(0) : static_cast<R>(shift);
  const int64_t bad = gather<T>(pool, logits, shape, lengths, targets, norm_shift, norms, occupancy);
  if (bad >= 0) return bad;
  const int64_t width = targets.S + 1;
  int64_t longest = 0, most_labels = 0;
  for (int64_t b = 0; b < shape.B; ++b) {
    longest = larger(longest, lengths[b]);
    most_labels = larger(most_labels, targets.target_lengths[b]);
  }
  share(pool, shape.B, 1, [&](Chunks& chunks) {
    Trellis trellis(longest, most_labels);
    chunks.each([&](int64_t b) {
      const int64_t length = lengths[b], U = targets.target_lengths[b];
      R* columns = occupancy + b * shape.T * width;
      trellis.set(targets.labels + b * targets.S, U, length, columns, width, norms + 2 * b, 2 * shape.B, shift);
      const ScaledOne total = trellis.forward();
      if (!(total.mantissa > 0)) {
        losses[b] = kInfinity<R>;
        for (int64_t i = 0; i < length * width; ++i) columns[i] = 0;
        return;
      }
      ScaledOne inverse{1.0, 0.0};
      for (int64_t t = 0; t < length; ++t) inverse.multiply(norms[2 * (t * shape.B + b) + 1]);
      losses[b] = static_cast<R>(-total.log() - inverse.log());
      if (with_gradient) trellis.backward(columns, width);
    });
  });
  return -1;
}

// softmax - occupancy, scaled, where the two cancel rounded once. A dense row of what is to be taken from each class,
// zero but for the labels, spares the loop over classes any question.
template <class T>
void ctc_loss_backward(const Pool& pool, const Working<T>* grad_losses, const View& logits, const Shape& shape,
                       const int64_t* lengths, const Targets& targets, const Working<T>* losses,
                       const Working<T>* norms, const Working<T>* occupancy, Working<T> norm_shift, const View& grad) {
  using R = Working<T>;
  constexpr int64_t W = kLanes<R>;
  const Order order(grad, shape);
  const int64_t width = targets.S + 1;
  share(pool, order.size(), rows_to_write<T>(pool, order, shape.C), [&](Chunks& chunks) {
    RowReader<T> rows(logits, shape.C, order);
    RowWriter<T> writer(grad, shape.C, order);
    const Scratch<R> taken(shape.C);
    for (int64_t c = 0; c < shape.C; ++c) taken[c] = 0;
    order.each(chunks, [&](int64_t t, int64_t b) {
      T* out = writer.row(t, b);
      const R* norm = norms + 2 * (t * shape.B + b);
      if (t >= lengths[b] || losses[b] == kInfinity<R>) {
        memset(out, 0, sizeof(T) * shape.C);
        writer.done();
        return;
      }
      const T* row = rows.row(t, b);
      const R top = norm[0], scale = norm[1] * grad_losses[b];
      const int64_t U = targets.target_lengths[b];
      const int64_t* labels = targets.labels + b * targets.S;
      const R* gamma = occupancy + (b * shape.T + t) * width;
      for (int64_t u = 0; u < U; ++u) taken[labels[u]] += gamma[u + 1] * grad_losses[b];
      int64_t c = 0;
      for (; c + W <= shape.C; c += W) {
        __builtin_prefetch(row + order.ahead + c);
        store(out + c, exp_nonpositive(load(row + c) - top) * scale - load(&taken[c]));
      }
      if (c < shape.C && shape.C >= W) {
        c = shape.C - W;
        store(out + c, exp_nonpositive(load(row + c) - top) * scale - load(&taken[c]));
      } else {
        for (; c < shape.C; ++c) store_one(out + c, exp_one(load_one(row + c) - top) * scale - taken[c]);
      }
      store_one(out, exp_one(load_one(row) + norm_shift - top) * scale - gamma[0] * grad_losses[b]);
      for (int64_t u = 0; u < U; ++u) taken[labels[u]] = 0;
      writer.done();
    });
  });
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
