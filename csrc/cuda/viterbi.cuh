// Alignment: the best path through given targets.
//
// Sums are double over raw logits, as everywhere, so that ties break alike: of equally good predecessors the nearest
// state, of equally good ends the label.
#pragma once

#include "ctc.cuh"

namespace ctckit {
namespace cuda {

constexpr int kTrace = 64;           // frames that the trace back takes at a time
constexpr int kAlignThreads = 128;  // of a block whose first warp alone goes forward

// One pair a frame: how many states back the best path into it comes from, of the blank in bit 0, of the label above.
struct Best {
  double blank, label;
};

CTCKIT_DEVICE Best best_of(const Best& from, double before, bool may_skip, uint8_t& move) {
  Best to = from;
  unsigned blank = 0, label = 0;
  if (before > to.blank) {
    to.blank = before;
    blank = 1;
  }
  if (from.blank > to.label) {
    to.label = from.blank;
    label = 1;
  }
  if (may_skip && before > to.label) {
    to.label = before;
    label = 2;
  }
  move = static_cast<uint8_t>(blank | label << 1);
  return to;
}

// columns and norms are what gather_kernel left; scores is scratch [B, T], and moves [B, T, S + 1], or nullptr where a
// block's shared memory holds an utterance's.
template <class R>
struct Lattice {
  const R *norms, *columns;
  double* scores;
  uint8_t* moves;
  double shift;
};

// A block's shared memory: this, then the moves or else a window of them, then what the kernel wants.
struct Trace {
  double ends[2];  // best scores of the last blank and the last label
  double sums[32];
  int64_t state;
};

CTCKIT_METHOD inline int64_t trace_bytes(int64_t T, int64_t S, bool moves_in_shared) {
  const int64_t moves = moves_in_shared ? T * (S + 1) : kTrace * kTrace;
  return static_cast<int64_t>(sizeof(Trace)) + (moves + 15) / 16 * 16;
}

// Goes back some frames from the last of them, in `state`, writing states to path. `at` is the move of that frame and
// pair; the moves of the frame and of the pair before are frame_step and pair_step on.
CTCKIT_DEVICE int walk_back(const uint8_t* at, int frame_step, int pair_step, int64_t* path, int frames, int state) {
  for (int i = 0; i < frames; ++i) {
    put(path - i, int64_t{state});
    const int before = state - (*at >> (state & 1) & (state & 1 ? 3 : 1));
    at += frame_step + pair_step * ((state >> 1) - (before >> 1));
    state = before;
  }
  return state;
}

// From the best scores at the end to the result, by the whole block. One thread walks back, all do the rest. A path
// goes back one pair a frame at most, so of moves in global memory a window of kTrace frames and pairs is fetched at
// a time.
template <class R>
CTCKIT_DEVICE void trace_back(const Shape& shape, const Utterance& one, const Targets& targets,
                              const Lattice<R>& lattice, char* memory, const AlignmentOutput& out) {
  Trace& trace = *reinterpret_cast<Trace*>(memory);
  uint8_t* window = reinterpret_cast<uint8_t*>(memory + sizeof(Trace));
  const int64_t b = one.b, T = shape.T, S = targets.S, width = S + 1, length = one.length, U = one.labels;
  const int64_t* labels = targets.labels + b * S;
  int64_t *path = out.paths + b * T, *starts = out.starts + b * S, *ends = out.ends + b * S;
  R* scores = static_cast<R*>(out.scores) + b * S;
  R* utterance_score = static_cast<R*>(out.utterance_scores) + b;
  double* frame_scores = lattice.scores + b * T;

  const bool in_label = U > 0 && trace.ends[1] >= trace.ends[0];
  const double score = in_label ? trace.ends[1] : trace.ends[0];
  const bool found = score > -INFINITY;
  for (int64_t t = (found ? length : 0) + threadIdx.x; t < T; t += blockDim.x) put(path + t, int64_t{-1});
  for (int64_t u = (found ? U : 0) + threadIdx.x; u < S; u += blockDim.x) {
    put(starts + u, int64_t{-1});
    put(ends + u, int64_t{-1});
    put(scores + u, R(0));
  }
  if (!found) {
    if (threadIdx.x == 0) put(utterance_score, minus_infinity<R>());
    return;
  }

  int64_t state = in_label ? 2 * U - 1 : 2 * U;
  if (lattice.moves == nullptr) {
    if (threadIdx.x == 0 && length > 0) {
      walk_back(window + (length - 1) * width + state / 2, -static_cast<int>(width), -1, path + length - 1,
                static_cast<int>(length), static_cast<int>(state));
    }
    __syncthreads();
  }
  for (int64_t end = length; end > 0 && lattice.moves != nullptr; end -= kTrace) {
    const int64_t pair = state / 2;
    for (int64_t i = threadIdx.x; i < kTrace * kTrace; i += blockDim.x) {
      const int64_t t = end - 1 - i / kTrace, p = pair - i % kTrace;
      if (t >= 0 && p >= 0) window[i] = get(lattice.moves + (b * T + t) * width + p);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      trace.state = walk_back(window, kTrace, 1, path + end - 1, static_cast<int>(end < kTrace ? end : kTrace),
                              static_cast<int>(state));
    }
    __syncthreads();
    state = trace.state;
  }

  double log_norms = 0.0;
  for (int64_t t = threadIdx.x; t < length; t += blockDim.x) {
    const double log_norm = log_norm_of_frame(lattice.norms, shape, t, b, true);
    log_norms += log_norm;
    const int64_t s = get(path + t), u = s / 2;
    if (s % 2 == 0) continue;
    put(frame_scores + t, static_cast<double>(get(lattice.columns + (b * T + t) * width + u + 1)) - log_norm);
    if (t == 0 || get(path + t - 1) != s) put(starts + u, t);
    if (t + 1 == length || get(path + t + 1) != s) put(ends + u, t + 1);
  }
  log_norms = add_over_warp(log_norms);
  if (lane_of() == 0) trace.sums[threadIdx.x / kWarp] = log_norms;
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0.0;
    for (unsigned i = 0; i < blockDim.x / kWarp; ++i) sum += trace.sums[i];
    put(utterance_score, static_cast<R>(score - sum));
  }
  for (int64_t u = threadIdx.x; u < U; u += blockDim.x) {
    const int64_t begin = get(starts + u), end = get(ends + u);
    double sum = 0.0;
    for (int64_t t = begin; t < end; ++t) sum += get(frame_scores + t);
    put(scores + u, static_cast<R>(sum / static_cast<double>(end - begin)));
  }
  for (int64_t t = threadIdx.x; t < length; t += blockDim.x) {
    const int64_t s = get(path + t);
    put(path + t, s % 2 == 1 ? get(labels + s / 2) : kBlank);
  }
}

// A block an utterance; its first warp goes forward, Q pairs a lane in registers.
template <class R, int Q>
CTCKIT_BOUNDED(kAlignThreads) viterbi_warp_kernel(Shape shape, const int64_t* lengths, Targets targets,
                                                  Lattice<R> lattice, AlignmentOutput out, unsigned long long* fault) {
  CTCKIT_SHARED(memory);
  Trace& trace = *reinterpret_cast<Trace*>(memory);
  const Utterance one = utterance_of(shape, lengths, targets, threadIdx.x >= blockDim.x - kWarp, fault);
  if (threadIdx.x >= blockDim.x - kWarp) {
    const int64_t width = targets.S + 1;
    prefetch(lattice.columns + one.b * shape.T * width, one.length * width * static_cast<int64_t>(sizeof(R)),
             lane_of(), kWarp);
  }
  if (threadIdx.x < kWarp) {
    constexpr int ahead = kAhead<R, Q>;
    const int64_t S = targets.S, width = S + 1, begin = one.b * shape.T * width;
    const int lane = lane_of(), first = lane * Q;
    const Way way{true, one.length, one.labels};
    uint8_t* moves = (lattice.moves == nullptr ? reinterpret_cast<uint8_t*>(memory + sizeof(Trace))
                                               : lattice.moves + begin) + first;
    Best best[Q];
    bool skips[Q], has_label[Q], has_blank[Q];
    Reader<R, Q> reader;
    reader.row = lattice.columns + begin;
    reader.step = width;
    reader.left = one.length;
    CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
      best[q] = {first + q == 0 ? 0.0 : -INFINITY, -INFINITY};
      skips[q] = way.cap(targets.labels + one.b * S, first + q) > 0;
      has_label[q] = first + q < one.labels;
      has_blank[q] = first + q <= one.labels;
      reader.column[q] = has_label[q] ? 1 + first + q : 0;
    }
    R blank_ahead[ahead], label_ahead[ahead][Q];
    if (one.length > 0) {
      CTCKIT_UNROLL for (int k = 0; k < ahead; ++k) reader.read(blank_ahead[k], label_ahead[k]);
    }
    const auto advance = [&](int k) {
      double before = __shfl_up_sync(kAll, best[Q - 1].label, 1);
      if (lane == 0) before = -INFINITY;
      const double z_blank = static_cast<double>(blank_ahead[k]) + lattice.shift;
      CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
        uint8_t move;
        const Best to = best_of(best[q], before, skips[q], move);
        before = best[q].label;
        const R z = has_label[q] ? label_ahead[k][q] : minus_infinity<R>();
        best[q] = {to.blank + z_blank, to.label + static_cast<double>(z)};
        if (has_blank[q]) moves[q] = move;
      }
      moves += width;
    };
    int32_t base = 0;
    for (; base + ahead <= one.length; base += ahead) {
      CTCKIT_UNROLL for (int k = 0; k < ahead; ++k) {
        advance(k);
        reader.read(blank_ahead[k], label_ahead[k]);
      }
    }
    CTCKIT_UNROLL for (int k = 0; k < ahead - 1; ++k) {
      if (base + k < one.length) advance(k);
    }
    CTCKIT_UNROLL for (int q = 0; q < Q; ++q) {
      if (first + q == one.labels) trace.ends[0] = best[q].blank;
      if (first + q == one.labels - 1) trace.ends[1] = best[q].label;
    }
  }
  __syncthreads();
  trace_back(shape, one, targets, lattice, memory, out);
}

