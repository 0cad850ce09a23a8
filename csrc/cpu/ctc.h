// CTC loss from logits to logits: row norms and the logits of blank and labels, the dynamic programme on those, and the
// gradient from its occupancies.
#pragma once

#include "trellis.h"

namespace ctckit {
namespace CTCKIT_ISA {

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

// One utterance of a loss.
template <class R>
struct Clip {
  const int64_t* labels;
  int64_t U, length;
  const R *columns, *norms;  // [length, width], and (maximum, 1 / sum) every norm_stride
  int64_t width, norm_stride;
  double shift;
  bool probability;  // whether the row norms make the emissions probabilities, so that no loss is below 0
  bool with_gradient;
  R *loss, *entropy, *occupancy, *covariance;  // the last two [length, width]
};

// False, with anything in the outputs, if Number cannot hold the utterance.
template <class Number, bool kEntropy, class R>
bool solve(const Clip<R>& clip) {
  Trellis<Number, kEntropy> trellis(clip.length, clip.U);
  if (!trellis.set(clip.labels, clip.columns, clip.width, clip.norms, clip.norm_stride, clip.shift)) return false;
  const ScaledOne total = trellis.forward();
  ScaledOne inverse{1.0, 0.0};
  for (int64_t t = 0; t < clip.length; ++t) inverse.multiply(clip.norms[t * clip.norm_stride + 1]);
  const double log_total =
      total.mantissa > 0 ? total.log() + trellis.offset() + inverse.log() : -kInfinity<double>;
  const auto sound = [&](bool backwards) {
    const auto log_inverse = [&](int64_t t) {
      return ::log(static_cast<double>(clip.norms[t * clip.norm_stride + 1]));
    };
    return trellis.sound(backwards, log_inverse, clip.probability ? log_total : -kInfinity<double>);
  };
  if (!sound(false)) return false;
  const bool possible = total.mantissa > 0;
  *clip.loss = static_cast<R>(clip.probability ? larger(0.0, -log_total) : -log_total);
  if constexpr (kEntropy) *clip.entropy = possible ? static_cast<R>(trellis.entropy()) : R(0);
  if (!clip.with_gradient) return true;
  if (possible) return trellis.backward(clip.occupancy, clip.covariance, clip.width) && sound(true);
  for (int64_t i = 0; i < clip.length * clip.width; ++i) {
    clip.occupancy[i] = 0;
    if constexpr (kEntropy) clip.covariance[i] = 0;
  }
  return true;
}

template <bool kEntropy, class R>
void solve_safely(const Clip<R>& clip) {
  if (!solve<Plain, kEntropy>(clip)) solve<Exponents, kEntropy>(clip);
}

// entropies and covariance are for both or for neither.
template <class T>
int64_t ctc_loss(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths,
                 const Targets& targets, double shift, bool path_domain, bool with_gradient, Working<T>* losses,
                 Working<T>* norms, Working<T>* occupancy, Working<T>* entropies, Working<T>* covariance) {
  using R = Working<T>;
  const R norm_shift = path_domain ? R(0) : static_cast<R>(shift);
  const int64_t bad = gather<T>(pool, logits, shape, lengths, targets, norm_shift, norms, occupancy);
  if (bad >= 0) return bad;
  const int64_t width = targets.S + 1, size = shape.T * width;
  share(pool, shape.B, 1, [&](Chunks& chunks) {
    [[maybe_unused]] const NoSubnormals no_subnormals;
    chunks.each([&](int64_t b) {
      const int64_t used = lengths[b] * width;
      R* const columns = occupancy + b * size;
      const Reused<R> copy(used + kD);  // the occupancies take the place of the columns
      if (used > 0) memcpy(copy.get(), columns, sizeof(R) * used);
      Clip<R> clip{targets.labels + b * targets.S, targets.target_lengths[b], lengths[b], copy.get(), norms + 2 * b,
                   width, 2 * shape.B, shift, !path_domain || shift <= 0, with_gradient, losses + b, nullptr, columns,
                   nullptr};
      if (entropies == nullptr) {
        solve_safely<false>(clip);
        return;
      }
      clip.entropy = entropies + b;
      if (with_gradient && size > 0) {
        clip.covariance = covariance + b * size;
        memset(clip.covariance, 0, sizeof(R) * size);
      }
      solve_safely<true>(clip);
    });
  });
  return -1;
}

// softmax - occupancy, scaled, where the two cancel rounded once; and the covariance of the entropy, scaled likewise, if
// there is one. A dense row of what is to be taken from each class,
// zero but for the labels, spares the loop over classes any question.
template <class T>
void ctc_loss_backward(const Pool& pool, const Working<T>* grad_losses, const View& logits, const Shape& shape,
                       const int64_t* lengths, const Targets& targets, const Working<T>* losses,
                       const Working<T>* norms, const Working<T>* occupancy, Working<T> norm_shift,
                       const Working<T>* grad_entropies, const Working<T>* covariance, const View& grad) {
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
      const R weight = grad_losses[b];
      const R top = norm[0], scale = norm[1] * weight;
      const int64_t U = targets.target_lengths[b];
      const int64_t* labels = targets.labels + b * targets.S;
      const R* gamma = occupancy + (b * shape.T + t) * width;
      R blank = gamma[0] * weight;
      for (int64_t u = 0; u < U; ++u) taken[labels[u]] += gamma[u + 1] * weight;
      if (covariance != nullptr) {
        const R* moved = covariance + (b * shape.T + t) * width;
        blank -= moved[0] * grad_entropies[b];
        for (int64_t u = 0; u < U; ++u) taken[labels[u]] -= moved[u + 1] * grad_entropies[b];
      }
      if (weight == 0) {  // only the entropy counts: no softmax
        memset(out, 0, sizeof(T) * shape.C);
        store_one(out, -blank);
        for (int64_t u = 0; u < U; ++u) {
          store_one(out + labels[u], -taken[labels[u]]);
        }
        for (int64_t u = 0; u < U; ++u) taken[labels[u]] = 0;
        writer.done();
        return;
      }
      const T* row = rows.row(t, b);
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
      store_one(out, exp_one(load_one(row) + norm_shift - top) * scale - blank);
      for (int64_t u = 0; u < U; ++u) taken[labels[u]] = 0;
      writer.done();
    });
  });
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
