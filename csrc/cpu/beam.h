// Prefix beam search: the label sequences that the frames make likely, each with all its alignments.
#pragma once

#include "rows.h"

namespace ctckit {
namespace CTCKIT_ISA {

// Grows by doubling and keeps its memory when it is cleared; for what may be copied as bytes. A vector may be read
// from any place in it.
template <class T>
class Growing {
 public:
  Growing() = default;
  ~Growing() { ::operator delete(data_, kAlignment); }
  Growing(const Growing&) = delete;
  Growing& operator=(const Growing&) = delete;

  T& operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return size_; }
  void clear() { size_ = 0; }
  void resize(int64_t size) {
    if (size > room_) grow(size);
    size_ = size;
  }
  void push(const T& value) {
    const T copy = value;  // it may lie in what is moved now
    resize(size_ + 1);
    data_[size_ - 1] = copy;
  }

 private:
  static constexpr std::align_val_t kAlignment{64};

  void grow(int64_t size) {
    const int64_t room = larger<int64_t>(size, larger<int64_t>(32, 2 * room_));
    const size_t bytes = sizeof(T) * room + kBytes;
    T* data = static_cast<T*>(::operator new(bytes, kAlignment));
    if (size_ > 0) memcpy(static_cast<void*>(data), data_, sizeof(T) * size_);
    memset(static_cast<char*>(static_cast<void*>(data)) + sizeof(T) * size_, 0, bytes - sizeof(T) * size_);
    ::operator delete(data_, kAlignment);
    data_ = data;
    room_ = room;
  }

  T* data_ = nullptr;
  int64_t size_ = 0, room_ = 0;
};

// The best of what is offered, no more than `most`: a heap with the worst of them on top.
template <class T>
class Best {
 public:
  void clear(int64_t most) {
    items_.clear();
    most_ = most;
  }
  bool full() const { return items_.size() == most_; }
  int64_t size() const { return items_.size(); }
  const T& worst() const { return items_[0]; }
  const T& operator[](int64_t i) const { return items_[i]; }

  template <class Better>
  CTCKIT_INLINE void offer(const T& item, const Better& better) {
    if (!full()) {
      items_.push(item);
      int64_t at = items_.size() - 1;
      for (; at > 0 && better(items_[(at - 1) / 2], item); at = (at - 1) / 2) items_[at] = items_[(at - 1) / 2];
      items_[at] = item;
    } else if (better(item, items_[0])) {
      sink(item, items_.size(), better);
    }
  }
  // Best first; nothing may be offered after it.
  template <class Better>
  void sort(const Better& better) {
    for (int64_t last = items_.size() - 1; last > 0; --last) {
      const T item = items_[last];
      items_[last] = items_[0];
      sink(item, last, better);
    }
  }

 private:
  template <class Better>
  void sink(const T& item, int64_t size, const Better& better) {
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && better(items_[child], items_[child + 1])) ++child;
      if (!better(item, items_[child])) break;
      items_[at] = items_[child];
    }
    items_[at] = item;
  }

  Growing<T> items_;
  int64_t most_ = 0;
};

// log(exp(a) + exp(b)); relative to the larger of the two exponentials an error of some 3e-16.
CTCKIT_INLINE Vec<double> log_add(Vec<double> a, Vec<double> b) {
  const Vec<double> high = maximum(a, b), low = minimum(a, b);
  const Vec<double> x = exp_nonpositive(low - high);  // NaN where both are -inf
  // log(1 + x) as fdlibm has it, for an argument from 1 to 2; what 1 + x rounded off comes back in the end.
  const Vec<double> sum = x + 1.0;
  const auto halved = sum > 1.4142135623730951;
  const Vec<double> f = (halved ? sum * 0.5 : sum) - 1.0;
  const Vec<double> s = f / (f + 2.0), z = s * s;
  Vec<double> p = splat(1.479819860511658591e-01);
  p = p * z + 1.531383769920937332e-01;
  p = p * z + 1.818357216161805012e-01;
  p = p * z + 2.222219843214978396e-01;
  p = p * z + 2.857142874366239149e-01;
  p = p * z + 3.999999999940941908e-01;
  p = p * z + 6.666666666666735130e-01;
  const Vec<double> half_square = f * f * 0.5;
  const Vec<double> lost = (x - (sum - 1.0)) / sum;
  const Vec<double> log = (f - (half_square - s * (half_square + p * z))) + lost;
  const Vec<double> added = high + (log + (halved ? splat(0.6931471805599453) : Vec<double>{}));
  return high > -kInfinity<double> ? added : high;
}

