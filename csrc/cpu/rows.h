// Rows: finding them in a strided tensor, sharing them among threads, and reducing one.
#pragma once

#include <math.h>

#include <atomic>
#include <new>

#include "kernels.h"
#include "simd.h"
#include "tiles.h"

namespace ctckit {
namespace CTCKIT_ISA {

template <class R>
CTCKIT_INLINE R larger(R a, R b) {
  return a > b ? a : b;
}
CTCKIT_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Chunks of [0, total), for whichever thread asks next: rows beyond a length cost nothing, so equal shares would
// not be equal work. Which thread computes a chunk never changes a result.
class Chunks {
 public:
  Chunks(int64_t total, int64_t size) : total_(total), size_(size) {}
  bool next(int64_t& begin, int64_t& end) {
    begin = taken_.fetch_add(size_, std::memory_order_relaxed);
    end = smaller(begin + size_, total_);
    return begin < total_;
  }
  // Calls f(i) for every i of every chunk that this thread gets.
  template <class F>
  CTCKIT_INLINE void each(const F& f) {
    for (int64_t begin, end; next(begin, end);) {
      for (int64_t i = begin; i < end; ++i) f(i);
    }
  }
  int64_t count() const { return (total_ + size_ - 1) / size_; }

 private:
  std::atomic<int64_t> taken_{0};
  const int64_t total_, size_;
};

// Runs worker(chunks) on as many threads as there is work for; a worker sets up its scratch once and then takes
// chunks until there are none.
template <class Worker>
void share(const Pool& pool, int64_t total, int64_t size, const Worker& worker) {
  struct Shared {
    Chunks chunks;
    const Worker& worker;
  } shared{{total, size}, worker};
  const int64_t workers = smaller(pool.threads, shared.chunks.count());
  if (workers <= 1) {
    worker(shared.chunks);
    return;
  }
  pool.run(
      workers,
      [](int64_t begin, int64_t end, void* context) {
        auto& work = *static_cast<Shared*>(context);
        if (begin < end) work.worker(work.chunks);
      },
      &shared);
}

// Frames in the order of memory. `ahead` is the way to the row after next, to be asked for meanwhile: a row is worked
// off faster than memory answers.
struct Order {
  int64_t T, B, ahead;
  bool batch_first;

  Order(const View& view, const Shape& shape) : T(shape.T), B(shape.B), batch_first(view.stride_b > view.stride_t) {
    ahead = view.stride_c != 1 ? 0 : 2 * (batch_first ? view.stride_t : view.stride_b);
  }
  int64_t size() const { return T * B; }

