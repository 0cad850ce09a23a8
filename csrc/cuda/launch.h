// The CUDA ops as the binding and the shim call them: device pointers, a stream, contiguous lengths and targets.
// Scratch is the caller's. `bad` is one unsigned long long, all ones before; afterwards, if it is not, b * T + t of
// the first frame of the first utterance with NaN or +inf. Pointers named R* are of the working type.
#pragma once

#include "../core/problem.h"

namespace ctckit {
namespace cuda {

void frame_stats(const View& logits, const Shape&, const int64_t* lengths, int64_t* best, void* best_logit,
                 void* logsumexp, void* blank_logit, unsigned long long* bad, void* stream);

// steps: scratch of 16 bytes a frame, or nullptr for no path; log_probs.data may be nullptr.
void log_softmax(const View& logits, const Shape&, const int64_t* lengths, double shift, const View& log_probs,
                 void* steps, const PathOutput& path, unsigned long long* bad, void* stream);

void log_softmax_backward(const View& grad, const View& log_probs, const Shape&, const View& out, void* stream);

// kept: scratch of 16 bytes a frame and state, or nullptr for no gradient.
void ctc_loss(const View& logits, const Shape&, const int64_t* lengths, const Targets&, double shift, bool path_domain,
              void* losses, void* norms, void* occupancy, void* kept, unsigned long long* bad, void* stream);

// firsts: scratch int32 [B, S].
void ctc_loss_backward(const void* grad_losses, const View& logits, const Shape&, const int64_t* lengths,
                       const Targets&, const void* losses, const void* norms, const void* occupancy, double norm_shift,
                       int32_t* firsts, const View& grad, void* stream);

// norms R [T, B, 2], columns R [B, T, S + 1], moves [B, T, 2S + 1]: scratch.
void align(const View& logits, const Shape&, const int64_t* lengths, const Targets&, double shift, void* norms,
           void* columns, uint8_t* moves, const AlignmentOutput&, unsigned long long* bad, void* stream);

void sweep(const Shape&, bool in_double, const int64_t* best, const void* best_logit, const void* blank_logit,
           const int64_t* lengths, const double* shifts, int64_t K, int64_t* tokens, int64_t* counts, void* stream);

// Longer targets than this do not fit a block's shared memory anywhere.
constexpr int64_t kLongestTarget = 256;

}  // namespace cuda
}  // namespace ctckit
