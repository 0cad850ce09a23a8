// The ops on CPU: checks every argument, allocates, calls the kernels, reports what they found.
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstring>
#include <tuple>

#include "../cpu/kernels.h"
#include "../lm/arpa.h"
#include "checks.h"
#include "ops.h"
#include "tensors.h"

namespace ctckit {
namespace {

Pool torch_threads() {
  return {static_cast<int64_t>(torch::stable::get_num_threads()),
          [](int64_t tasks, void (*body)(int64_t, int64_t, void*), void* context) {
            torch::stable::parallel_for(0, tasks, 1, [=](int64_t begin, int64_t end) { body(begin, end, context); });
          }};
}

// A small integer tensor of any strides, copied: kernels read it often.
std::vector<int64_t> values_of(const Tensor& tensor) {
  const auto* data = static_cast<const int64_t*>(tensor.data_ptr());
  const int64_t rows = tensor.size(0), columns = tensor.dim() == 2 ? tensor.size(1) : 1;
  const int64_t row_stride = tensor.stride(0), column_stride = tensor.dim() == 2 ? tensor.stride(1) : 0;
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) values.push_back(data[i * row_stride + j * column_stride]);
  }
  return values;
}

std::vector<int64_t> lengths_of(const char* name, const Tensor& tensor, const Tensor& logits, int64_t B,
                                int64_t limit) {
  check_integers(tensor, logits, 1, B, (std::string(name) + ": expected int64 [B] on the logits' device").c_str());
  std::vector<int64_t> lengths = values_of(tensor);
  check_lengths(name, lengths, limit);
  return lengths;
}

struct CheckedTargets {
  std::vector<int64_t> labels, lengths;
  int64_t S;

  CheckedTargets(const Tensor& targets, const Tensor& target_lengths, const Tensor& logits, const Shape& shape) {
    check_integers(targets, logits, 2, shape.B, "targets: expected int64 [B, S] on the logits' device");
    S = targets.size(1);
    lengths = lengths_of("target_lengths", target_lengths, logits, shape.B, S);
    labels = values_of(targets);
    check_labels(labels, lengths, S, shape.C);
  }
  Targets view() const { return {labels.data(), lengths.data(), S}; }
};

void report(int64_t bad, int64_t T) {
  if (bad >= 0) refuse(bad_frame(bad, T));
}

// A new tensor as large as the logits. The kernel of the operating system clears fresh memory page by page, at
// several times the cost of writing it; huge pages, where it grants them on request, make that bearable.
Tensor large_output(const Tensor& logits) {
  Tensor out = torch::stable::empty_like(logits);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kHuge = uintptr_t{1} << 21;
  const auto begin = reinterpret_cast<uintptr_t>(out.data_ptr());
  const uintptr_t from = (begin + kHuge - 1) / kHuge * kHuge;
  const uintptr_t to = (begin + static_cast<uintptr_t>(out.numel()) * out.element_size()) / kHuge * kHuge;
  // Advice: a refusal changes nothing but the time it takes.
  if (to > from) {
    (void)madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
  }
#endif
  return out;
}

using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using Five = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
using Six = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Seven = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Eleven = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Four frame_stats(const Tensor& logits, const Tensor& lengths) {
  const Shape shape = check_logits(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T);
  const StatsTensors out(logits, shape, false);
  report(kernels().frame_stats(torch_threads(), view_of(logits), shape, frames.data(), out.output(false)), shape.T);
  return {out.best, out.best_logit, out.logsumexp, out.blank_logit};
}

Six greedy(const Tensor& logits, const Tensor& lengths, double shift) {
  const Shape shape = check_logits(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T);
  const GreedyTensors out(logits, shape);
  const PathOutput path = out.output();
  report(kernels().log_softmax(torch_threads(), view_of(logits), shape, frames.data(), shift, nullptr, &path, nullptr),
         shape.T);
  return {out.tokens, out.counts, out.starts, out.ends, out.scores, out.utterance_scores};
}

Eleven greedy_with_stats(const Tensor& logits, const Tensor& lengths, double shift) {
  const Shape shape = check_logits(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T);
  const GreedyTensors out(logits, shape);
  const StatsTensors stats(logits, shape, true);
  const PathOutput path = out.output();
  const StatsOutput statistics = stats.output(true);
  report(kernels().log_softmax(torch_threads(), view_of(logits), shape, frames.data(), shift, nullptr, &path,
                               &statistics),
         shape.T);
  return {out.tokens,       out.counts,       out.starts,      out.ends,          out.scores,   out.utterance_scores,
          stats.best,       stats.best_logit, stats.logsumexp, stats.blank_logit, stats.entropy};
}