  // Calls f(t, b) for every frame that the chunks hold.
  template <class F>
  CTCKIT_INLINE void each(Chunks& chunks, const F& f) const {
    for (int64_t begin, end; chunks.next(begin, end);) {
      const int64_t inner = batch_first ? T : B;
      int64_t outer = begin / inner, within = begin % inner;
      for (int64_t i = begin; i < end; ++i) {
        batch_first ? f(within, outer) : f(outer, within);
        if (++within == inner) {
          within = 0;
          ++outer;
        }
      }
    }
  }
};

// Rows a chunk: enough to amortise the counter and to keep prefetched rows with their thread, few enough to balance.
CTCKIT_INLINE int64_t rows_per_chunk(const Pool& pool, const Order& order, int64_t most) {
  return larger<int64_t>(16, smaller(most, order.size() / (4 * pool.threads)));
}
CTCKIT_INLINE int64_t rows_to_read(const Pool& pool, const Order& order) { return rows_per_chunk(pool, order, 64); }
// Up to a huge page of output: two threads that touch the same fresh one at once both clear it, one in vain.
template <class T>
int64_t rows_to_write(const Pool& pool, const Order& order, int64_t C) {
  return rows_per_chunk(pool, order, (int64_t{1} << 21) / (C * static_cast<int64_t>(sizeof(T))));
}

// Owns a scratch array; std::vector is not for these translation units.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t size) : data_(static_cast<T*>(::operator new(sizeof(T) * (size + 1), kAlignment))) {}
  ~Scratch() { ::operator delete(data_, kAlignment); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_;
};

// A scratch array that its thread keeps for the next one, up to a size: fresh memory costs more than the dynamic
// programme on it.
template <class T>
class Reused {
 public:
  explicit Reused(int64_t size) : block_{nullptr, sizeof(T) * (size + 1)} {
    Block& kept = mine().block;
    if (kept.size >= block_.size) {
      block_ = kept;
      kept = {nullptr, 0};
    } else {
      block_.data = ::operator new(block_.size, kAlignment);
    }
  }
  ~Reused() {
    Block& kept = mine().block;
    if (block_.size > kept.size && block_.size <= kMost) {
      const Block smaller = kept;
      kept = block_;
      block_ = smaller;
    }
    ::operator delete(block_.data, kAlignment);
  }
  Reused(const Reused&) = delete;
  Reused& operator=(const Reused&) = delete;
  T* get() const { return static_cast<T*>(block_.data); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  static constexpr size_t kMost = size_t{1} << 25;
  struct Block {
    void* data;
    size_t size;
  };
  struct Owner {
    Block block{nullptr, 0};
    ~Owner() { ::operator delete(block.data, kAlignment); }
  };
  static Owner& mine() {
    static thread_local Owner owner;
    return owner;
  }

  Block block_;
};

template <class T>
T* address(const View& view, int64_t t, int64_t b) {
  return static_cast<T*>(view.data) + t * view.stride_t + b * view.stride_b;
}

// Rows whose classes are strided, copied: a tile at once where the rows of an order are adjacent, else row by row.
template <class T>
class Copies {
 protected:
  Copies(const View& view, int64_t C, const Order& order)
      : view_(view),
        C_(C),
        in_place_(view.stride_c == 1),
        batch_first_(order.batch_first),
        rows_(batch_first_ ? order.T : order.B),
        tile_((batch_first_ ? view.stride_t : view.stride_b) == 1 ? smaller(rows_, kTileRows) : 1),
        stride_(C + 16),  // no multiple of a page, whose rows would compete for the same places in cache
        copy_(in_place_ ? 0 : tile_ * stride_) {}

  T* at(int64_t row, int64_t outer) const {
    return batch_first_ ? address<T>(view_, row, outer) : address<T>(view_, outer, row);
  }

  const View& view_;
  const int64_t C_;
  const bool in_place_, batch_first_;
  const int64_t rows_;  // how many there are of the order's inner dimension
  const int64_t tile_;  // how many are copied at once
  const int64_t stride_;
  Scratch<T> copy_;
  int64_t first_ = 0, outer_ = -1;  // which rows the tile has
};

// Hands out rows with unit stride: in place where they have it, else copied.
template <class T>
class RowReader : Copies<T> {
 public:
  RowReader(const View& view, int64_t C, const Order& order) : Copies<T>(view, C, order) {}

  const T* row(int64_t t, int64_t b) {
    if (this->in_place_) return address<const T>(this->view_, t, b);
    const int64_t row = this->batch_first_ ? t : b, outer = this->batch_first_ ? b : t;
    T* copy = this->copy_.get();
    if (outer != this->outer_ || row < this->first_ || row >= this->first_ + held_) {
      this->outer_ = outer;
      // Near the end a few rows again, so that there is a whole vector of them.
      this->first_ = smaller(row, larger<int64_t>(0, this->rows_ - smaller(this->tile_, kTileVector<T>)));
      held_ = smaller(this->tile_, this->rows_ - this->first_);
      transpose_tile<true>(copy, this->stride_, held_, static_cast<const T*>(this->at(this->first_, outer)),
                           this->view_.stride_c, this->C_);
    }
    return copy + (row - this->first_) * this->stride_;
  }

 private:
  int64_t held_ = 0;
};

// The reverse: rows to write, in place or through copies that go out a tile at once; the last when it is destroyed.
template <class T>
class RowWriter : Copies<T> {
 public:
  RowWriter(const View& view, int64_t C, const Order& order) : Copies<T>(view, C, order) {}
  ~RowWriter() { flush(); }

