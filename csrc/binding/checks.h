// Checks of values, on the host, with messages that name the argument: the same for every device.
#pragma once

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

}  // namespace ctckit
