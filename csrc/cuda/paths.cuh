// Statistics, greedy decoding, log-softmax, sweeps.
#pragma once

#include "rows.cuh"

namespace ctckit {
namespace cuda {

// Writes the statistics of a frame; `empty_row` is that of padding.
template <class R>
CTCKIT_DEVICE void put_stats(const StatsOutput& stats, int64_t at, const Reduced<R>& row) {
  const bool empty = row.best_logit == minus_infinity<R>();
  const R log_total = empty ? R(0) : log_of(row.total);
  put(stats.best + at, static_cast<int64_t>(row.best));
  put(static_cast<R*>(stats.best_logit) + at, row.best_logit);
  put(static_cast<R*>(stats.logsumexp) + at, row.best_logit + log_total);
  put(static_cast<R*>(stats.blank_logit) + at, row.blank);
  if (stats.entropy == nullptr) return;
  const R entropy = empty ? R(0) : log_total - row.moment / row.total;
  put(static_cast<R*>(stats.entropy) + at, larger_of(R(0), entropy));
}

template <class R>
CTCKIT_DEVICE Reduced<R> empty_row() {
  return {minus_infinity<R>(), R(0), R(0), R(0), 0};
}

// A warp a frame.
template <class T>
CTCKIT_KERNEL frame_stats_kernel(View logits, Shape shape, const int64_t* lengths, StatsOutput stats,
                                 unsigned long long* fault) {
  using R = Working<T>;
  const int64_t at = warp_of(), t = at / shape.B, b = at % shape.B;
  if (t > shape.T || (t == shape.T && t > 0)) return;  // without frames there are still lengths to check
  const int64_t length = length_of(lengths, b, shape.T, Fault::kLengths, t == 0 && lane_of() == 0, fault);
  if (t == shape.T) return;
  Reduced<R> row = empty_row<R>();
  if (t < length) {
    row = reduce_row<T, false>(address<const T>(logits, t, b), shape.C, logits.stride_c);
    if (lane_of() == 0 && !(row.total < INFINITY && row.blank < INFINITY)) note(fault, Fault::kLogits, b * shape.T + t);
  }
  if (lane_of() == 0) put_stats(stats, at, row);
}

template <class R>
struct alignas(2 * sizeof(R)) Step {
  R score;
  int32_t label;
};

// A warp a frame: a step of the path for each frame within a length, statistics and log-probabilities if asked for.
template <class T, bool kStats>
CTCKIT_KERNEL log_softmax_kernel(View logits, Shape shape, const int64_t* lengths, double shift, View log_probs,
                                 Step<Working<T>>* steps, StatsOutput stats, unsigned long long* fault) {
  using R = Working<T>;
  const int64_t at = warp_of(), t = at / shape.B, b = at % shape.B;
  if (at >= shape.T * shape.B) return;
  const bool alive = steps == nullptr || t < get(lengths + b);
  if (kStats && !alive && lane_of() == 0) put_stats(stats, at, empty_row<R>());
  if (!alive && log_probs.data == nullptr) return;
  const T* from = address<const T>(logits, t, b);
  const R row_shift = static_cast<R>(shift);
  const Reduced<R> row = reduce_row<T, kStats>(from, shape.C, logits.stride_c);
  const Norm<R> norm = normalise(row, row_shift);
  const R log_total = norm.total == 0 ? R(0) : log_of(norm.total);
  if (alive && lane_of() == 0) {
    if (!(norm.total < INFINITY)) note(fault, Fault::kLogits, b * shape.T + t);
    if (kStats) put_stats(stats, at, row);
    if (steps != nullptr) {
      const bool blank = static_cast<double>(row.blank) + shift >= static_cast<double>(row.best_logit);
      const R chosen = blank ? row.blank + row_shift : row.best_logit;
      put(steps + b * shape.T + t,
          Step<R>{(chosen - norm.top) - log_total, blank ? static_cast<int32_t>(kBlank) : row.best});
    }
  }
  if (log_probs.data == nullptr) return;
  T* to = address<T>(log_probs, t, b);
  const auto log_prob = [&](R x, bool blank) { return ((blank ? x + row_shift : x) - norm.top) - log_total; };
  const bool packs = logits.stride_c == 1 && log_probs.stride_c == 1 &&
                     reinterpret_cast<uintptr_t>(from) % 16 == reinterpret_cast<uintptr_t>(to) % 16;
  for_row(
      from, shape.C, logits.stride_c,
      [&](R x, int64_t c) {
        T value;
        narrow(log_prob(x, c == kBlank), value);
        put(to + c * log_probs.stride_c, value);
      },
      [&](const Pack<T>(&logits_of)[kTogether], int64_t first, int count) {
        CTCKIT_UNROLL for (int k = 0; k < kTogether; ++k) {
          if (k >= count) return;
          const int64_t begin = first + k * kWarp * kPack<T>;
          Pack<T> out;
          for (int i = 0; i < kPack<T>; ++i) {
            narrow(log_prob(widen(logits_of[k].v[i]), k == 0 && i == 0 && first == kBlank), out.v[i]);
          }
          if (packs) {
            put_pack(to + begin, out);
          } else {
            for (int i = 0; i < kPack<T>; ++i) put(to + (begin + i) * log_probs.stride_c, out.v[i]);
          }
        }
      });
}

// A warp a frame.
template <class T>
CTCKIT_KERNEL log_softmax_backward_kernel(View grad, View log_probs, Shape shape, View out) {
  using R = Working<T>;
  const int64_t at = warp_of(), t = at / shape.B, b = at % shape.B;
  if (at >= shape.T * shape.B) return;
  const T* g = address<const T>(grad, t, b);
  const T* log_p = address<const T>(log_probs, t, b);
  T* to = address<T>(out, t, b);
  R sum = 0;
  for_row(
      g, shape.C, grad.stride_c, [&](R x, int64_t) { sum += x; },
      [&](const Pack<T>(&packs)[kTogether], int64_t, int count) {
        CTCKIT_UNROLL for (int k = 0; k < kTogether; ++k) {
          for (int i = 0; i < kPack<T> && k < count; ++i) sum += widen(packs[k].v[i]);
        }
      });
  for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAll, sum, offset);
  for (int64_t c = lane_of(); c < shape.C; c += kWarp) {
    T value;
    narrow(widen(get(g + c * grad.stride_c)) - exp_of(widen(get(log_p + c * log_probs.stride_c))) * sum, value);
    put(to + c * out.stride_c, value);
  }
}

constexpr int kWalkThreads = 256;
constexpr int kWalkWarps = kWalkThreads / kWarp;

// Where tokens begin: a block walks an utterance, a frame a thread, kWalkThreads a round. label(t) is the class of
// frame t. counts is shared memory for two rounds' counts of each warp.
template <class Label, class Begin>
CTCKIT_DEVICE int64_t walk(int64_t length, int* counts, const Label& label, const Begin& begin) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  int64_t count = 0;
  for (int64_t round = 0; round * kWalkThreads < length; ++round) {
    const int64_t t = round * kWalkThreads + threadIdx.x;
    const int64_t here = t < length ? label(t) : kBlank;
    const int64_t before = t > 0 && t < length ? label(t - 1) : kBlank;
    const unsigned begins = __ballot_sync(kAll, here != kBlank && here != before);
    int* of_warp = counts + round % 2 * kWalkWarps;
    if (lane_of() == 0) of_warp[warp] = __popc(begins);
    __syncthreads();  // the counts of the round before are free again after this
    int64_t at = count + __popc(begins & ((1u << lane_of()) - 1u));
    for (int w = 0; w < kWalkWarps; ++w) {
      if (w < warp) at += of_warp[w];
      count += of_warp[w];
    }
    if (begins >> lane_of() & 1u) begin(at, t, here);
  }
  return count;
}

