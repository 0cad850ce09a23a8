// Greedy decoding, log-softmax, frame statistics and sweeps: everything that is one pass over rows.
#pragma once

#include "rows.h"

namespace ctckit {
namespace CTCKIT_ISA {

// Writes the statistics of frames, a row of the order at a time.
template <class T>
class StatsWriter {
  using R = Working<T>;

 public:
  explicit StatsWriter(const StatsOutput& out)
      : best_(out.best),
        best_logit_(static_cast<R*>(out.best_logit)),
        logsumexp_(static_cast<R*>(out.logsumexp)),
        blank_logit_(static_cast<R*>(out.blank_logit)),
        entropy_(static_cast<R*>(out.entropy)) {}

  void frame(int64_t at, const Reduced<R>& reduced, int64_t best) const {
    best_[at] = best;
    best_logit_[at] = reduced.empty ? -kInfinity<R> : reduced.best_logit;
    logsumexp_[at] = reduced.empty ? -kInfinity<R> : reduced.best_logit + log_one(reduced.total);
    blank_logit_[at] = reduced.blank;
    if (entropy_) entropy_[at] = reduced.entropy();
  }
  void padding(int64_t at) const {
    best_[at] = 0;
    best_logit_[at] = logsumexp_[at] = -kInfinity<R>;
    blank_logit_[at] = 0;
    if (entropy_) entropy_[at] = 0;
  }

