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

// 2^n for integer-valued n < 1000, with 0 below what a double could add to 1 anyway.
CTCKIT_INLINE Vec<double> power(Vec<double> n) {
#if defined(__AVX512F__)
  return _mm512_scalef_pd(_mm512_set1_pd(1.0), n);
#else
  return n < -1000.0 ? Vec<double>{} : power_of_two(n);
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

// a + b + c * 2^barrier, before renormalisation. The barrier, 0 or kBarrier, goes into the exponent: a state that
// does not count must not set the scale either.
CTCKIT_INLINE Scaled add(const Scaled& a, const Scaled& b, const Scaled& c, Vec<double> barrier) {
  const Vec<double> third = c.exponent + barrier;
  const Vec<double> top = maximum(maximum(a.exponent, b.exponent), third);
  const Vec<double> sum =
      a.mantissa * power(a.exponent - top) + b.mantissa * power(b.exponent - top) + c.mantissa * power(third - top);
  return {sum, top};
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

// One utterance's trellis: 2U + 1 states over `length` frames.
class Trellis {
 public:
  Trellis(int64_t T, int64_t S)
      : stride_(padded_states(2 * S + 1)),
        emission_mantissa_(T * stride_),
        emission_exponent_(T * stride_),
        alpha_mantissa_((T + 1) * stride_),
        alpha_exponent_((T + 1) * stride_),
        beta_mantissa_(2 * stride_),
        beta_exponent_(2 * stride_),
        skip_(stride_),
        gamma_(stride_),
        column_(S + 1 + kD),
        column_exponent_(S + 1 + kD) {}

  // columns: R [length, width], the raw logits of blank and labels; tops: the row maxima, every 2 * B apart.
  template <class R>
  void set(const int64_t* labels, int64_t U, int64_t length, const R* columns, int64_t width, const R* norms,
           int64_t norm_stride, double shift) {
    states_ = 2 * U + 1;
    length_ = length;
    for (int64_t i = 0; i < stride_; ++i) skip_[i] = kBarrier;
    for (int64_t u = 1; u < U; ++u) {
      if (labels[u] != labels[u - 1]) skip_[kPad + 2 * u + 1] = 0.0;
    }
    for (int64_t t = 0; t < length; ++t) {
      const R* from = columns + t * width;
      const double top = norms[t * norm_stride];
      for (int64_t j = 0; j <= U; ++j) column_[j] = from[j] - top;
      column_[0] += shift;
      for (int64_t j = U + 1; j < U + 1 + kD; ++j) column_[j] = 0;
      for (int64_t j = 0; j <= U; j += kD) {
        const Scaled value = exp_scaled(load(&column_[j]));
        store(&column_[j], value.mantissa);
        store(&column_exponent_[j], value.exponent);
      }
      double* mantissa = emission_mantissa_.get() + t * stride_;
      double* exponent = emission_exponent_.get() + t * stride_;
      clear(mantissa, exponent);
      for (int64_t j = 0; j <= U; ++j) {
        mantissa[kPad + 2 * j] = column_[0];
        exponent[kPad + 2 * j] = column_exponent_[0];
      }
      for (int64_t j = 0; j < U; ++j) {
        mantissa[kPad + 2 * j + 1] = column_[j + 1];
        exponent[kPad + 2 * j + 1] = column_exponent_[j + 1];
      }
    }
  }

  // All alphas; returns the total weight of all paths.
  ScaledOne forward() {
    // Before the first frame a path is in state 0, from where the first frame enters states 0 and 1.
    clear(alpha_mantissa_.get(), alpha_exponent_.get());
    alpha_mantissa_[kPad] = 1.0;
    alpha_exponent_[kPad] = 0.0;
    for (int64_t t = 0; t < length_; ++t) {
      const double* mantissa = alpha_mantissa_.get() + t * stride_;
      const double* exponent = alpha_exponent_.get() + t * stride_;
      double* to_mantissa = alpha_mantissa_.get() + (t + 1) * stride_;
      double* to_exponent = alpha_exponent_.get() + (t + 1) * stride_;
      clear_ends(to_mantissa, to_exponent);
      const int64_t here = t * stride_;
      for (int64_t s = kPad; s < kPad + states_; s += kD) {
        const Scaled sum = add(load_scaled(mantissa + s, exponent + s), load_scaled(mantissa + s - 1, exponent + s - 1),
                               load_scaled(mantissa + s - 2, exponent + s - 2), load(&skip_[s]));
        const Scaled next = renormalise(sum.mantissa * load(&emission_mantissa_[here + s]),
                                        sum.exponent + load(&emission_exponent_[here + s]));
        store(to_mantissa + s, next.mantissa);
        store(to_exponent + s, next.exponent);
      }
    }
    const double* mantissa = alpha_mantissa_.get() + length_ * stride_ + kPad;
    const double* exponent = alpha_exponent_.get() + length_ * stride_ + kPad;
    const int64_t last = states_ - 1;
    total_ = {mantissa[last], exponent[last]};
    if (last > 0 && length_ > 0) total_ = add(total_, ScaledOne{mantissa[last - 1], exponent[last - 1]});
    return total_;
  }

  // After forward(): occupancies R [length, width], blank first.
  template <class R>
  void backward(R* occupancy, int64_t width) {
    double *mantissa = beta_mantissa_.get(), *exponent = beta_exponent_.get();
    double *to_mantissa = mantissa + stride_, *to_exponent = exponent + stride_;
    clear(mantissa, exponent);
    clear(to_mantissa, to_exponent);
    mantissa[kPad + states_ - 1] = 1.0;
    exponent[kPad + states_ - 1] = 0.0;
    const Vec<double> inverse = splat(1.0 / total_.mantissa), whole = splat(total_.exponent);
    for (int64_t t = length_ - 1; t >= 0; --t) {
      const int64_t here = t * stride_, alpha = (t + 1) * stride_;
      for (int64_t s = kPad; s < kPad + states_; s += kD) {
        // What follows frame t, from each state; without the emission of t, which alpha already has.
        const Scaled sum = add(load_scaled(mantissa + s, exponent + s), load_scaled(mantissa + s + 1, exponent + s + 1),
                               load_scaled(mantissa + s + 2, exponent + s + 2), load(&skip_[s + 2]));
        const Vec<double> joint = sum.exponent + load(&alpha_exponent_[alpha + s]) - whole;
        store(&gamma_[s], sum.mantissa * load(&alpha_mantissa_[alpha + s]) * inverse * power(joint));
        const Scaled next = renormalise(sum.mantissa * load(&emission_mantissa_[here + s]),
                                        sum.exponent + load(&emission_exponent_[here + s]));
        store(to_mantissa + s, next.mantissa);
        store(to_exponent + s, next.exponent);
      }
      R* out = occupancy + t * width;
      double blank = gamma_[kPad];
      for (int64_t u = 0; 2 * u + 1 < states_; ++u) {
        out[u + 1] = static_cast<R>(gamma_[kPad + 2 * u + 1]);
        blank += gamma_[kPad + 2 * u + 2];
      }
      out[0] = static_cast<R>(blank);
      swap(mantissa, to_mantissa);
      swap(exponent, to_exponent);
    }
  }

 private:
  static void swap(double*& a, double*& b) {
    double* c = a;
    a = b;
    b = c;
  }
  void clear(double* mantissa, double* exponent) const {
    for (int64_t i = 0; i < stride_; ++i) {
      mantissa[i] = 0.0;
      exponent[i] = kDead;
    }
  }
  // Only what vectors read beyond the states that they write.
  void clear_ends(double* mantissa, double* exponent) const {
    for (int64_t i = 0; i < kPad; ++i) {
      mantissa[i] = mantissa[stride_ - 1 - i] = 0.0;
      exponent[i] = exponent[stride_ - 1 - i] = kDead;
    }
  }

  int64_t stride_, states_ = 0, length_ = 0;
  Scratch<double> emission_mantissa_, emission_exponent_, alpha_mantissa_, alpha_exponent_, beta_mantissa_,
      beta_exponent_, skip_, gamma_, column_, column_exponent_;
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
  share(pool, order.size(), kRowsPerChunk, [&](Chunks& chunks) {
    const RowReader<T> rows(logits, shape.C);
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
      const Norm<R> norm = normalise(reduce_row(row, shape.C, row + order.neighbour), norm_shift);
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

// softmax - occupancy, scaled. Label columns, where the two cancel, are computed apart and rounded once.
template <class T>
void ctc_loss_backward(const Pool& pool, const Working<T>* grad_losses, const View& logits, const Shape& shape,
                       const int64_t* lengths, const Targets& targets, const Working<T>* losses,
                       const Working<T>* norms, const Working<T>* occupancy, Working<T> norm_shift, const View& grad) {
  using R = Working<T>;
  constexpr int64_t W = kLanes<R>;
  const Order order(grad, shape);
  const int64_t width = targets.S + 1;
  // For each column the first column of the same class: repeated labels share one class.
  const Scratch<int64_t> first(shape.B * width);
  for (int64_t b = 0; b < shape.B; ++b) {
    const int64_t* labels = targets.labels + b * targets.S;
    for (int64_t u = 0; u < targets.target_lengths[b]; ++u) {
      int64_t v = 0;
      while (labels[v] != labels[u]) ++v;
      first[b * width + u + 1] = v + 1;
    }
    first[b * width] = 0;
  }
  share(pool, order.size(), kRowsPerChunk, [&](Chunks& chunks) {
    const RowReader<T> rows(logits, shape.C);
    const RowWriter<T> writer(grad, shape.C);
    const Scratch<R> taken(width + W), values(width + W);
    order.each(chunks, [&](int64_t t, int64_t b) {
      T* out = writer.row(t, b);
      const R* norm = norms + 2 * (t * shape.B + b);
      if (t >= lengths[b] || losses[b] == kInfinity<R>) {
        memset(out, 0, sizeof(T) * shape.C);
        writer.done(t, b);
        return;
      }
      const T* row = rows.row(t, b);
      const R top = norm[0], scale = norm[1] * grad_losses[b];
      int64_t c = 0;
      for (; c + W <= shape.C; c += W) store(out + c, exp_nonpositive(load(row + c) - top) * scale);
      if (c < shape.C && shape.C >= W) {
        store(out + shape.C - W, exp_nonpositive(load(row + shape.C - W) - top) * scale);
      } else {
        for (; c < shape.C; ++c) store_one(out + c, exp_one(load_one(row + c) - top) * scale);
      }
      const int64_t U = targets.target_lengths[b];
      const int64_t* labels = targets.labels + b * targets.S;
      const int64_t* firsts = first.get() + b * width;
      const R* gamma = occupancy + (b * shape.T + t) * width;
      values[0] = load_one(row) + norm_shift - top;
      taken[0] = gamma[0];
      for (int64_t j = 1; j <= U; ++j) {
        values[j] = load_one(row + labels[j - 1]) - top;
        taken[j] = 0;
        taken[firsts[j]] += gamma[j];
      }
      for (int64_t j = U + 1; j <= U + W; ++j) values[j] = 0;
      for (int64_t j = 0; j <= U; j += W) store(&values[j], exp_nonpositive(load(&values[j])));
      store_one(out, (values[0] * norm[1] - taken[0]) * grad_losses[b]);
      for (int64_t j = 1; j <= U; ++j) {
        if (firsts[j] == j) store_one(out + labels[j - 1], (values[j] * norm[1] - taken[j]) * grad_losses[b]);
      }
      writer.done(t, b);
    });
  });
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