// One bit a lane: whether a >= b there.
template <class R>
CTCKIT_INLINE uint64_t at_least_bits(Vec<R> a, Vec<R> b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(R) == 4) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
  } else {
    return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ);
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(R) == 4) {
    return static_cast<uint64_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
  } else {
    return static_cast<uint64_t>(_mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_GE_OQ)));
  }
#else
  uint64_t bits = 0;
  for (int i = 0; i < kLanes<R>; ++i) bits |= static_cast<uint64_t>(a[i] >= b[i]) << i;
  return bits;
#endif
}

// Steps through an automaton. The same few are asked for in frame after frame, so that they are kept.
class Walker {
 public:
  explicit Walker(const Automaton* automaton) : automaton_(automaton), known_(automaton ? kKnown : 0) {
    for (int64_t i = 0; automaton && i < kKnown; ++i) known_[i].state = -1;
  }

  // What the label adds; the state becomes the next one.
  CTCKIT_INLINE double step(int32_t& state, int32_t label) const {
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(state)) << 32 | static_cast<uint32_t>(label);
    Step& known = known_[static_cast<int64_t>(key * 0x9e3779b97f4a7c15u >> (64 - kBits))];
    if (known.state != state || known.label != label) known = walk(state, label);
    state = known.target;
    return known.weight;
  }

 private:
  static constexpr int kBits = 12;
  static constexpr int64_t kKnown = int64_t{1} << kBits;
  struct Step {
    int32_t state, label, target;
    double weight;
  };

  Step walk(int32_t state, int32_t label) const {
    double weight = 0;
    for (int32_t at = state;; at = automaton_->failures[at]) {
      const int64_t arc = find_arc(automaton_->starts, automaton_->labels, at, label);
      if (arc >= 0) return {state, label, automaton_->targets[arc], weight + automaton_->weights[arc]};
      if (automaton_->failures[at] < 0) return {state, label, at, weight + automaton_->unknown};
      weight += automaton_->failure_weights[at];
    }
  }

  const Automaton* automaton_;
  const Scratch<Step> known_;

 public:
  // The arc of a state with this label, or -1.
  static CTCKIT_INLINE int64_t find_arc(const int64_t* starts, const int32_t* labels, int32_t state, int32_t label) {
    int64_t low = starts[state], high = starts[state + 1];
    if (low == high || label < labels[low]) return -1;
    const int64_t ahead = static_cast<int64_t>(label) - labels[low];
    if (ahead < high - low) {
      // Labels ascend, so that it is no further on; where no label is missing it is just there.
      if (labels[low + ahead] == label) return low + ahead;
      high = low + ahead;
    }
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (labels[middle] <= label ? low : high) = middle;
    }
    return labels[low] == label ? low : -1;
  }
};

// What language, lexicon and hotwords make of a prefix, which determines it: it is the same in every frame.
struct Guidance {
  int32_t language, lexicon, hotwords;  // states
  int32_t units;                        // words with a lexicon, else tokens
  double log_prob, boosts;
};

class Guide {
 public:
  Guide(const Search& search)
      : search_(search),
        language_(search.language),
        hotwords_(search.hotwords),
        most_(most_of(search)) {}