  // To be followed by done().
  T* row(int64_t t, int64_t b) {
    if (this->in_place_) return address<T>(this->view_, t, b);
    const int64_t row = this->batch_first_ ? t : b, outer = this->batch_first_ ? b : t;
    if (outer != this->outer_ || row != this->first_ + held_) {
      flush();
      this->outer_ = outer;
      this->first_ = row;
    }
    return this->copy_.get() + held_ * this->stride_;
  }
  void done() {
    if (!this->in_place_ && ++held_ == this->tile_) flush();
  }

 private:
  void flush() {
    if (held_ == 0) return;
    transpose_tile<false>(this->copy_.get(), this->stride_, held_, this->at(this->first_, this->outer_),
                          this->view_.stride_c, this->C_);
    this->first_ += held_;
    held_ = 0;
  }

  int64_t held_ = 0;
};

// A row as a sequence of vectors: f(vector, index of its lane 0). The last vector overlaps the one before it;
// with overlap hidden, lanes that were seen before hold `hidden`. A row shorter than a vector is padded so.
template <class T, class F>
CTCKIT_INLINE void for_vectors(const T* row, int64_t C, Working<T> hidden, const F& f) {
  using R = Working<T>;
  constexpr int64_t W = kLanes<R>;
  int64_t c = 0;
  for (; c + W <= C; c += W) f(load(row + c), c);
  if (c == C) return;
  const IntVec<R> lanes = lane_numbers<R>();
  if (C >= W) {
    const auto seen = static_cast<typename IntegerOf<R>::type>(c - (C - W));
    f(lanes < seen ? splat(hidden) : load(row + C - W), C - W);
  } else {
    T padded[W] = {};
    memcpy(padded, row, sizeof(T) * C);
    const auto real = static_cast<typename IntegerOf<R>::type>(C);
    f(lanes < real ? load(padded) : splat(hidden), 0);
  }
}

// log of a single x >= 1, or NaN.
CTCKIT_INLINE float log_one(float x) { return x == x ? log_positive(splat(x))[0] : x; }
CTCKIT_INLINE double log_one(double x) { return ::log(x); }

// What a row comes down to, without any blank shift. total is the sum of exp(logit - best_logit) over the
// non-blanks: NaN if the row holds NaN or +inf among them; if all of them are -inf the row is empty and its
// best_logit is 0. moment, if asked for, is the sum of the same terms, each times its logit - best_logit.
template <class R>
struct Reduced {
  R best_logit, total, blank, moment;
  bool empty;

