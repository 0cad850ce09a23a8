// Which kernels an op launches, in what shape. The shim compiles this file too, with the launches its own.
#include "ctc.cuh"
#include "launch.h"
#include "paths.cuh"
#include "viterbi.cuh"

namespace ctckit {
namespace cuda {
namespace {

constexpr int kThreads = 128;

unsigned blocks_for_warps(int64_t warps) {
  return static_cast<unsigned>((warps + kThreads / kWarp - 1) / (kThreads / kWarp));
}

template <class F>
void with_type(Type type, const F& f) {
  switch (type) {
    case Type::kFloat32: return f(float{});
    case Type::kBFloat16: return f(Bf16{});
    case Type::kFloat16: return f(Fp16{});
    case Type::kFloat64: return f(double{});
  }
}

// Threads of one direction: a state each, whole warps, at most half a block of 1024.
int threads_for_states(int64_t S) {
  const int64_t warps = (2 * S + 1 + kWarp - 1) / kWarp;
  return static_cast<int>(warps < 16 ? warps : 16) * kWarp;
}

template <class R>
R* as(void* data) {
  return static_cast<R*>(data);
}
template <class R>
const R* as(const void* data) {
  return static_cast<const R*>(data);
}

}  // namespace

void frame_stats(const View& logits, const Shape& shape, const int64_t* lengths, int64_t* best, void* best_logit,
                 void* logsumexp, void* blank_logit, unsigned long long* bad, void* stream) {
  const int64_t rows = shape.T * shape.B;
  if (rows == 0) return;
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    CTCKIT_LAUNCH(frame_stats_kernel<T>, blocks_for_warps(rows), kThreads, 0, static_cast<Stream>(stream), logits,
                  shape, lengths, best, as<R>(best_logit), as<R>(logsumexp), as<R>(blank_logit), bad);
  });
}

void log_softmax(const View& logits, const Shape& shape, const int64_t* lengths, double shift, const View& log_probs,
                 void* steps, const PathOutput& path, unsigned long long* bad, void* stream) {
  const int64_t rows = shape.T * shape.B;
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    if (rows > 0) {
      CTCKIT_LAUNCH(log_softmax_kernel<T>, blocks_for_warps(rows), kThreads, 0, static_cast<Stream>(stream), logits,
                    shape, lengths, shift, log_probs, as<Step<R>>(steps), bad);
    }
    if (steps != nullptr && shape.B > 0) {
      CTCKIT_LAUNCH(collapse_kernel<R>, blocks_for_warps(shape.B), kThreads, 0, static_cast<Stream>(stream), shape,
                    lengths, as<const Step<R>>(steps), path);
    }
  });
}

void log_softmax_backward(const View& grad, const View& log_probs, const Shape& shape, const View& out, void* stream) {
  const int64_t rows = shape.T * shape.B;
  if (rows == 0) return;
  with_type(out.type, [&](auto sample) {
    CTCKIT_LAUNCH(log_softmax_backward_kernel<decltype(sample)>, blocks_for_warps(rows), kThreads, 0,
                  static_cast<Stream>(stream), grad, log_probs, shape, out);
  });
}

void ctc_loss(const View& logits, const Shape& shape, const int64_t* lengths, const Targets& targets, double shift,
              bool path_domain, void* losses, void* norms, void* occupancy, void* kept, unsigned long long* bad,
              void* stream) {
  const int64_t rows = shape.T * shape.B;
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    if (rows > 0) {
      CTCKIT_LAUNCH(gather_kernel<T>, blocks_for_warps(rows), kThreads, 0, static_cast<Stream>(stream), logits, shape,
                    lengths, targets, path_domain ? R(0) : static_cast<R>(shift), as<R>(norms), as<R>(occupancy), bad);
    }
    if (shape.B > 0) {
      const int half = threads_for_states(targets.S);
      CTCKIT_LAUNCH(ctc_kernel<R>, static_cast<unsigned>(shape.B), 2 * half,
                    static_cast<size_t>(ctc_shared_bytes(targets.S)), static_cast<Stream>(stream), shape, lengths,
                    targets, shift, half, kept != nullptr, as<R>(losses), as<const R>(norms), as<R>(occupancy),
                    as<Kept<R>>(kept));
    }
  });
}

void ctc_loss_backward(const void* grad_losses, const View& logits, const Shape& shape, const int64_t* lengths,
                       const Targets& targets, const void* losses, const void* norms, const void* occupancy,
                       double norm_shift, int32_t* firsts, const View& grad, void* stream) {
  const int64_t rows = shape.T * shape.B, labels = shape.B * targets.S;
  if (rows == 0) return;
  if (labels > 0) {
    CTCKIT_LAUNCH(firsts_kernel, static_cast<unsigned>((labels + kThreads - 1) / kThreads), kThreads, 0,
                  static_cast<Stream>(stream), shape, targets, firsts);
  }
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    CTCKIT_LAUNCH(ctc_gradient_kernel<T>, blocks_for_warps(rows), kThreads, 0, static_cast<Stream>(stream),
                  as<R>(grad_losses), logits, shape, lengths, targets, as<R>(losses), as<R>(norms), as<R>(occupancy),
                  static_cast<R>(norm_shift), firsts, grad);
  });
}

void align(const View& logits, const Shape& shape, const int64_t* lengths, const Targets& targets, double shift,
           void* norms, void* columns, uint8_t* moves, const AlignmentOutput& out, unsigned long long* bad,
           void* stream) {
  const int64_t rows = shape.T * shape.B;
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    if (rows > 0) {
      CTCKIT_LAUNCH(gather_kernel<T>, blocks_for_warps(rows), kThreads, 0, static_cast<Stream>(stream), logits, shape,
                    lengths, targets, static_cast<R>(shift), as<R>(norms), as<R>(columns), bad);
    }
    if (shape.B > 0) {
      CTCKIT_LAUNCH(viterbi_kernel<R>, static_cast<unsigned>(shape.B), threads_for_states(targets.S),
                    static_cast<size_t>(viterbi_shared_bytes(targets.S)), static_cast<Stream>(stream), shape, lengths,
                    targets, shift, as<const R>(norms), as<const R>(columns), moves, out);
    }
  });
}

void sweep(const Shape& shape, bool in_double, const int64_t* best, const void* best_logit, const void* blank_logit,
           const int64_t* lengths, const double* shifts, int64_t K, int64_t* tokens, int64_t* counts, void* stream) {
  if (K * shape.B == 0) return;
  const auto run = [&](auto sample) {
    using R = decltype(sample);
    CTCKIT_LAUNCH(sweep_kernel<R>, blocks_for_warps(K * shape.B), kThreads, 0, static_cast<Stream>(stream), shape, best,
                  as<R>(best_logit), as<R>(blank_logit), lengths, shifts, K, tokens, counts);
  };
  in_double ? run(double{}) : run(float{});
}

}  // namespace cuda
}  // namespace ctckit
