// Alignment: the best path through given targets.
#pragma once

#include "ctc.h"

namespace ctckit {
namespace CTCKIT_ISA {

// Best-path scores over raw float64 logits, so that every backend breaks the same ties; of equally good
// predecessors the nearest state, of equally good ends the label.
template <class R>
void align_one(const int64_t* labels, int64_t U, int64_t length, const R* columns, int64_t width, const R* norms,
               int64_t norm_stride, double shift, const Shape& shape, int64_t S, int64_t b,
               const AlignmentOutput& out) {
  int64_t* path = out.paths + b * shape.T;
  int64_t* starts = out.starts + b * S;
  int64_t* ends = out.ends + b * S;
  R* scores = static_cast<R*>(out.scores) + b * S;
  for (int64_t t = 0; t < shape.T; ++t) path[t] = -1;
  for (int64_t u = 0; u < S; ++u) {
    starts[u] = ends[u] = -1;
    scores[u] = 0;
  }
  const int64_t states = 2 * U + 1, stride = padded_states(states);
  const Scratch<double> first(stride), second(stride), emission(stride), barrier(stride);
  const Reused<int64_t> kept(length * stride);
  int64_t* const moves = kept.get();
  double *best = first.get(), *next = second.get();
  for (int64_t i = 0; i < stride; ++i) {
    best[i] = next[i] = -kInfinity<double>;
    emission[i] = 0.0;
    barrier[i] = -kInfinity<double>;  // added to a score that may not skip
  }
  for (int64_t u = 1; u < U; ++u) {
    if (labels[u] != labels[u - 1]) barrier[kPad + 2 * u + 1] = 0.0;
  }
  best[kPad] = 0.0;
  const IntVec<double> none{}, one = none + 1, two = none + 2;
  for (int64_t t = 0; t < length; ++t) {
    const R* from = columns + t * width;
    const double blank = static_cast<double>(from[0]) + shift;
    for (int64_t u = 0; u <= U; ++u) emission[kPad + 2 * u] = blank;
    for (int64_t u = 0; u < U; ++u) emission[kPad + 2 * u + 1] = from[u + 1];
    for (int64_t s = kPad; s < kPad + states; s += kD) {
      const Vec<double> stay = load(best + s), step = load(best + s - 1);
      const Vec<double> skip = load(best + s - 2) + load(&barrier[s]);
      const auto steps = step > stay;
      const Vec<double> near = steps ? step : stay;
      const auto skips = skip > near;
      store(next + s, (skips ? skip : near) + load(&emission[s]));
      const IntVec<double> move = skips ? two : (steps ? one : none);
      memcpy(&moves[t * stride + s], &move, sizeof(move));
    }
    // The vectors ran past the last state; what they left there must not come back.
    for (int64_t s = kPad + states; s < stride; ++s) next[s] = -kInfinity<double>;
    double* swapped = best;
    best = next;
    next = swapped;
  }
  double score = best[kPad + states - 1];
  int64_t state = states - 1;
  if (U > 0 && best[kPad + states - 2] >= score) score = best[kPad + --state];
  R& utterance_score = static_cast<R*>(out.utterance_scores)[b];
  if (!(score > -kInfinity<double>)) {
    utterance_score = -kInfinity<R>;
    return;
  }
  double log_norm = 0.0, run = 0.0;
  for (int64_t t = length - 1; t >= 0; --t) {
    const R* norm = norms + t * norm_stride;
    const double log_total = norm[0] + static_cast<double>(log_one(R(1) / norm[1]));
    log_norm += log_total;
    const int64_t u = state / 2;
    if (state % 2 == 1) {
      path[t] = labels[u];
      if (ends[u] < 0) {
        ends[u] = t + 1;
        run = 0.0;
      }
      run += columns[t * width + u + 1] - log_total;
      starts[u] = t;
      scores[u] = static_cast<R>(run / static_cast<double>(ends[u] - t));
    } else {
      path[t] = kBlank;
    }
    state -= moves[t * stride + kPad + state];
  }
  utterance_score = static_cast<R>(score - log_norm);
}

template <class T>
int64_t align(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths, const Targets& targets,
              double shift, Working<T>* norms, Working<T>* columns, const AlignmentOutput& out) {
  using R = Working<T>;
  const int64_t bad = gather<T>(pool, logits, shape, lengths, targets, static_cast<R>(shift), norms, columns);
  if (bad >= 0) return bad;
  const int64_t width = targets.S + 1;
  share(pool, shape.B, 1, [&](Chunks& chunks) {
    chunks.each([&](int64_t b) {
      align_one<R>(targets.labels + b * targets.S, targets.target_lengths[b], lengths[b], columns + b * shape.T * width,
                   width, norms + 2 * b, 2 * shape.B, shift, shape, targets.S, b, out);
    });
  });
  return -1;
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