// A block an utterance. The thread that meets a token's first frame follows the token to its end.
template <class R>
CTCKIT_BOUNDED(kWalkThreads) collapse_kernel(Shape shape, const int64_t* lengths, const Step<R>* steps, PathOutput out,
                                             unsigned long long* fault) {
  CTCKIT_SHARED(memory);
  double* sums = reinterpret_cast<double*>(memory);
  const int64_t b = blockIdx.x, row = b * shape.T;
  const int64_t length = length_of(lengths, b, shape.T, Fault::kLengths, threadIdx.x == 0, fault);
  const Step<R>* mine = steps + row;
  R* scores = static_cast<R*>(out.scores) + row;
  double total = 0;
  for (int64_t t = threadIdx.x; t < length; t += kWalkThreads) total += get(&mine[t].score);
  for (int offset = kWarp / 2; offset > 0; offset /= 2) total += __shfl_xor_sync(kAll, total, offset);
  if (lane_of() == 0) sums[threadIdx.x / kWarp] = total;
  const int64_t count = walk(
      length, reinterpret_cast<int*>(sums + kWalkWarps), [&](int64_t t) -> int64_t { return get(&mine[t].label); },
      [&](int64_t i, int64_t t, int64_t label) {
        double sum = 0;
        int64_t end = t;
        for (; end < length; ++end) {
          const Step<R> step = get(mine + end);
          if (step.label != label) break;
          sum += step.score;
        }
        put(out.tokens + row + i, label);
        put(out.starts + row + i, t);
        put(out.ends + row + i, end);
        put(scores + i, static_cast<R>(sum / static_cast<double>(end - t)));
      });
  for (int64_t i = count + threadIdx.x; i < shape.T; i += kWalkThreads) {
    put(out.tokens + row + i, int64_t{-1});
    put(out.starts + row + i, int64_t{-1});
    put(out.ends + row + i, int64_t{-1});
    put(scores + i, R(0));
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  total = 0;
  for (int w = 0; w < kWalkWarps; ++w) total += sums[w];
  put(out.counts + b, count);
  put(static_cast<R*>(out.utterance_scores) + b, static_cast<R>(total));
}

// A block an utterance and shift.
template <class R>
CTCKIT_BOUNDED(kWalkThreads) sweep_kernel(Shape shape, const int64_t* best, const R* best_logit, const R* blank_logit,
                                          const int64_t* lengths, const double* shifts, int64_t* tokens,
                                          int64_t* counts, unsigned long long* fault) {
  CTCKIT_SHARED(memory);
  const int64_t at = blockIdx.x, k = at / shape.B, b = at % shape.B;
  const double shift = get(shifts + k);
  int64_t* out = tokens + at * shape.T;
  const int64_t count = walk(
      length_of(lengths, b, shape.T, Fault::kLengths, k == 0 && threadIdx.x == 0, fault),
      reinterpret_cast<int*>(memory),
      [&](int64_t t) -> int64_t {
        const int64_t frame = t * shape.B + b;
        const bool blank =
            static_cast<double>(get(blank_logit + frame)) + shift >= static_cast<double>(get(best_logit + frame));
        return blank ? kBlank : get(best + frame);
      },
      [&](int64_t i, int64_t, int64_t label) { put(out + i, label); });
  for (int64_t i = count + threadIdx.x; i < shape.T; i += kWalkThreads) put(out + i, int64_t{-1});
  if (threadIdx.x == 0) put(counts + at, count);
}

}  // namespace cuda
}  // namespace ctckit
