// Alignment: the best path through given targets.
#pragma once

#include "rows.cuh"

namespace ctckit {
namespace cuda {

CTCKIT_METHOD inline int64_t viterbi_shared_bytes(int64_t S) { return 8 * 2 * (2 * S + 3); }

// A block an utterance, a state a thread. Sums are double over raw logits, as everywhere, so that ties break alike:
// of equally good predecessors the nearest state, of equally good ends the label. moves is scratch [B, T, 2S + 1].
template <class R>
CTCKIT_KERNEL viterbi_kernel(Shape shape, const int64_t* lengths, Targets targets, double shift, const R* norms,
                             const R* columns, uint8_t* moves, AlignmentOutput out) {
  CTCKIT_SHARED(memory);
  const int64_t b = blockIdx.x, T = shape.T, S = targets.S, width = S + 1, most = 2 * S + 1, frame = most + 2;
  const int64_t length = get(lengths + b), U = get(targets.target_lengths + b), states = 2 * U + 1;
  const int64_t* labels = targets.labels + b * S;
  const R* mine = columns + b * T * width;
  uint8_t* my_moves = moves + b * T * most;
  double* best = reinterpret_cast<double*>(memory);
  int64_t* path = out.paths + b * T;
  R* scores = static_cast<R*>(out.scores) + b * S;

  for (int64_t i = threadIdx.x; i < 2 * frame; i += blockDim.x) best[i] = -INFINITY;
  for (int64_t t = threadIdx.x; t < T; t += blockDim.x) put(path + t, int64_t{-1});
  for (int64_t u = threadIdx.x; u < S; u += blockDim.x) {
    put(out.starts + b * S + u, int64_t{-1});
    put(out.ends + b * S + u, int64_t{-1});
    put(scores + u, R(0));
  }
  __syncthreads();
  if (threadIdx.x == 0) best[frame + 2] = 0.0;  // buffer 1 is the frame before the first
  __syncthreads();
  for (int64_t t = 0; t < length; ++t) {
    const double* from = best + (t + 1) % 2 * frame + 2;
    double* to = best + t % 2 * frame + 2;
    for (int64_t s = threadIdx.x; s < states; s += blockDim.x) {
      double score = from[s];
      uint8_t move = 0;
      if (from[s - 1] > score) {
        score = from[s - 1];
        move = 1;
      }
      if (s % 2 == 1 && s >= 3 && get(labels + s / 2) != get(labels + s / 2 - 1) && from[s - 2] > score) {
        score = from[s - 2];
        move = 2;
      }
      const double z = get(mine + t * width + (s % 2 == 0 ? 0 : (s + 1) / 2));
      to[s] = score + (s % 2 == 0 ? z + shift : z);
      put(my_moves + t * most + s, move);
    }
    __syncthreads();
  }

  if (threadIdx.x != 0) return;
  const double* last = best + (length + 1) % 2 * frame + 2;
  int64_t state = states - 1;
  double score = last[state];
  if (U > 0 && last[state - 1] >= score) score = last[--state];
  R* utterance_score = static_cast<R*>(out.utterance_scores) + b;
  if (!(score > -INFINITY)) {
    put(utterance_score, minus_infinity<R>());
    return;
  }
  double log_norms = 0.0, run = 0.0;
  int64_t end = length;
  for (int64_t t = length - 1; t >= 0; --t) {
    const R* norm = norms + 2 * (t * shape.B + b);
    const double log_norm = static_cast<double>(get(norm)) - log(static_cast<double>(get(norm + 1)));
    log_norms += log_norm;
    const int64_t before = state - get(my_moves + t * most + state), u = state / 2;
    put(path + t, state % 2 == 1 ? get(labels + u) : kBlank);
    if (state % 2 == 1) {
      run += static_cast<double>(get(mine + t * width + u + 1)) - log_norm;
      if (before != state || t == 0) {
        put(out.starts + b * S + u, t);
        put(out.ends + b * S + u, end);
        put(scores + u, static_cast<R>(run / static_cast<double>(end - t)));
      }
    }
    if (before != state) {
      run = 0.0;
      end = t;
    }
    state = before;
  }
  put(utterance_score, static_cast<R>(score - log_norms));
}

}  // namespace cuda
}  // namespace ctckit