  Guidance start() const {
    return {search_.language ? search_.language->initial : 0, 0, search_.hotwords ? search_.hotwords->initial : 0, 0,
            0, 0};
  }
  // Whether the label may follow; if so the guidance becomes that of the longer prefix.
  CTCKIT_INLINE bool step(Guidance& of, int32_t label) const {
    if (!search_.lexicon) {
      count(of, label);
    } else if (label == search_.lexicon->separator) {
      if (!end_word(of)) return false;
    } else {
      const int64_t arc = Walker::find_arc(search_.lexicon->starts, search_.lexicon->labels, of.lexicon, label);
      if (arc < 0) return false;
      of.lexicon = search_.lexicon->targets[arc];
    }
    if (search_.hotwords) of.boosts += hotwords_.step(of.hotwords, label);
    return true;
  }
  // Whether the prefix may be all there is; if so its guidance is that of the whole.
  bool finish(Guidance& of) const {
    const bool nothing = of.lexicon == 0 && of.units == 0;
    if (search_.lexicon && !nothing && !end_word(of)) return false;
    if (search_.language) of.log_prob += search_.language->finals[of.language];
    if (search_.hotwords) of.boosts += search_.hotwords->finals[of.hotwords];
    return true;
  }
  CTCKIT_INLINE double score(const Guidance& of) const {
    return search_.weight * of.log_prob + search_.bonus * of.units + of.boosts;
  }
  // No label adds more to a score.
  double most() const { return most_; }

 private:
  CTCKIT_INLINE void count(Guidance& of, int32_t unit) const {
    ++of.units;
    if (search_.language) of.log_prob += language_.step(of.language, unit);
  }
  CTCKIT_INLINE bool end_word(Guidance& of) const {
    const int32_t word = search_.lexicon->words[of.lexicon];
    if (word < 0) return false;
    count(of, word);
    of.lexicon = 0;
    return true;
  }
  static double most_of(const Search& search) {
    double most = search.bonus;
    if (search.language) most += search.weight * (search.weight > 0 ? search.language->most : search.language->least);
    if (search.lexicon) most = larger(0.0, most);
    return most + (search.hotwords ? search.hotwords->most : 0.0);
  }

  const Search& search_;
  const Walker language_, hotwords_;
  const double most_;
};

template <class T>
class Beam {
  using R = Working<T>;

 public:
  Beam(const Search& search, int64_t C) : search_(search), guide_(search), C_(C), excluded_(C) {
    for (int64_t c = 0; c < C; ++c) excluded_[c] = -1;
  }

  // Nothing has been written yet, for certain.
  void start() {
    nodes_.clear();
    free_ = -1;
    nodes_.push({-1, 0, -1, -1, -1, 0, 0, guide_.start()});
    Slots& now = slots();
    now.resize(1);
    now.node[0] = now.label[0] = 0;
    now.blank[0] = now.total[0] = 0.0;
    now.last[0] = -kInfinity<double>;
    now.guide[0] = guide_.score(nodes_[0].guidance);
  }

  // log_norm is the row's logsumexp, shift included. In the last frame prefixes are judged as wholes.
  void advance(const T* row, double log_norm, bool at_end) {
    kept_.clear(search_.width);
    const double threshold = stay(row, log_norm, at_end);
    choose(row, at_end ? -kInfinity<double> : threshold + log_norm);
    extend(log_norm, at_end);
    commit();
  }

  // No prefix is possible any more.
  void die() {
    kept_.clear(search_.width);
    commit();
  }

  void write(int64_t b, int64_t T_, const BeamOutput& out) {
    const Slots& now = slots();
    kept_.clear(search_.best);
    const auto better = [this](const Candidate& x, const Candidate& y) { return precedes(x, y); };
    for (int64_t i = 0; i < now.size(); ++i) {
      Candidate whole{0, now.total[i], static_cast<int32_t>(i), 0, nodes_[now.node[i]].guidance};
      if (!guide_.finish(whole.guidance)) continue;
      whole.score = whole.acoustic + guide_.score(whole.guidance);
      kept_.offer(whole, better);
    }
    kept_.sort(better);
    for (int64_t n = 0; n < search_.best; ++n) {
      const int64_t at = b * search_.best + n;
      int64_t* tokens = out.tokens + at * T_;
      const bool found = n < kept_.size();
      const int64_t count = found ? nodes_[now.node[kept_[n].slot]].depth : 0;
      for (int64_t i = count; i < T_; ++i) tokens[i] = -1;
      out.counts[at] = found ? count : -1;
      static_cast<R*>(out.acoustic)[at] = found ? static_cast<R>(kept_[n].acoustic) : -kInfinity<R>;
      static_cast<R*>(out.language)[at] = found ? static_cast<R>(kept_[n].guidance.log_prob) : R(0);
      static_cast<R*>(out.boosts)[at] = found ? static_cast<R>(kept_[n].guidance.boosts) : R(0);
      static_cast<R*>(out.totals)[at] = found ? static_cast<R>(kept_[n].score) : -kInfinity<R>;
      int64_t i = count;
      for (int32_t node = found ? now.node[kept_[n].slot] : 0; i > 0; node = nodes_[node].parent) {
        tokens[--i] = nodes_[node].label;
      }
    }
  }

