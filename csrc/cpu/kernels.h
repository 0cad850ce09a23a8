// The CPU kernels' interface: one table of functions for each instruction set.
#pragma once

#include <cstdint>

#include "../core/problem.h"

namespace ctckit {

// Threads, lent by the caller. run() calls body for ranges that cover [0, tasks), in any order.
struct Pool {
  int64_t threads;
  void (*run)(int64_t tasks, void (*body)(int64_t begin, int64_t end, void* context), void* context);
};

// Each function returns -1, or b * T + t for the first frame t of the first utterance b that holds NaN or
// +inf; the outputs are then unspecified. Lengths are contiguous int64 [B], checked by the caller; outputs
// named R* are of the working type of the logits.
struct Kernels {
  const char* isa;

  // Without the entropy.
  int64_t (*frame_stats)(const Pool&, const View& logits, const Shape&, const int64_t* lengths, const StatsOutput&);

  // Each output may be absent: path == nullptr skips decoding (then all T frames must be finite) and statistics,
  // log_probs == nullptr and stats == nullptr write none.
  int64_t (*log_softmax)(const Pool&, const View& logits, const Shape&, const int64_t* lengths, double shift,
                         const View* log_probs, const PathOutput* path, const StatsOutput* stats);

  void (*log_softmax_backward)(const Pool&, const View& grad, const View& log_probs, const Shape&, const View& out);

  // norms R [T, B, 2] and occupancy R [B, T, S + 1] are scratch as well as output and always needed;
  // occupancies are computed only if with_gradient. losses R [B]. With entropies R [B], which may be absent, comes
  // covariance R [B, T, S + 1], their gradient, if with_gradient.
  int64_t (*ctc_loss)(const Pool&, const View& logits, const Shape&, const int64_t* lengths, const Targets&,
                      double shift, bool path_domain, bool with_gradient, void* losses, void* norms, void* occupancy,
                      void* entropies, void* covariance);

  void (*ctc_loss_backward)(const Pool&, const void* grad_losses, const View& logits, const Shape&,
                            const int64_t* lengths, const Targets&, const void* losses, const void* norms,
                            const void* occupancy, double norm_shift, const void* grad_entropies,
                            const void* covariance, const View& grad);

  // norms and columns (R [B, T, S + 1]) are scratch.
  int64_t (*align)(const Pool&, const View& logits, const Shape&, const int64_t* lengths, const Targets&, double shift,
                   void* norms, void* columns, const AlignmentOutput&);

  int64_t (*beam_search)(const Pool&, const View& logits, const Shape&, const int64_t* lengths, const Search&,
                         const BeamOutput&);

  // best, best_logit, blank_logit: contiguous [T, B]; tokens [K, B, T], counts [K, B].
  void (*sweep)(const Pool&, const Shape&, bool in_double, const int64_t* best, const void* best_logit,
                const void* blank_logit, const int64_t* lengths, const double* shifts, int64_t K, int64_t* tokens,
                int64_t* counts);
};

// The best table for this machine, or the one that CTCKIT_ISA names; throws std::runtime_error if that one
// is unknown or cannot run here.
const Kernels& kernels();

}  // namespace ctckit
