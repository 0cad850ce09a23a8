// Checks of values, on the host, with messages that name the argument: the same for every device.
#pragma once

#include <algorithm>
#include <cmath>

#include "tensors.h"

namespace ctckit {

inline void check_lengths(const char* name, const std::vector<int64_t>& lengths, int64_t limit) {
  for (size_t b = 0; b < lengths.size(); ++b) {
    if (lengths[b] < 0 || lengths[b] > limit) {
      refuse(std::string(name) + ": " + std::to_string(lengths[b]) + " of utterance " + std::to_string(b) +
             " is outside 0.." + std::to_string(limit));
    }
  }
}

inline void check_labels(const std::vector<int64_t>& labels, const std::vector<int64_t>& counts, int64_t S, int64_t C) {
  for (size_t b = 0; b < counts.size(); ++b) {
    for (int64_t u = 0; u < counts[b]; ++u) {
      const int64_t label = labels[b * static_cast<size_t>(S) + static_cast<size_t>(u)];
      if (label <= kBlank || label >= C) {
        refuse("targets: label " + std::to_string(label) + " of utterance " + std::to_string(b) + " is outside 1.." +
               std::to_string(C - 1));
      }
    }
  }
}

// What sweep is given.
inline Shape check_stats(const Tensor& best, const Tensor& best_logit, const Tensor& blank_logit,
                         const Tensor& shifts) {
  check(best.dim() == 2 && best.scalar_type() == ScalarType::Long && best.is_contiguous(),
        "best: expected contiguous int64 [T, B]");
  for (const Tensor* logit : {&best_logit, &blank_logit}) {
    check(logit->numel() == best.numel() && logit->is_contiguous() && same_device(*logit, best) &&
              logit->scalar_type() == best_logit.scalar_type(),
          "best_logit, blank_logit: expected contiguous tensors that match best");
  }
  const ScalarType type = best_logit.scalar_type();
  check(type == ScalarType::Float || type == ScalarType::Double, "best_logit: expected float32 or float64");
  check(shifts.dim() == 1 && shifts.scalar_type() == ScalarType::Double && shifts.is_contiguous() &&
            same_device(shifts, best),
        "shifts: expected contiguous float64 [K]");
  return {best.size(0), best.size(1), 0};
}

// One field of an Automaton or a Lexicon: contiguous, on the CPU, of `size` elements (-1: any number).
template <class T>
const T* field(const Tensor& tensor, const std::string& name, ScalarType type, int64_t size) {
  if (!(tensor.is_cpu() && tensor.dim() == 1 && tensor.scalar_type() == type && tensor.is_contiguous() &&
        (size < 0 || tensor.size(0) == size))) {
    refuse(name + ": not a contiguous tensor on the CPU of the type and size that ctckit.ops says");
  }
  return static_cast<const T*>(tensor.data_ptr());
}

inline void check_finite(const std::string& name, const float* values, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    if (!std::isfinite(values[i])) refuse(name + ": " + std::to_string(i) + " is not finite");
  }
}

// The arcs of `states` states: offsets, labels from `first` to before `end` that ascend within a state, targets.
inline void check_arcs(const std::string& name, const int64_t* starts, int64_t states, const int32_t* labels,
                       const int32_t* targets, int64_t arcs, int64_t first, int64_t end) {
  if (states < 1 || states > 0x7fffffff) refuse(name + ".starts: expected one state or more");
  bool ascend = starts[0] == 0 && starts[states] == arcs;
  for (int64_t s = 0; s < states; ++s) ascend &= starts[s] <= starts[s + 1];
  if (!ascend) refuse(name + ".starts: expected offsets that ascend from 0 to the number of arcs");
  for (int64_t s = 0; s < states; ++s) {
    for (int64_t a = starts[s]; a < starts[s + 1]; ++a) {
      if (labels[a] < first || labels[a] >= end) {
        refuse(name + ".labels: " + std::to_string(labels[a]) + " of arc " + std::to_string(a) + " is outside " +
               std::to_string(first) + ".." + std::to_string(end - 1));
      }
      if (a > starts[s] && labels[a - 1] >= labels[a]) {
        refuse(name + ".labels: those of state " + std::to_string(s) + " do not ascend");
      }
      if (targets[a] < 0 || targets[a] >= states) {
        refuse(name + ".targets: " + std::to_string(targets[a]) + " of arc " + std::to_string(a) + " is no state");
      }
    }
  }
}

// The number of failures from each state to the one that has none.
inline std::vector<int32_t> failure_depths(const std::string& name, const int32_t* failures, int64_t states) {
  std::vector<int32_t> depths(static_cast<size_t>(states), -1), way;
  for (int64_t s = 0; s < states; ++s) {
    int32_t at = static_cast<int32_t>(s);
    for (way.clear(); at >= 0 && depths[static_cast<size_t>(at)] < 0; at = failures[at]) {
      if (failures[at] < -1 || failures[at] >= states) {
        refuse(name + ".failures: " + std::to_string(failures[at]) + " of state " + std::to_string(at) +
               " is neither a state nor -1");
      }
      if (way.size() >= static_cast<size_t>(states)) {
        refuse(name + ".failures: those of state " + std::to_string(s) + " lead round in a circle");
      }
      way.push_back(at);
    }
    int32_t depth = at < 0 ? -1 : depths[static_cast<size_t>(at)];
    for (size_t i = way.size(); i-- > 0;) depths[static_cast<size_t>(way[i])] = ++depth;
  }
  return depths;
}