 private:
  // A prefix in the beam, or one that others there begin with: memory is for those alone.
  struct Node {
    int32_t parent, label;
    int32_t child, next, previous;  // its first child; its siblings
    int32_t slot;                   // -1 if it is not in the beam
    int32_t depth;
    Guidance guidance;
  };
  // The beam, by columns: log-probability of the alignments that end in the blank, in the last label, in either.
  struct Slots {
    Growing<double> blank, last, total, guide;
    Growing<int32_t> node, label;

    int64_t size() const { return node.size(); }
    void resize(int64_t size) {
      blank.resize(size);
      last.resize(size);
      total.resize(size);
      guide.resize(size);
      node.resize(size);
      label.resize(size);
    }
  };
  // The prefix of a slot, or it and a label more.
  struct Candidate {
    double score, acoustic;
    int32_t slot, label;
    Guidance guidance;
  };
  struct Choice {
    R logit;
    int32_t label;
  };

  Slots& slots() { return both_[which_]; }
  const Slots& slots() const { return both_[which_]; }

  // Every prefix without a new label. Returns the least log-probability with which a label may enter the beam.
  double stay(const T* row, double log_norm, bool at_end) {
    const Slots& now = slots();
    const int64_t n = now.size();
    to_blank_.resize(n);
    to_last_.resize(n);
    to_total_.resize(n);
    double best = -kInfinity<double>;
    for (int64_t i = 0; i < n; ++i) {
      const int32_t label = now.label[i], parent = nodes_[now.node[i]].parent;
      to_blank_[i] = label ? load_one(row + label) - log_norm : -kInfinity<double>;
      const int32_t from = parent < 0 ? -1 : nodes_[parent].slot;
      to_last_[i] = from < 0 ? -kInfinity<double> : (now.label[from] == label ? now.blank[from] : now.total[from]);
      best = larger(best, now.total[i] + now.guide[i]);
    }
    const Vec<double> blank = splat(load_one(row) + search_.shift - log_norm);
    for (int64_t i = 0; i < n; i += kLanes<double>) {
      const Vec<double> into_blank = load(&now.total[i]) + blank;
      const Vec<double> into_last = log_add(load(&now.last[i]), load(&to_last_[i])) + load(&to_blank_[i]);
      store(&to_blank_[i], into_blank);
      store(&to_last_[i], into_last);
      store(&to_total_[i], log_add(into_blank, into_last));
    }
    for (int64_t i = 0; i < n; ++i) {
      if (!(to_total_[i] > -kInfinity<double>)) continue;
      const Guidance& guidance = nodes_[now.node[i]].guidance;
      double guide = now.guide[i];
      if (at_end) {
        Guidance whole = guidance;
        if (!guide_.finish(whole)) continue;
        guide = guide_.score(whole);
      }
      offer({to_total_[i] + guide, to_total_[i], static_cast<int32_t>(i), 0, guidance});
    }
    return kept_.full() ? margin(kept_.worst().score) - (best + guide_.most()) : -kInfinity<double>;
  }

