// Which kernels an op launches, in what shape. The shim compiles this file too, with the launches its own.
#include <type_traits>

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

// Shared memory that every device grants without being asked.
constexpr int64_t kSharedBytes = 48 * 1024;

// Calls f with the number of pairs of states a lane, as a constant, or fallback if a warp cannot hold them all.
template <class F, class G>
void with_pairs(int64_t S, const F& f, const G& fallback) {
  const int64_t pairs = (S + kWarp) / kWarp;
  if (pairs <= 1) return f(std::integral_constant<int, 1>{});
  if (pairs <= 2) return f(std::integral_constant<int, 2>{});
  if (pairs <= 4) return f(std::integral_constant<int, 4>{});
  return fallback();
}

bool in_registers(int64_t S) { return S + 1 <= 4 * kWarp; }

// Bytes of states in global memory that the wide kernels need: none if a block's shared memory holds them.
int64_t ctc_states_bytes(const Shape& shape, int64_t S) {
  const int64_t bytes = 2 * WideStates::bytes(S);
  return in_registers(S) || ctc_wide_shared_bytes() + bytes <= kSharedBytes ? 0 : shape.B * bytes;
}
// And of the alignment: bytes for an utterance's moves and, in the wide kernel, its states.
struct AlignmentPlan {
  bool moves_in_shared, states_in_shared;
  int64_t moves, states, traced, shared;

  AlignmentPlan(const Shape& shape, int64_t S) {
    const int64_t wide = in_registers(S) ? 0 : viterbi_wide_bytes(S);
    states_in_shared = trace_bytes(shape.T, S, false) + wide <= kSharedBytes;
    states = states_in_shared ? 0 : shape.B * wide;
    const int64_t beside = states_in_shared ? wide : 0;
    moves_in_shared = trace_bytes(shape.T, S, true) + beside <= kSharedBytes;
    moves = moves_in_shared ? 0 : shape.B * shape.T * (S + 1);
    traced = trace_bytes(shape.T, S, moves_in_shared);
    shared = traced + beside;
  }
};

// Deals out one piece of scratch.
class Scratch {
 public:
  explicit Scratch(void* begin) : next_(static_cast<char*>(begin)) {}
  void* take(int64_t bytes) {
    char* here = next_;
    next_ += rounded(bytes);
    return bytes > 0 ? here : nullptr;
  }
  static int64_t rounded(int64_t bytes) { return (bytes + 15) / 16 * 16; }

 private:
  char* next_;
};