Tensor penalized_log_softmax(const Tensor& logits, double shift) {
  const Shape shape = check_logits(logits);
  const Tensor log_probs = large_output(logits);
  const View out = view_of(log_probs);
  report(kernels().log_softmax(torch_threads(), view_of(logits), shape, nullptr, shift, &out, nullptr, nullptr),
         shape.T);
  return log_probs;
}

Seven penalized_log_softmax_with_path(const Tensor& logits, const Tensor& lengths, double shift) {
  const Shape shape = check_logits(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T);
  const Tensor log_probs = large_output(logits);
  const View view = view_of(log_probs);
  const GreedyTensors out(logits, shape);
  const PathOutput path = out.output();
  report(kernels().log_softmax(torch_threads(), view_of(logits), shape, frames.data(), shift, &view, &path, nullptr),
         shape.T);
  return {log_probs, out.tokens, out.counts, out.starts, out.ends, out.scores, out.utterance_scores};
}

Tensor penalized_log_softmax_backward(const Tensor& grad, const Tensor& log_probs) {
  const Shape shape = check_logits(log_probs);
  check_like(grad, log_probs, "grad: does not match log_probs");
  const Tensor out = large_output(log_probs);
  kernels().log_softmax_backward(torch_threads(), view_of(grad), view_of(log_probs), shape, view_of(out));
  return out;
}

// Losses, entropies (undefined without them), norms, occupancies, covariances; the last three empty without gradient.
struct Losses {
  Tensor losses, entropies, norms, occupancy, covariance;

  Losses(const Tensor& logits, const Tensor& targets, const Tensor& lengths, const Tensor& target_lengths, double shift,
         bool path_domain, bool with_gradient, bool with_entropy) {
    const Shape shape = check_logits(logits);
    const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T);
    const CheckedTargets checked(targets, target_lengths, logits, shape);
    const View view = view_of(logits);
    const ScalarType working = working_type(view.type);
    losses = make(logits, {shape.B}, working);
    norms = make(logits, {shape.T, shape.B, 2}, working);
    occupancy = make(logits, {shape.B, shape.T, checked.S + 1}, working);
    if (with_entropy) {
      entropies = make(logits, {shape.B}, working);
      covariance = make(logits, {shape.B, with_gradient ? shape.T : 0, checked.S + 1}, working);
    }
    report(kernels().ctc_loss(torch_threads(), view, shape, frames.data(), checked.view(), shift, path_domain,
                              with_gradient, losses.data_ptr(), norms.data_ptr(), occupancy.data_ptr(),
                              with_entropy ? entropies.data_ptr() : nullptr,
                              with_entropy ? covariance.data_ptr() : nullptr),
           shape.T);
    if (with_gradient) return;
    for (Tensor* unused : {&norms, &occupancy, &covariance}) *unused = make(logits, {0}, working);
  }
};

std::tuple<Tensor, Tensor, Tensor> ctc_loss(const Tensor& logits, const Tensor& targets, const Tensor& lengths,
                                            const Tensor& target_lengths, double shift, bool path_domain,
                                            bool with_gradient) {
  const Losses out(logits, targets, lengths, target_lengths, shift, path_domain, with_gradient, false);
  return {out.losses, out.norms, out.occupancy};
}

Five ctc_loss_with_entropy(const Tensor& logits, const Tensor& targets, const Tensor& lengths,
                           const Tensor& target_lengths, double shift, bool path_domain, bool with_gradient) {
  const Losses out(logits, targets, lengths, target_lengths, shift, path_domain, with_gradient, true);
  return {out.losses, out.entropies, out.norms, out.occupancy, out.covariance};
}