  // The labels that may extend prefixes, best first: those with the best logits, if they are at least `least`.
  void choose(const T* row, double least) {
    constexpr int64_t W = kLanes<R>;
    constexpr R lowest = sizeof(R) == 4 ? static_cast<R>(-__FLT_MAX__) : static_cast<R>(-__DBL_MAX__);
    const auto better = [](const Choice& a, const Choice& b) {
      return a.logit > b.logit || (a.logit == b.logit && a.label < b.label);
    };
    // Rounded down; -inf is never chosen.
    const double low = least - 1e-6 * ::fabs(least);
    R limit = low > lowest ? (low < -lowest ? static_cast<R>(low) : -lowest) : lowest;
    chosen_.clear(search_.classes);
    const auto see = [&](int64_t c) {
      chosen_.offer({static_cast<R>(load_one(row + c)), static_cast<int32_t>(c)}, better);
      if (chosen_.full()) limit = larger(limit, chosen_.worst().logit);
    };
    int64_t c = 1;
    for (; c + W <= C_; c += W) {
      for (uint64_t bits = at_least_bits<R>(load(row + c), splat(limit)); bits; bits &= bits - 1) {
        see(c + __builtin_ctzll(bits));
      }
    }
    for (; c < C_; ++c) {
      if (load_one(row + c) >= limit) see(c);
    }
    chosen_.sort(better);
  }

  void extend(double log_norm, bool at_end) {
    const Slots& now = slots();
    for (int64_t i = 0; i < now.size(); ++i) {
      const Node& node = nodes_[now.node[i]];
      // Those of its children that are in the beam have got its alignments already.
      ++round_;
      for (int32_t child = node.child; child >= 0; child = nodes_[child].next) {
        if (nodes_[child].slot >= 0) excluded_[nodes_[child].label] = round_;
      }
      const double most = now.total[i] + now.guide[i] + guide_.most();
      for (int64_t k = 0; k < chosen_.size(); ++k) {
        const double log_prob = chosen_[k].logit - log_norm;
        if (!at_end && kept_.full() && most + log_prob < margin(kept_.worst().score)) break;
        const int32_t label = chosen_[k].label;
        if (excluded_[label] == round_) continue;
        const double acoustic = (label == now.label[i] ? now.blank[i] : now.total[i]) + log_prob;
        if (!(acoustic > -kInfinity<double>)) continue;
        Candidate longer{0, acoustic, static_cast<int32_t>(i), label, node.guidance};
        if (!guide_.step(longer.guidance, label)) continue;
        if (at_end) {
          Guidance whole = longer.guidance;
          if (!guide_.finish(whole)) continue;
          longer.score = acoustic + guide_.score(whole);
        } else {
          longer.score = acoustic + guide_.score(longer.guidance);
        }
        offer(longer);
      }
    }
  }

  // What is kept becomes the beam.
  void commit() {
    Slots& before = slots();
    which_ ^= 1;
    Slots& now = slots();
    now.resize(kept_.size());
    for (int64_t k = 0; k < kept_.size(); ++k) {
      const Candidate& from = kept_[k];
      const int64_t i = from.slot;
      const int32_t node = from.label ? child_of(before.node[i], from.label, from.guidance) : before.node[i];
      now.node[k] = node;
      now.label[k] = nodes_[node].label;
      now.blank[k] = from.label ? -kInfinity<double> : to_blank_[i];
      now.last[k] = from.label ? from.acoustic : to_last_[i];
      now.total[k] = from.acoustic;
      now.guide[k] = guide_.score(from.guidance);
    }
    for (int64_t i = 0; i < before.size(); ++i) nodes_[before.node[i]].slot = -1;
    for (int64_t k = 0; k < now.size(); ++k) nodes_[now.node[k]].slot = static_cast<int32_t>(k);
    for (int64_t i = 0; i < before.size(); ++i) release(before.node[i]);
  }

  int32_t child_of(int32_t parent, int32_t label, const Guidance& guidance) {
    const int32_t first = nodes_[parent].child;
    for (int32_t child = first; child >= 0; child = nodes_[child].next) {
      if (nodes_[child].label == label) return child;
    }
    const Node fresh{parent, label, -1, first, -1, -1, nodes_[parent].depth + 1, guidance};
    int32_t node = free_;
    if (node >= 0) {
      free_ = nodes_[node].next;
      nodes_[node] = fresh;
    } else {
      node = static_cast<int32_t>(nodes_.size());
      nodes_.push(fresh);
    }
    if (first >= 0) nodes_[first].previous = node;
    nodes_[parent].child = node;
    return node;
  }