// The tensors of a ctckit.ops.Automaton in its order, whose labels are from `first` to before `end`.
struct CheckedAutomaton {
  Automaton view{};
  bool given;

  CheckedAutomaton(const std::string& name, const std::vector<Tensor>& tensors, int64_t initial, double unknown,
                   int64_t first, int64_t end)
      : given(!tensors.empty()) {
    if (!given) return;
    if (tensors.size() != 7) refuse(name + ": expected no tensor or the seven of an Automaton");
    view.starts = field<int64_t>(tensors[0], name + ".starts", ScalarType::Long, -1);
    const int64_t states = tensors[0].size(0) - 1, arcs = tensors[1].dim() == 1 ? tensors[1].size(0) : -1;
    view.labels = field<int32_t>(tensors[1], name + ".labels", ScalarType::Int, -1);
    view.targets = field<int32_t>(tensors[2], name + ".targets", ScalarType::Int, arcs);
    view.weights = field<float>(tensors[3], name + ".weights", ScalarType::Float, arcs);
    view.failures = field<int32_t>(tensors[4], name + ".failures", ScalarType::Int, states);
    view.failure_weights = field<float>(tensors[5], name + ".failure_weights", ScalarType::Float, states);
    view.finals = field<float>(tensors[6], name + ".finals", ScalarType::Float, states);
    check_arcs(name, view.starts, states, view.labels, view.targets, arcs, first, end);
    check_finite(name + ".weights", view.weights, arcs);
    check_finite(name + ".failure_weights", view.failure_weights, states);
    check_finite(name + ".finals", view.finals, states);
    if (!std::isfinite(unknown)) refuse(name + ".unknown: not finite");
    if (initial < 0 || initial >= states) refuse(name + ".initial: " + std::to_string(initial) + " is no state");
    view.initial = static_cast<int32_t>(initial);
    view.unknown = unknown;

    const std::vector<int32_t> depths = failure_depths(name, view.failures, states);
    const double deepest = *std::max_element(depths.begin(), depths.end());
    double least_failure = 0, most_failure = 0;
    for (int64_t s = 0; s < states; ++s) {
      least_failure = std::min<double>(least_failure, view.failure_weights[s]);
      most_failure = std::max<double>(most_failure, view.failure_weights[s]);
    }
    view.least = view.most = unknown;
    for (int64_t a = 0; a < arcs; ++a) {
      view.least = std::min<double>(view.least, view.weights[a]);
      view.most = std::max<double>(view.most, view.weights[a]);
    }
    view.least += deepest * least_failure;
    view.most += deepest * most_failure;
  }
  const Automaton* get() const { return given ? &view : nullptr; }
};

// The tensors of a ctckit.ops.Lexicon in its order, over classes.
struct CheckedLexicon {
  Lexicon view{};
  bool given;

  CheckedLexicon(const std::vector<Tensor>& tensors, int64_t separator, int64_t C) : given(!tensors.empty()) {
    if (!given) return;
    if (tensors.size() != 4) refuse("lexicon: expected no tensor or the four of a Lexicon");
    view.starts = field<int64_t>(tensors[0], "lexicon.starts", ScalarType::Long, -1);
    const int64_t nodes = tensors[0].size(0) - 1, arcs = tensors[1].dim() == 1 ? tensors[1].size(0) : -1;
    view.labels = field<int32_t>(tensors[1], "lexicon.labels", ScalarType::Int, -1);
    view.targets = field<int32_t>(tensors[2], "lexicon.targets", ScalarType::Int, arcs);
    view.words = field<int32_t>(tensors[3], "lexicon.words", ScalarType::Int, nodes);
    check_arcs("lexicon", view.starts, nodes, view.labels, view.targets, arcs, kBlank + 1, C);
    for (int64_t a = 0; a < arcs; ++a) {
      if (view.targets[a] == 0) refuse("lexicon.targets: arc " + std::to_string(a) + " leads to the root");
      if (view.labels[a] == separator) refuse("lexicon.labels: a word is spelled with the separator");
    }
    if (view.words[0] >= 0) refuse("lexicon.words: the root is spelled by nothing, and no word");
    if (separator <= kBlank || separator >= C) {
      refuse("lexicon.separator: " + std::to_string(separator) + " is outside 1.." + std::to_string(C - 1));
    }
    view.separator = static_cast<int32_t>(separator);
  }
  const Lexicon* get() const { return given ? &view : nullptr; }
};

}  // namespace ctckit