Tensor gradient(const Tensor& grad_losses, const Tensor* grad_entropies, const Tensor& logits, const Tensor& targets,
                const Tensor& lengths, const Tensor& target_lengths, const Tensor& losses, const Tensor& norms,
                const Tensor& occupancy, const Tensor* covariance, double norm_shift) {
  const Shape shape = check_logits(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T);
  const CheckedTargets checked(targets, target_lengths, logits, shape);
  // The gradient of a sum arrives as one number expanded to [B].
  const auto dense = [](const Tensor& grad) { return grad.is_contiguous() ? grad : torch::stable::clone(grad); };
  const Tensor weights = dense(grad_losses), entropy_weights = dense(grad_entropies ? *grad_entropies : grad_losses);
  check_working(weights, logits, shape.B, "grad_losses: expected [B] of the working type");
  check_working(entropy_weights, logits, shape.B, "grad_entropies: expected [B] of the working type");
  check_working(losses, logits, shape.B, "losses: expected [B] of the working type");
  check_working(norms, logits, shape.T * shape.B * 2, "norms: expected [T, B, 2] of the working type");
  const int64_t columns = shape.T * shape.B * (checked.S + 1);
  check_working(occupancy, logits, columns, "occupancy: expected [B, T, S + 1] of the working type");
  if (covariance) check_working(*covariance, logits, columns, "covariance: expected [B, T, S + 1] of the working type");
  const Tensor grad = large_output(logits);
  kernels().ctc_loss_backward(torch_threads(), weights.data_ptr(), view_of(logits), shape, frames.data(),
                              checked.view(), losses.data_ptr(), norms.data_ptr(), occupancy.data_ptr(), norm_shift,
                              entropy_weights.data_ptr(), covariance ? covariance->data_ptr() : nullptr,
                              view_of(grad));
  return grad;
}

Tensor ctc_loss_backward(const Tensor& grad_losses, const Tensor& logits, const Tensor& targets, const Tensor& lengths,
                         const Tensor& target_lengths, const Tensor& losses, const Tensor& norms,
                         const Tensor& occupancy, double norm_shift) {
  return gradient(grad_losses, nullptr, logits, targets, lengths, target_lengths, losses, norms, occupancy, nullptr,
                  norm_shift);
}

Tensor ctc_loss_with_entropy_backward(const Tensor& grad_losses, const Tensor& grad_entropies, const Tensor& logits,
                                      const Tensor& targets, const Tensor& lengths, const Tensor& target_lengths,
                                      const Tensor& losses, const Tensor& norms, const Tensor& occupancy,
                                      const Tensor& covariance, double norm_shift) {
  return gradient(grad_losses, &grad_entropies, logits, targets, lengths, target_lengths, losses, norms, occupancy,
                  &covariance, norm_shift);
}

Five align(const Tensor& logits, const Tensor& targets, const Tensor& lengths, const Tensor& target_lengths,
           double shift) {
  const Shape shape = check_logits(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T);
  const CheckedTargets checked(targets, target_lengths, logits, shape);
  const View view = view_of(logits);
  const ScalarType working = working_type(view.type);
  const Tensor norms = make(logits, {shape.T, shape.B, 2}, working);
  const Tensor columns = make(logits, {shape.B, shape.T, checked.S + 1}, working);
  const AlignmentTensors out(logits, shape, checked.S);
  report(kernels().align(torch_threads(), view, shape, frames.data(), checked.view(), shift, norms.data_ptr(),
                         columns.data_ptr(), out.output()),
         shape.T);
  return {out.paths, out.starts, out.ends, out.scores, out.utterance_scores};
}

// `most` is a limit that no search comes near: memory is asked for by it.
int64_t number(const char* name, int64_t value, int64_t most) {
  if (value < 1 || value > most) {
    refuse(std::string(name) + ": " + std::to_string(value) + " is outside 1.." + std::to_string(most));
  }
  return value;
}

double finite(const char* name, double value) {
  if (!std::isfinite(value)) refuse(std::string(name) + ": not a finite number");
  return value;
}

