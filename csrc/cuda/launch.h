// The CUDA ops as the binding and the shim call them: device pointers, a stream, contiguous lengths and targets.
// Scratch is the caller's, 16-byte aligned, of as many bytes as the function before an op says. Pointers named R* are
// of the working type.
//
// No value is checked on the host: kernels clamp lengths, leave out labels that are no classes, and note the first
// fault in `fault`, one unsigned long long, all ones before. The results are then good for nothing.
#pragma once

#include "../core/problem.h"

namespace ctckit {
namespace cuda {

// In the order in which they are reported. The kind is in the bits from kFaultShift up, below it which one it is: the
// utterance, b * S + u of the label, b * T + t of the frame with NaN or +inf.
enum class Fault : int { kLengths, kTargetLengths, kLabels, kLogits };
constexpr int kFaultShift = 60;
constexpr unsigned long long kNoFault = ~0ull;

void frame_stats(const View& logits, const Shape&, const int64_t* lengths, const StatsOutput&,
                 unsigned long long* fault, void* stream);

// Without path.counts there is no path, and no scratch; log_probs.data and stats.best may be nullptr.
int64_t path_scratch_bytes(Type, const Shape&);
void log_softmax(const View& logits, const Shape&, const int64_t* lengths, double shift, const View& log_probs,
                 void* scratch, const PathOutput& path, const StatsOutput& stats, unsigned long long* fault,
                 void* stream);

void log_softmax_backward(const View& grad, const View& log_probs, const Shape&, const View& out, void* stream);

// Without with_gradient there is no occupancy.
int64_t ctc_scratch_bytes(Type, const Shape&, int64_t S, bool with_gradient);
void ctc_loss(const View& logits, const Shape&, const int64_t* lengths, const Targets&, double shift, bool path_domain,
              void* losses, void* norms, bool with_gradient, void* occupancy, void* scratch, unsigned long long* fault,
              void* stream);

// grad_losses has a stride, since the gradient of a sum is one number; scratch of 8 bytes a label, [B, S].
void ctc_loss_backward(const void* grad_losses, int64_t grad_losses_stride, const View& logits, const Shape&,
                       const int64_t* lengths, const Targets&, const void* losses, const void* norms,
                       const void* occupancy, double norm_shift, void* scratch, const View& grad, void* stream);

int64_t align_scratch_bytes(Type, const Shape&, int64_t S);
void align(const View& logits, const Shape&, const int64_t* lengths, const Targets&, double shift, void* scratch,
           const AlignmentOutput&, unsigned long long* fault, void* stream);

void sweep(const Shape&, bool in_double, const int64_t* best, const void* best_logit, const void* blank_logit,
           const int64_t* lengths, const double* shifts, int64_t K, int64_t* tokens, int64_t* counts,
           unsigned long long* fault, void* stream);

}  // namespace cuda
}  // namespace ctckit