  // Of the non-blanks alone, in nats.
  R entropy() const { return empty ? R(0) : larger(R(0), log_one(total) - moment / total); }
};

template <class T, bool kMoment = false>
CTCKIT_INLINE Reduced<Working<T>> reduce_row(const T* row, int64_t C, const T* ahead) {
  using R = Working<T>;
  constexpr int64_t W = kLanes<R>;
  // Below it a term is 0 or next to it, and -inf * 0 would be NaN.
  constexpr R kLeastExponent = -1000;
  const R blank = load_one(row);
  const Vec<R> low = splat(-kInfinity<R>);
  const IntVec<R> lanes = lane_numbers<R>();
  const auto hide_blank = [&](Vec<R> v) -> Vec<R> { return lanes < 1 ? low : v; };

  // The maximum comes first, from memory; the sum then reads the row again, from cache, and meanwhile asks for
  // the row ahead.
  Vec<R> top0 = low, top1 = low, top2 = low, top3 = low;
  if (C >= 2 * W) {
    top0 = maximum(load(row + W), hide_blank(load(row)));
    int64_t c = 2 * W;
    for (; c + 4 * W <= C; c += 4 * W) {
      top0 = maximum(load(row + c), top0);
      top1 = maximum(load(row + c + W), top1);
      top2 = maximum(load(row + c + 2 * W), top2);
      top3 = maximum(load(row + c + 3 * W), top3);
    }
    for (; c + W <= C; c += W) top0 = maximum(load(row + c), top0);
    top1 = maximum(load(row + C - W), top1);  // a maximum may see classes twice
  } else {
    for_vectors(row, C, -kInfinity<R>,
                [&](Vec<R> v, int64_t first) { top0 = maximum(first == 0 ? hide_blank(v) : v, top0); });
  }
  R best = reduce<R, W>(maximum(maximum(top0, top1), maximum(top2, top3)), Max());
  const bool empty = best == -kInfinity<R>;
  if (empty) best = 0;

  const Vec<R> zero = splat(best);
  Vec<R> sum0{}, sum1{}, moment{};
  const auto term = [&](Vec<R> v) -> Vec<R> {
    const Vec<R> x = v - zero, e = exp_term(x);
    if (kMoment) moment += e * maximum(splat(kLeastExponent), x);
    return e;
  };
  if (C >= 2 * W) {
    sum0 = term(hide_blank(load(row)));
    sum1 = term(load(row + W));
    int64_t c = 2 * W;
    for (; c + 2 * W <= C; c += 2 * W) {
      __builtin_prefetch(ahead + c);
      if (sizeof(T) >= 4) __builtin_prefetch(ahead + c + W);
      sum0 += term(load(row + c));
      sum1 += term(load(row + c + W));
    }
    if (c + W <= C) {
      sum0 += term(load(row + c));
      c += W;
    }
    if (c < C) {
      const auto seen = static_cast<typename IntegerOf<R>::type>(c - (C - W));
      sum1 += term(lanes < seen ? low : load(row + C - W));
    }
  } else {
    for_vectors(row, C, -kInfinity<R>,
                [&](Vec<R> v, int64_t first) { sum0 += term(first == 0 ? hide_blank(v) : v); });
  }
  return {best, reduce<R, W>(sum0 + sum1, Add()), blank, kMoment ? reduce<R, W>(moment, Add()) : R(0), empty};
}

// The first non-blank class with the row's best logit.
template <class T>
CTCKIT_INLINE int64_t find_class(const T* row, int64_t C, Working<T> best_logit) {
  using R = Working<T>;
  constexpr int64_t W = kLanes<R>;
  const Vec<R> wanted = splat(best_logit);
  int64_t c = 1;
  for (; c + W <= C; c += W) {
    const uint64_t found = equal_bits<R>(load(row + c), wanted);
    if (found) return c + __builtin_ctzll(found);
  }
  for (; c < C; ++c) {
    if (load_one(row + c) == best_logit) return c;
  }
  return kBlank;  // only in rows with NaN, whose result is thrown away
}

// A row with its blank shifted: maximum and sum of exp(logit - maximum). (0, 0) if all is -inf; the sum is
// NaN if the row holds NaN or +inf.
template <class R>
struct Norm {
  R top, total;
};

template <class R>
CTCKIT_INLINE Norm<R> normalise(const Reduced<R>& row, R shift) {
  const R blank = row.blank + shift;
  if (row.empty) {
    if (blank == -kInfinity<R>) return {R(0), row.total};
    return {blank, row.total + (blank - blank) + R(1)};  // inf - inf is NaN
  }
  if (blank <= row.best_logit) return {row.best_logit, row.total + exp_one(blank - row.best_logit)};
  // Also for NaN and +inf, which come out as NaN.
  return {blank, row.total * exp_one(row.best_logit - blank) + (blank - blank) + R(1)};
}

// Remembers the first bad frame, in the order of utterances, whichever thread meets it.
class FirstBad {
 public:
  void note(int64_t position) {
    int64_t seen = first_.load(std::memory_order_relaxed);
    while ((seen < 0 || position < seen) && !first_.compare_exchange_weak(seen, position)) {
    }
  }
  int64_t get() const { return first_.load(); }

 private:
  std::atomic<int64_t> first_{-1};
};

// Calls f with the storage type of the view.
template <class F>
auto with_type(Type type, const F& f) {
  switch (type) {
    case Type::kFloat32: return f(float{});
    case Type::kBFloat16: return f(BFloat16{});
    case Type::kFloat16: return f(Float16{});
    default: return f(double{});
  }
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
