// Compiled once for each instruction set, with CTCKIT_ISA naming the namespace; see ctckit/ops/build.py.
#include "beam.h"
#include "ctc.h"
#include "paths.h"
#include "viterbi.h"

#define CTCKIT_TEXT_(name) #name
#define CTCKIT_TEXT(name) CTCKIT_TEXT_(name)

namespace ctckit {
namespace CTCKIT_ISA {
namespace {

template <class R>
R* as(void* data) {
  return static_cast<R*>(data);
}
template <class R>
const R* as(const void* data) {
  return static_cast<const R*>(data);
}

int64_t any_frame_stats(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths,
                        const StatsOutput& stats) {
  return with_type(logits.type, [&](auto sample) {
    return frame_stats<decltype(sample)>(pool, logits, shape, lengths, stats);
  });
}

int64_t any_log_softmax(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths, double shift,
                        const View* log_probs, const PathOutput* path, const StatsOutput* stats) {
  return with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    return stats ? log_softmax<T, true>(pool, logits, shape, lengths, shift, log_probs, path, *stats)
                 : log_softmax<T, false>(pool, logits, shape, lengths, shift, log_probs, path, {});
  });
}

void any_log_softmax_backward(const Pool& pool, const View& grad, const View& log_probs, const Shape& shape,
                              const View& out) {
  with_type(out.type, [&](auto sample) { log_softmax_backward<decltype(sample)>(pool, grad, log_probs, shape, out); });
}

int64_t any_ctc_loss(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths,
                     const Targets& targets, double shift, bool path_domain, bool with_gradient, void* losses,
                     void* norms, void* occupancy, void* entropies, void* covariance) {
  return with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    return ctc_loss<T>(pool, logits, shape, lengths, targets, shift, path_domain, with_gradient, as<R>(losses),
                       as<R>(norms), as<R>(occupancy), as<R>(entropies), as<R>(covariance));
  });
}

void any_ctc_loss_backward(const Pool& pool, const void* grad_losses, const View& logits, const Shape& shape,
                           const int64_t* lengths, const Targets& targets, const void* losses, const void* norms,
                           const void* occupancy, double norm_shift, const void* grad_entropies,
                           const void* covariance, const View& grad) {
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    ctc_loss_backward<T>(pool, as<R>(grad_losses), logits, shape, lengths, targets, as<R>(losses), as<R>(norms),
                         as<R>(occupancy), static_cast<R>(norm_shift), as<R>(grad_entropies), as<R>(covariance),
                         grad);
  });
}

int64_t any_align(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths,
                  const Targets& targets, double shift, void* norms, void* columns, const AlignmentOutput& out) {
  return with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    return align<T>(pool, logits, shape, lengths, targets, shift, as<R>(norms), as<R>(columns), out);
  });
}

int64_t any_beam_search(const Pool& pool, const View& logits, const Shape& shape, const int64_t* lengths,
                        const Search& search, const BeamOutput& out) {
  return with_type(logits.type, [&](auto sample) {
    return beam_search<decltype(sample)>(pool, logits, shape, lengths, search, out);
  });
}

void any_sweep(const Pool& pool, const Shape& shape, bool in_double, const int64_t* best, const void* best_logit,
               const void* blank_logit, const int64_t* lengths, const double* shifts, int64_t K, int64_t* tokens,
               int64_t* counts) {
  if (in_double) {
    sweep(pool, shape, best, as<double>(best_logit), as<double>(blank_logit), lengths, shifts, K, tokens, counts);
  } else {
    sweep(pool, shape, best, as<float>(best_logit), as<float>(blank_logit), lengths, shifts, K, tokens, counts);
  }
}

}  // namespace

extern const Kernels table;
const Kernels table{
    CTCKIT_TEXT(CTCKIT_ISA), any_frame_stats, any_log_softmax, any_log_softmax_backward, any_ctc_loss,
    any_ctc_loss_backward,   any_align,       any_beam_search,         any_sweep,
};

}  // namespace CTCKIT_ISA
}  // namespace ctckit