int64_t working_bytes(Type type) { return works_in_double(type) ? 8 : 4; }
int64_t emission_bytes(Type type, const Shape& shape, int64_t S) {
  return 2 * working_bytes(type) * shape.T * shape.B * (S + 1);
}
int64_t kept_bytes(Type type, const Shape& shape, int64_t S, bool with_gradient) {
  return with_gradient ? 2 * working_bytes(type) * shape.T * shape.B * S : 0;
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

void frame_stats(const View& logits, const Shape& shape, const int64_t* lengths, const StatsOutput& stats,
                 unsigned long long* fault, void* stream) {
  const int64_t rows = (shape.T > 0 ? shape.T : 1) * shape.B;
  if (rows == 0) return;
  with_type(logits.type, [&](auto sample) {
    CTCKIT_LAUNCH(frame_stats_kernel<decltype(sample)>, blocks_for_warps(rows), kThreads, 0,
                  static_cast<Stream>(stream), logits, shape, lengths, stats, fault);
  });
}

int64_t path_scratch_bytes(Type type, const Shape& shape) { return 2 * working_bytes(type) * shape.T * shape.B; }

void log_softmax(const View& logits, const Shape& shape, const int64_t* lengths, double shift, const View& log_probs,
                 void* scratch, const PathOutput& path, const StatsOutput& stats, unsigned long long* fault,
                 void* stream) {
  const int64_t rows = shape.T * shape.B;
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    const auto launch_rows = [&](auto with_stats) {
      CTCKIT_LAUNCH((log_softmax_kernel<T, decltype(with_stats)::value>), blocks_for_warps(rows), kThreads, 0,
                    static_cast<Stream>(stream), logits, shape, lengths, shift, log_probs, as<Step<R>>(scratch), stats,
                    fault);
    };
    if (rows > 0) stats.best ? launch_rows(std::true_type{}) : launch_rows(std::false_type{});
    if (path.counts != nullptr && shape.B > 0) {
      CTCKIT_LAUNCH(collapse_kernel<R>, static_cast<unsigned>(shape.B), kWalkThreads, kWalkWarps * 16,
                    static_cast<Stream>(stream), shape, lengths, as<const Step<R>>(scratch), path, fault);
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

int64_t ctc_scratch_bytes(Type type, const Shape& shape, int64_t S, bool with_gradient) {
  return Scratch::rounded(emission_bytes(type, shape, S)) +
         Scratch::rounded(kept_bytes(type, shape, S, with_gradient)) + Scratch::rounded(ctc_states_bytes(shape, S));
}

void ctc_loss(const View& logits, const Shape& shape, const int64_t* lengths, const Targets& targets, double shift,
              bool path_domain, void* losses, void* norms, bool with_gradient, void* occupancy, void* scratch,
              unsigned long long* fault, void* stream) {
  const int64_t rows = shape.T * shape.B, S = targets.S;
  if (shape.B == 0) return;
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    Scratch pieces(scratch);
    auto* emissions = as<Stored<R>>(pieces.take(emission_bytes(logits.type, shape, S)));
    auto* kept = as<Stored<R>>(pieces.take(kept_bytes(logits.type, shape, S, with_gradient)));
    auto* states = as<char>(pieces.take(ctc_states_bytes(shape, S)));
    const R shift_of_type = static_cast<R>(shift);
    if (rows > 0) {
      const auto shift_rest = static_cast<R>(shift - static_cast<double>(shift_of_type));
      const EmissionColumns<R> columns{emissions, shift_of_type, shift_rest, emission_bound(shape.T)};
      CTCKIT_LAUNCH((gather_kernel<T, EmissionColumns<R>>), blocks_for_warps(rows), kThreads, 0,
                    static_cast<Stream>(stream), logits, shape, lengths, targets, path_domain ? R(0) : shift_of_type,
                    as<R>(norms), columns, fault);
    }
    const Trellis<R> trellis{as<R>(norms), emissions, kept, with_gradient, as<R>(occupancy), as<R>(losses)};
    const bool never_negative = !path_domain || shift <= 0;
    const auto blocks = static_cast<unsigned>(shape.B);
    with_pairs(
        S,
        [&](auto pairs) {
          CTCKIT_LAUNCH((ctc_warp_kernel<R, decltype(pairs)::value>), blocks, 3 * kWarp,
                        static_cast<size_t>(ctc_warp_shared_bytes(S, sizeof(R))), static_cast<Stream>(stream), shape,
                        lengths, targets, never_negative, trellis, fault);
        },
        [&] {
          const int64_t shared = ctc_wide_shared_bytes() + (states == nullptr ? 2 * WideStates::bytes(S) : 0);
          CTCKIT_LAUNCH(ctc_wide_kernel<R>, blocks, 2 * kWideHalf, static_cast<size_t>(shared),
                        static_cast<Stream>(stream), shape, lengths, targets, never_negative, trellis, states, fault);
        });
  });
}

void ctc_loss_backward(const void* grad_losses, int64_t grad_losses_stride, const View& logits, const Shape& shape,
                       const int64_t* lengths, const Targets& targets, const void* losses, const void* norms,
                       const void* occupancy, double norm_shift, void* scratch, const View& grad, void* stream) {
  const int64_t rows = shape.T * shape.B, labels = shape.B * targets.S;
  if (rows == 0) return;
  auto* sorted = as<SortedLabel>(scratch);
  if (labels > 0) {
    CTCKIT_LAUNCH(sort_kernel, static_cast<unsigned>((labels + kThreads - 1) / kThreads), kThreads, 0,
                  static_cast<Stream>(stream), shape, targets, sorted);
  }
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    CTCKIT_LAUNCH(ctc_gradient_kernel<T>, blocks_for_warps(rows), kThreads, 0, static_cast<Stream>(stream),
                  as<R>(grad_losses), grad_losses_stride, logits, shape, lengths, targets, as<R>(losses), as<R>(norms),
                  as<R>(occupancy), static_cast<R>(norm_shift), sorted, grad);
  });
}