// Two frames of pairs, one before the first.
CTCKIT_METHOD inline int64_t viterbi_wide_bytes(int64_t S) { return 2 * (S + 2) * static_cast<int64_t>(sizeof(Best)); }

// The same for any number of labels: states in memory, shared from `traced` on or a part of `states`, and a barrier a
// frame.
template <class R>
CTCKIT_BOUNDED(2 * kWideHalf) viterbi_wide_kernel(Shape shape, const int64_t* lengths, Targets targets,
                                                  Lattice<R> lattice, AlignmentOutput out, int64_t traced, char* states,
                                                  unsigned long long* fault) {
  CTCKIT_SHARED(memory);
  Trace& trace = *reinterpret_cast<Trace*>(memory);
  const Utterance one = utterance_of(shape, lengths, targets, threadIdx.x < kWarp, fault);
  const int64_t S = targets.S, width = S + 1, size = S + 2;
  const Way way{true, one.length, one.labels};
  Best* best = reinterpret_cast<Best*>(states == nullptr ? memory + traced : states + one.b * viterbi_wide_bytes(S));
  uint8_t* moves = lattice.moves == nullptr ? reinterpret_cast<uint8_t*>(memory + sizeof(Trace))
                                            : lattice.moves + one.b * shape.T * width;
  prefetch(lattice.columns + one.b * shape.T * width, one.length * width * static_cast<int64_t>(sizeof(R)), threadIdx.x,
           blockDim.x);
  for (int64_t i = threadIdx.x; i < 2 * size; i += blockDim.x) {
    best[i] = {i == size + 1 ? 0.0 : -INFINITY, -INFINITY};  // buffer 1 is the frame before the first
  }
  __syncthreads();
  for (int32_t t = 0; t < one.length; ++t) {
    const Best* from = best + (t + 1) % 2 * size + 1;
    Best* to = best + t % 2 * size + 1;
    const int64_t row = (one.b * shape.T + t) * width;
    const double z_blank = static_cast<double>(get(lattice.columns + row)) + lattice.shift;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i <= one.labels; i += static_cast<int32_t>(blockDim.x)) {
      const bool may_skip = way.cap(targets.labels + one.b * S, i) > 0;
      uint8_t move;
      Best here = best_of(from[i], from[i - 1].label, may_skip, move);
      here.blank += z_blank;
      if (i < one.labels) here.label += static_cast<double>(get(lattice.columns + row + 1 + i));
      if (i == one.labels) here.label = -INFINITY;
      to[i] = here;
      moves[t * width + i] = move;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    const Best* last = best + (one.length + 1) % 2 * size + 1;
    trace.ends[0] = last[one.labels].blank;
    trace.ends[1] = one.labels > 0 ? last[one.labels - 1].label : -INFINITY;
  }
  __syncthreads();
  trace_back(shape, one, targets, lattice, memory, out);
}

}  // namespace cuda
}  // namespace ctckit
