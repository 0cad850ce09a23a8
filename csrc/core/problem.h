// What a kernel is given: plain views, free of torch. Letters as in the Python code: T frames, B utterances,
// C classes, U labels, S padded label width, K shifts.
#pragma once

#include <cstdint>

namespace ctckit {

constexpr int64_t kBlank = 0;

enum class Type : int { kFloat32, kBFloat16, kFloat16, kFloat64 };

// The working type is what rows are reduced in: double for kFloat64, float for the others.
inline bool works_in_double(Type type) { return type == Type::kFloat64; }

struct Shape {
  int64_t T, B, C;
};

// A [T, B, C] tensor; strides in elements.
struct View {
  void* data;
  Type type;
  int64_t stride_t, stride_b, stride_c;
};

// Targets are contiguous [B, S]; labels beyond a target length may hold anything.
struct Targets {
  const int64_t* labels;
  const int64_t* target_lengths;
  int64_t S;
};

// ctckit.ops.Automaton, checked: offsets ascend, arcs are sorted and lead to states, failures end, weights are finite.
struct Automaton {
  const int64_t* starts;
  const int32_t *labels, *targets;
  const float* weights;
  const int32_t* failures;
  const float *failure_weights, *finals;
  int32_t initial;
  double unknown;
  double least, most;  // bounds of what one label adds
};

// ctckit.ops.Lexicon, checked likewise.
struct Lexicon {
  const int64_t* starts;
  const int32_t *labels, *targets, *words;
  int32_t separator;
};

// What a beam search is asked for; language, lexicon and hotwords may be absent.
struct Search {
  int64_t width, classes, best;
  double shift, weight, bonus;
  const Automaton* language;
  const Lexicon* lexicon;
  const Automaton* hotwords;
};

// Output of a beam search: contiguous [B, N, T] for the tokens and [B, N] for the others.
struct BeamOutput {
  int64_t *tokens, *counts;
  void *acoustic, *language, *boosts, *totals;  // working type
};

// Output of greedy decoding: contiguous [B, T], and [B] for the last of either kind.
struct PathOutput {
  int64_t *tokens, *counts, *starts, *ends;
  void *scores, *utterance_scores;  // working type
};

// Output of statistics: contiguous [T, B]; entropy, of the non-blanks alone, is absent where nobody asks for it.
struct StatsOutput {
  int64_t* best;
  void *best_logit, *logsumexp, *blank_logit, *entropy;  // working type
};

// Output of alignment: contiguous [B, T], [B, S] and [B].
struct AlignmentOutput {
  int64_t *paths, *starts, *ends;
  void *scores, *utterance_scores;  // working type
};

}  // namespace ctckit