int64_t align_scratch_bytes(Type type, const Shape& shape, int64_t S) {
  const int64_t R = working_bytes(type), frames = shape.T * shape.B;
  const AlignmentPlan plan(shape, S);
  return Scratch::rounded(R * 2 * frames) + Scratch::rounded(R * frames * (S + 1)) + Scratch::rounded(8 * frames) +
         Scratch::rounded(plan.states) + Scratch::rounded(plan.moves);
}

void align(const View& logits, const Shape& shape, const int64_t* lengths, const Targets& targets, double shift,
           void* scratch, const AlignmentOutput& out, unsigned long long* fault, void* stream) {
  const int64_t rows = shape.T * shape.B, S = targets.S;
  if (shape.B == 0) return;
  const AlignmentPlan plan(shape, S);
  with_type(logits.type, [&](auto sample) {
    using T = decltype(sample);
    using R = Working<T>;
    Scratch pieces(scratch);
    R* norms = as<R>(pieces.take(static_cast<int64_t>(sizeof(R)) * 2 * rows));
    R* columns = as<R>(pieces.take(static_cast<int64_t>(sizeof(R)) * rows * (S + 1)));
    double* scores = as<double>(pieces.take(8 * rows));
    char* states = as<char>(pieces.take(plan.states));
    const Lattice<R> lattice{norms, columns, scores, as<uint8_t>(pieces.take(plan.moves)), shift};
    if (rows > 0) {
      CTCKIT_LAUNCH((gather_kernel<T, LogitColumns<R>>), blocks_for_warps(rows), kThreads, 0,
                    static_cast<Stream>(stream), logits, shape, lengths, targets, static_cast<R>(shift), norms,
                    LogitColumns<R>{columns}, fault);
    }
    const auto blocks = static_cast<unsigned>(shape.B);
    const auto shared = static_cast<size_t>(plan.shared);
    with_pairs(
        S,
        [&](auto pairs) {
          CTCKIT_LAUNCH((viterbi_warp_kernel<R, decltype(pairs)::value>), blocks, kAlignThreads, shared,
                        static_cast<Stream>(stream), shape, lengths, targets, lattice, out, fault);
        },
        [&] {
          CTCKIT_LAUNCH(viterbi_wide_kernel<R>, blocks, 2 * kWideHalf, shared, static_cast<Stream>(stream), shape,
                        lengths, targets, lattice, out, plan.traced, states, fault);
        });
  });
}

void sweep(const Shape& shape, bool in_double, const int64_t* best, const void* best_logit, const void* blank_logit,
           const int64_t* lengths, const double* shifts, int64_t K, int64_t* tokens, int64_t* counts,
           unsigned long long* fault, void* stream) {
  if (K * shape.B == 0) return;
  const auto run = [&](auto sample) {
    using R = decltype(sample);
    CTCKIT_LAUNCH(sweep_kernel<R>, static_cast<unsigned>(K * shape.B), kWalkThreads, kWalkWarps * 8,
                  static_cast<Stream>(stream), shape, best, as<R>(best_logit), as<R>(blank_logit), lengths, shifts,
                  tokens, counts, fault);
  };
  in_double ? run(double{}) : run(float{});
}

}  // namespace cuda
}  // namespace ctckit