  // Frees a node that nothing needs, and those before it that nothing needs then. The first node stays.
  void release(int32_t node) {
    while (node > 0 && nodes_[node].slot == -1 && nodes_[node].child < 0) {
      const Node gone = nodes_[node];
      if (gone.next >= 0) nodes_[gone.next].previous = gone.previous;
      (gone.previous >= 0 ? nodes_[gone.previous].next : nodes_[gone.parent].child) = gone.next;
      nodes_[node].slot = kFreed;
      nodes_[node].next = free_;
      free_ = node;
      node = gone.parent;
    }
  }

  CTCKIT_INLINE void offer(const Candidate& candidate) {
    kept_.offer(candidate, [this](const Candidate& a, const Candidate& b) { return precedes(a, b); });
  }

  // Whether a ranks before b: by score, then by labels, the lower first and a beginning before what goes on.
  CTCKIT_INLINE bool precedes(const Candidate& a, const Candidate& b) const {
    return a.score > b.score || (a.score == b.score && precedes_by_labels(a, b));
  }
  __attribute__((noinline)) bool precedes_by_labels(const Candidate& a, const Candidate& b) const {
    struct Place {
      int32_t node, label, before, depth;  // before: the node of all labels but the last
    };
    const auto place = [this](int32_t node) -> Place {
      return {node, nodes_[node].label, nodes_[node].parent, nodes_[node].depth};
    };
    const auto place_of = [&](const Candidate& of) -> Place {
      const int32_t node = slots().node[of.slot];
      return of.label ? Place{-1, of.label, node, nodes_[node].depth + 1} : place(node);
    };
    Place x = place_of(a), y = place_of(b);
    const bool shorter = x.depth < y.depth;
    while (x.depth > y.depth) x = place(x.before);
    while (y.depth > x.depth) y = place(y.before);
    while (x.before != y.before) {
      x = place(x.before);
      y = place(y.before);
    }
    return x.label < y.label || (x.label == y.label && shorter);
  }

  // A bound below which nothing reaches a score, whatever was rounded on the way.
  static double margin(double score) { return score - 1e-6 - 1e-12 * ::fabs(score); }

  static constexpr int32_t kFreed = -2;

  const Search& search_;
  const Guide guide_;
  const int64_t C_;
  Slots both_[2];
  int which_ = 0;
  Growing<Node> nodes_;
  int32_t free_ = -1;
  Growing<double> to_blank_, to_last_, to_total_;  // of the prefixes that get no new label
  Best<Candidate> kept_;
  Best<Choice> chosen_;
  const Scratch<int64_t> excluded_;  // by label: the last round that it may not extend
  int64_t round_ = 0;
};

template <class T>
int64_t beam_search(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths,
                    const Search& search, const BeamOutput& out) {
  using R = Working<T>;
  Order order(logits, shape);
  order.batch_first = true;  // a clip after the other, whatever is nearer in memory
  const int64_t ahead = logits.stride_c == 1 ? logits.stride_t : 0;
  FirstBad bad;
  share(pool, shape.B, 1, [&](Chunks& chunks) {
    RowReader<T> rows(logits, shape.C, order);
    Beam<T> beam(search, shape.C);
    chunks.each([&](int64_t b) {
      beam.start();
      for (int64_t t = 0; t < lengths[b]; ++t) {
        const T* row = rows.row(t, b);
        const Norm<R> norm = normalise(reduce_row(row, shape.C, row + ahead), static_cast<R>(search.shift));
        if (!(norm.total < kInfinity<R>)) {
          bad.note(b * shape.T + t);
          return;
        }
        if (norm.total > 0) {
          beam.advance(row, norm.top + ::log(static_cast<double>(norm.total)), t + 1 == lengths[b]);
        } else {
          beam.die();
        }
      }
      beam.write(b, shape.T, out);
    });
  });
  return bad.get();
}

}  // namespace CTCKIT_ISA
}  // namespace ctckit