 private:
  int64_t* best_;
  R *best_logit_, *logsumexp_, *blank_logit_, *entropy_;
};

template <class T>
int64_t frame_stats(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths,
                    const StatsOutput& stats) {
  using R = Working<T>;
  const StatsWriter<T> out(stats);
  const Order order(logits, shape);
  FirstBad bad;
  share(pool, order.size(), rows_to_read(pool, order), [&](Chunks& chunks) {
    RowReader<T> rows(logits, shape.C, order);
    order.each(chunks, [&](int64_t t, int64_t b) {
      const int64_t at = t * shape.B + b;
      if (t >= lengths[b]) {
        out.padding(at);
        return;
      }
      const T* row = rows.row(t, b);
      const Reduced<R> reduced = reduce_row(row, shape.C, row + order.ahead);
      if (!(reduced.total + (reduced.blank < kInfinity<R> ? R(0) : kInfinity<R>) < kInfinity<R>)) {
        bad.note(b * shape.T + t);
        return;
      }
      out.frame(at, reduced, reduced.empty ? 1 : find_class(row, shape.C, reduced.best_logit));
    });
  });
  return bad.get();
}

// A frame's part of a greedy path.
template <class R>
struct Step {
  int32_t label;
  R score;
};

// The comparison is made in double, where adding a shift to a float rounds nothing that matters.
template <class R>
CTCKIT_INLINE bool blank_wins(R best_logit, R blank_logit, double shift) {
  return static_cast<double>(blank_logit) + shift >= static_cast<double>(best_logit);
}

// Turns one utterance's steps into tokens, spans and scores.
template <class R>
void collapse(const Step<R>* steps, int64_t length, int64_t T, int64_t b, const PathOutput& out) {
  int64_t* tokens = out.tokens + b * T;
  int64_t* starts = out.starts + b * T;
  int64_t* ends = out.ends + b * T;
  R* scores = static_cast<R*>(out.scores) + b * T;
  int64_t count = 0;
  int32_t previous = kBlank;
  double total = 0, run = 0;
  for (int64_t t = 0; t < length; ++t) {
    const int32_t label = steps[t].label;
    total += steps[t].score;
    if (label != previous) {
      if (previous != kBlank) {
        ends[count - 1] = t;
        scores[count - 1] = static_cast<R>(run / (t - starts[count - 1]));
      }
      if (label != kBlank) {
        tokens[count] = label;
        starts[count++] = t;
        run = 0;
      }
      previous = label;
    }
    run += steps[t].score;
  }
  if (previous != kBlank) {
    ends[count - 1] = length;
    scores[count - 1] = static_cast<R>(run / (length - starts[count - 1]));
  }
  for (int64_t i = count; i < T; ++i) tokens[i] = starts[i] = ends[i] = -1;
  for (int64_t i = count; i < T; ++i) scores[i] = 0;
  out.counts[b] = count;
  static_cast<R*>(out.utterance_scores)[b] = static_cast<R>(total);
}

template <class T>
CTCKIT_INLINE void write_log_probs(const T* row, int64_t C, const Norm<Working<T>>& norm, Working<T> log_total,
                                   Working<T> shift, T* out) {
  using R = Working<T>;
  constexpr int64_t W = kLanes<R>;
  const Vec<R> top = splat(norm.top), log_sum = splat(log_total);
  int64_t c = 0;
  for (; c + W <= C; c += W) store(out + c, (load(row + c) - top) - log_sum);
  if (c < C && C >= W) {
    store(out + C - W, (load(row + C - W) - top) - log_sum);
  } else {
    for (; c < C; ++c) store_one(out + c, (load_one(row + c) - norm.top) - log_total);
  }
  store_one(out, (load_one(row) + shift - norm.top) - log_total);
}

template <class T, bool kStats>
int64_t log_softmax(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths, double shift,
                    const View* log_probs, const PathOutput* path, const StatsOutput& stats) {
  using R = Working<T>;
  const StatsWriter<T> statistics(stats);
  const Order order(logits, shape);
  const R row_shift = static_cast<R>(shift);
  FirstBad bad;
  const Scratch<Step<R>> steps(path ? order.size() : 0);
  const int64_t rows_a_chunk = log_probs ? rows_to_write<T>(pool, order, shape.C) : rows_to_read(pool, order);
  share(pool, order.size(), rows_a_chunk, [&](Chunks& chunks) {
    RowReader<T> rows(logits, shape.C, order);
    const View nothing{};
    RowWriter<T> writer(log_probs ? *log_probs : nothing, log_probs ? shape.C : 0, order);
    order.each(chunks, [&](int64_t t, int64_t b) {
      const bool alive = !path || t < lengths[b];
      if (kStats && !alive) statistics.padding(t * shape.B + b);
      if (!alive && !log_probs) return;
      const T* row = rows.row(t, b);
      const Reduced<R> reduced = reduce_row<T, kStats>(row, shape.C, row + order.ahead);
      const Norm<R> norm = normalise(reduced, row_shift);
      if (alive && !(norm.total < kInfinity<R>)) {
        bad.note(b * shape.T + t);
        return;
      }
      const R log_total = norm.total == 0 ? R(0) : log_one(norm.total);  // a row of -inf stays -inf
      if (path && alive) {
        const bool blank = reduced.empty || blank_wins(reduced.best_logit, reduced.blank, shift);
        const R chosen = blank ? reduced.blank + row_shift : reduced.best_logit;
        const int64_t best = blank && !kStats   ? kBlank
                             : reduced.empty ? 1
                                             : find_class(row, shape.C, reduced.best_logit);
        steps[b * shape.T + t] = {static_cast<int32_t>(blank ? kBlank : best), (chosen - norm.top) - log_total};
        if (kStats) statistics.frame(t * shape.B + b, reduced, best);
      }
      if (log_probs) {
        write_log_probs(row, shape.C, norm, log_total, row_shift, writer.row(t, b));
        writer.done();
      }
    });
  });
  if (bad.get() >= 0 || !path) return bad.get();
  // Utterances of a few thousand frames a chunk: waking a thread for less does not pay.
  share(pool, shape.B, 1 + 4096 / (1 + shape.T), [&](Chunks& chunks) {
    chunks.each([&](int64_t b) { collapse(steps.get() + b * shape.T, lengths[b], shape.T, b, *path); });
  });
  return -1;
}

template <class T>
void log_softmax_backward(const Pool& pool, const View& grad, const View& log_probs, const Shape& shape,
                          const View& out) {
  using R = Working<T>;
  constexpr int64_t W = kLanes<R>;
  const Order order(out, shape);
  share(pool, order.size(), rows_to_write<T>(pool, order, shape.C), [&](Chunks& chunks) {
    RowReader<T> grads(grad, shape.C, order);
    RowReader<T> logs(log_probs, shape.C, order);
    RowWriter<T> writer(out, shape.C, order);
    order.each(chunks, [&](int64_t t, int64_t b) {
      const T* g = grads.row(t, b);
      const T* log_p = logs.row(t, b);
      T* to = writer.row(t, b);
      Vec<R> sums{};
      for_vectors(g, shape.C, R(0), [&](Vec<R> v, int64_t) { sums += v; });
      const R sum = reduce<R, W>(sums, Add());
      int64_t c = 0;
      for (; c + W <= shape.C; c += W) store(to + c, load(g + c) - exp_nonpositive(load(log_p + c)) * sum);
      for (; c < shape.C; ++c) store_one(to + c, load_one(g + c) - exp_one(load_one(log_p + c)) * sum);
      writer.done();
    });
  });
}

template <class R>
void sweep(const Pool& pool, const Shape& shape, const int64_t* best, const R* best_logit, const R* blank_logit,
           const int64_t* lengths, const double* shifts, int64_t K, int64_t* tokens, int64_t* counts) {
  const int64_t T = shape.T, B = shape.B;
  // Transposed once, for rows of frames; a task is then a shift, whose output is contiguous.
  const Scratch<int64_t> labels(B * T);
  const Scratch<double> best_of(B * T), blank_of(B * T);
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t t = 0; t < lengths[b]; ++t) {
      labels[b * T + t] = best[t * B + b];
      best_of[b * T + t] = best_logit[t * B + b];
      blank_of[b * T + t] = blank_logit[t * B + b];
    }
  }
  // A million steps a chunk: below that a second thread costs more, in fresh pages that both touch, than it saves.
  share(pool, K, larger<int64_t>(1, (1 << 20) / (1 + B * T)), [&](Chunks& chunks) {
    const Scratch<int64_t> path(T);
    chunks.each([&](int64_t k) {
      const double shift = shifts[k];
      for (int64_t b = 0; b < B; ++b) {
        const int64_t length = lengths[b], from = b * T;
        for (int64_t t = 0; t < length; ++t) {
          path[t] = blank_of[from + t] + shift >= best_of[from + t] ? kBlank : labels[from + t];
        }
        // Every step writes; only the steps that begin a token move on. No branch to mispredict.
        int64_t* out = tokens + (k * B + b) * T;
        int64_t count = 0, previous = kBlank;
        for (int64_t t = 0; t < length; ++t) {
          const int64_t label = path[t];
          out[count] = label;
          count += (label != kBlank) & (label != previous);
          previous = label;
        }
        for (int64_t t = count; t < T; ++t) out[t] = -1;
        counts[k * B + b] = count;
      }
    });
  });
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