Six beam_search(const Tensor& logits, const Tensor& lengths, double shift, int64_t width, int64_t classes, int64_t best,
                double weight, double bonus, std::vector<Tensor> language, int64_t language_initial,
                double language_unknown, std::vector<Tensor> lexicon, int64_t separator, std::vector<Tensor> hotwords,
                int64_t hotwords_initial, double hotwords_unknown) {
  const Shape shape = check_logits(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T);
  const CheckedLexicon spelling(lexicon, separator, shape.C);
  // Words have any numbers, classes theirs.
  const int64_t first = spelling.given ? 0 : kBlank + 1, end = spelling.given ? int64_t{1} << 31 : shape.C;
  const CheckedAutomaton model("language", language, language_initial, language_unknown, first, end);
  const CheckedAutomaton phrases("hotwords", hotwords, hotwords_initial, hotwords_unknown, kBlank + 1, shape.C);
  constexpr int64_t kMost = int64_t{1} << 20;
  const Search search{number("width", width, kMost),
                      std::min(number("classes", classes, int64_t{1} << 31), shape.C - 1),
                      number("best", best, kMost),
                      finite("shift", shift),
                      finite("weight", weight),
                      finite("bonus", bonus),
                      model.get(),
                      spelling.get(),
                      phrases.get()};
  const ScalarType working = working_type(type_of(logits));
  const Tensor tokens = make(logits, {shape.B, best, shape.T}, ScalarType::Long);
  const Tensor counts = make(logits, {shape.B, best}, ScalarType::Long);
  const auto scores = [&] { return make(logits, {shape.B, best}, working); };
  const Tensor acoustic = scores(), language_scores = scores(), boosts = scores(), totals = scores();
  const BeamOutput out{static_cast<int64_t*>(tokens.data_ptr()), static_cast<int64_t*>(counts.data_ptr()),
                       acoustic.data_ptr(), language_scores.data_ptr(), boosts.data_ptr(), totals.data_ptr()};
  report(kernels().beam_search(torch_threads(), view_of(logits), shape, frames.data(), search, out), shape.T);
  return {tokens, counts, acoustic, language_scores, boosts, totals};
}

template <class T>
Tensor tensor_of(const std::vector<T>& values, const Tensor& like, ScalarType type) {
  const Tensor made = make(like, {static_cast<int64_t>(values.size())}, type);
  if (!values.empty()) memcpy(made.data_ptr(), values.data(), sizeof(T) * values.size());
  return made;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> read_arpa(const Tensor& text) {
  check(text.is_cpu() && text.dim() == 1 && text.is_contiguous() && text.scalar_type() == ScalarType::Byte,
        "text: expected contiguous bytes on the CPU");
  const NgramModel model =
      parse_arpa(std::string_view(static_cast<const char*>(text.data_ptr()), static_cast<size_t>(text.numel())));
  std::vector<int64_t> numbers{model.initial};
  numbers.insert(numbers.end(), model.counts.begin(), model.counts.end());
  return {tensor_of(std::vector<char>(model.words.begin(), model.words.end()), text, ScalarType::Byte),
          tensor_of(model.starts, text, ScalarType::Long),
          tensor_of(model.labels, text, ScalarType::Int),
          tensor_of(model.targets, text, ScalarType::Int),
          tensor_of(model.weights, text, ScalarType::Float),
          tensor_of(model.failures, text, ScalarType::Int),
          tensor_of(model.failure_weights, text, ScalarType::Float),
          tensor_of(model.finals, text, ScalarType::Float),
          tensor_of(numbers, text, ScalarType::Long)};
}

std::tuple<Tensor, Tensor> sweep(const Tensor& best, const Tensor& best_logit, const Tensor& blank_logit,
                                 const Tensor& lengths, const Tensor& shifts) {
  const Shape shape = check_stats(best, best_logit, blank_logit, shifts);
  const auto frames = lengths_of("lengths", lengths, best, shape.B, shape.T);
  const int64_t K = shifts.size(0);
  const Tensor tokens = make(best, {K, shape.B, shape.T}, ScalarType::Long);
  const Tensor counts = make(best, {K, shape.B}, ScalarType::Long);
  kernels().sweep(torch_threads(), shape, best_logit.scalar_type() == ScalarType::Double,
                  static_cast<const int64_t*>(best.data_ptr()), best_logit.data_ptr(), blank_logit.data_ptr(),
                  frames.data(), static_cast<const double*>(shifts.data_ptr()), K,
                  static_cast<int64_t*>(tokens.data_ptr()), static_cast<int64_t*>(counts.data_ptr()));
  return {tokens, counts};
}

}  // namespace
}  // namespace ctckit

#define CTCKIT_IMPLEMENT(name) m.impl(#name, TORCH_BOX(&ctckit::name));
STABLE_TORCH_LIBRARY_IMPL(ctckit, CPU, m) {
  CTCKIT_EACH_OP(CTCKIT_IMPLEMENT)
  CTCKIT_EACH_OP_ON_CPU_ALONE(CTCKIT_IMPLEMENT)
}
