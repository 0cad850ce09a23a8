// The ops on CUDA. Arguments are checked on the host, which takes a copy of the lengths and targets; whether logits
// were finite is known when the kernels are done. Both make the host wait for the stream.
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <tuple>

#include "../cuda/launch.h"
#include "checks.h"
#include "tensors.h"

namespace ctckit {
namespace {

void ok(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("ctckit: CUDA: ") + cudaGetErrorString(error));
}

// torch's current stream, by a function that only torch with CUDA has: the library also loads where it is missing.
cudaStream_t current_stream(const Tensor& tensor) {
  using Ask = AOTITorchError (*)(int32_t, void**);
  static const auto ask = reinterpret_cast<Ask>(dlsym(RTLD_DEFAULT, "aoti_torch_get_current_cuda_stream"));
  if (ask == nullptr) throw std::runtime_error("ctckit: this torch has no CUDA streams");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(ask(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Runs on the logits' device for as long as it lives.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& tensor) : stream(current_stream(tensor)) {
    ok(cudaGetDevice(&before_));
    ok(cudaSetDevice(tensor.get_device_index()));
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  const cudaStream_t stream;

 private:
  int before_ = 0;
};

Tensor dense(const Tensor& tensor) { return tensor.is_contiguous() ? tensor : torch::stable::clone(tensor); }

// A small int64 tensor on the device, contiguous, with a copy on the host.
struct Mirrored {
  Tensor device;
  std::vector<int64_t> host;

  Mirrored(const Tensor& tensor, cudaStream_t stream)
      : device(dense(tensor)), host(static_cast<size_t>(tensor.numel())) {
    ok(cudaMemcpyAsync(host.data(), device.data_ptr(), host.size() * sizeof(int64_t), cudaMemcpyDeviceToHost, stream));
    ok(cudaStreamSynchronize(stream));
  }
  const int64_t* data() const { return static_cast<const int64_t*>(device.data_ptr()); }
};

Mirrored lengths_of(const char* name, const Tensor& tensor, const Tensor& logits, int64_t B, int64_t limit,
                    cudaStream_t stream) {
  check_integers(tensor, logits, 1, B, (std::string(name) + ": expected int64 [B] on the logits' device").c_str());
  Mirrored lengths(tensor, stream);
  check_lengths(name, lengths.host, limit);
  return lengths;
}

struct CheckedTargets {
  Mirrored lengths, labels;
  int64_t S;

  CheckedTargets(const Tensor& targets, const Tensor& target_lengths, const Tensor& logits, const Shape& shape,
                 cudaStream_t stream)
      : lengths(lengths_of("target_lengths", target_lengths, logits, shape.B, width(targets, logits, shape), stream)),
        labels(targets, stream),
        S(targets.size(1)) {
    check_labels(labels.host, lengths.host, S, shape.C);
    check(S <= cuda::kLongestTarget, "targets: wider than the 256 labels that the CUDA kernels hold");
  }
  Targets view() const { return {labels.data(), lengths.data(), S}; }

 private:
  static int64_t width(const Tensor& targets, const Tensor& logits, const Shape& shape) {
    check_integers(targets, logits, 2, shape.B, "targets: expected int64 [B, S] on the logits' device");
    return targets.size(1);
  }
};

// Where kernels note the first bad frame.
class Status {
 public:
  Status(const Tensor& like, cudaStream_t stream) : word_(make(like, {1}, ScalarType::Long)), stream_(stream) {
    ok(cudaMemsetAsync(word_.data_ptr(), 0xff, sizeof(int64_t), stream));
  }
  unsigned long long* get() const { return static_cast<unsigned long long*>(word_.data_ptr()); }
  void report(int64_t T) const {
    ok(cudaGetLastError());
    int64_t bad = -1;
    ok(cudaMemcpyAsync(&bad, word_.data_ptr(), sizeof(bad), cudaMemcpyDeviceToHost, stream_));
    ok(cudaStreamSynchronize(stream_));
    if (bad >= 0) refuse(bad_frame(bad, T));
  }

 private:
  Tensor word_;
  cudaStream_t stream_;
};

Tensor scratch(const Tensor& like, int64_t bytes) { return make(like, {bytes}, ScalarType::Byte); }

using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using Five = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
using Six = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Seven = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Four frame_stats(const Tensor& logits, const Tensor& lengths) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T, on.stream);
  const View view = view_of(logits);
  const ScalarType working = working_type(view.type);
  const Tensor best = make(logits, {shape.T, shape.B}, ScalarType::Long);
  const Tensor best_logit = make(logits, {shape.T, shape.B}, working);
  const Tensor logsumexp = make(logits, {shape.T, shape.B}, working);
  const Tensor blank_logit = make(logits, {shape.T, shape.B}, working);
  const Status status(logits, on.stream);
  cuda::frame_stats(view, shape, frames.data(), static_cast<int64_t*>(best.data_ptr()), best_logit.data_ptr(),
                    logsumexp.data_ptr(), blank_logit.data_ptr(), status.get(), on.stream);
  status.report(shape.T);
  return {best, best_logit, logsumexp, blank_logit};
}

Six greedy(const Tensor& logits, const Tensor& lengths, double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T, on.stream);
  const GreedyTensors out(logits, shape);
  const Tensor steps = scratch(logits, 16 * shape.T * shape.B);
  const Status status(logits, on.stream);
  cuda::log_softmax(view_of(logits), shape, frames.data(), shift, View{}, steps.data_ptr(), out.output(), status.get(),
                    on.stream);
  status.report(shape.T);
  return {out.tokens, out.counts, out.starts, out.ends, out.scores, out.utterance_scores};
}

Tensor penalized_log_softmax(const Tensor& logits, double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const Tensor log_probs = torch::stable::empty_like(logits);
  const Status status(logits, on.stream);
  cuda::log_softmax(view_of(logits), shape, nullptr, shift, view_of(log_probs), nullptr, PathOutput{}, status.get(),
                    on.stream);
  status.report(shape.T);
  return log_probs;
}

Seven penalized_log_softmax_with_path(const Tensor& logits, const Tensor& lengths, double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T, on.stream);
  const Tensor log_probs = torch::stable::empty_like(logits);
  const GreedyTensors out(logits, shape);
  const Tensor steps = scratch(logits, 16 * shape.T * shape.B);
  const Status status(logits, on.stream);
  cuda::log_softmax(view_of(logits), shape, frames.data(), shift, view_of(log_probs), steps.data_ptr(), out.output(),
                    status.get(), on.stream);
  status.report(shape.T);
  return {log_probs, out.tokens, out.counts, out.starts, out.ends, out.scores, out.utterance_scores};
}

Tensor penalized_log_softmax_backward(const Tensor& grad, const Tensor& log_probs) {
  const Shape shape = check_logits(log_probs);
  check_like(grad, log_probs, "grad: does not match log_probs");
  const OnDevice on(log_probs);
  const Tensor out = torch::stable::empty_like(log_probs);
  cuda::log_softmax_backward(view_of(grad), view_of(log_probs), shape, view_of(out), on.stream);
  ok(cudaGetLastError());
  return out;
}

std::tuple<Tensor, Tensor, Tensor> ctc_loss(const Tensor& logits, const Tensor& targets, const Tensor& lengths,
                                            const Tensor& target_lengths, double shift, bool path_domain,
                                            bool with_gradient) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T, on.stream);
  const CheckedTargets checked(targets, target_lengths, logits, shape, on.stream);
  const View view = view_of(logits);
  const ScalarType working = working_type(view.type);
  const Tensor losses = make(logits, {shape.B}, working);
  const Tensor norms = make(logits, {shape.T, shape.B, 2}, working);
  const Tensor occupancy = make(logits, {shape.B, shape.T, checked.S + 1}, working);
  const Tensor kept = scratch(logits, with_gradient ? 16 * shape.T * shape.B * (2 * checked.S + 1) : 0);
  const Status status(logits, on.stream);
  cuda::ctc_loss(view, shape, frames.data(), checked.view(), shift, path_domain, losses.data_ptr(), norms.data_ptr(),
                 occupancy.data_ptr(), with_gradient ? kept.data_ptr() : nullptr, status.get(), on.stream);
  status.report(shape.T);
  if (with_gradient) return {losses, norms, occupancy};
  return {losses, make(logits, {0}, working), make(logits, {0}, working)};
}

Tensor ctc_loss_backward(const Tensor& grad_losses, const Tensor& logits, const Tensor& targets, const Tensor& lengths,
                         const Tensor& target_lengths, const Tensor& losses, const Tensor& norms,
                         const Tensor& occupancy, double norm_shift) {
  const Shape shape = check_logits(logits);
  check_integers(lengths, logits, 1, shape.B, "lengths: expected int64 [B] on the logits' device");
  check_integers(target_lengths, logits, 1, shape.B, "target_lengths: expected int64 [B] on the logits' device");
  check_integers(targets, logits, 2, shape.B, "targets: expected int64 [B, S] on the logits' device");
  // Their values passed the forward op, which made the occupancies: no need to wait for them again.
  const int64_t S = targets.size(1);
  const Tensor weights = dense(grad_losses), labels = dense(targets), frames = dense(lengths);
  const Tensor label_counts = dense(target_lengths);
  check_working(weights, logits, shape.B, "grad_losses: expected [B] of the working type");
  check_working(losses, logits, shape.B, "losses: expected [B] of the working type");
  check_working(norms, logits, shape.T * shape.B * 2, "norms: expected [T, B, 2] of the working type");
  check_working(occupancy, logits, shape.T * shape.B * (S + 1), "occupancy: expected [B, T, S + 1]");
  const OnDevice on(logits);
  const Tensor firsts = make(logits, {shape.B, S}, ScalarType::Int);
  const Tensor grad = torch::stable::empty_like(logits);
  const Targets view{static_cast<const int64_t*>(labels.data_ptr()),
                     static_cast<const int64_t*>(label_counts.data_ptr()), S};
  cuda::ctc_loss_backward(weights.data_ptr(), view_of(logits), shape, static_cast<const int64_t*>(frames.data_ptr()),
                          view, losses.data_ptr(), norms.data_ptr(), occupancy.data_ptr(), norm_shift,
                          static_cast<int32_t*>(firsts.data_ptr()), view_of(grad), on.stream);
  ok(cudaGetLastError());
  return grad;
}

Five align(const Tensor& logits, const Tensor& targets, const Tensor& lengths, const Tensor& target_lengths,
           double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const auto frames = lengths_of("lengths", lengths, logits, shape.B, shape.T, on.stream);
  const CheckedTargets checked(targets, target_lengths, logits, shape, on.stream);
  const View view = view_of(logits);
  const ScalarType working = working_type(view.type);
  const Tensor norms = make(logits, {shape.T, shape.B, 2}, working);
  const Tensor columns = make(logits, {shape.B, shape.T, checked.S + 1}, working);
  const Tensor moves = scratch(logits, shape.T * shape.B * (2 * checked.S + 1));
  const AlignmentTensors out(logits, shape, checked.S);
  const Status status(logits, on.stream);
  cuda::align(view, shape, frames.data(), checked.view(), shift, norms.data_ptr(), columns.data_ptr(),
              static_cast<uint8_t*>(moves.data_ptr()), out.output(), status.get(), on.stream);
  status.report(shape.T);
  return {out.paths, out.starts, out.ends, out.scores, out.utterance_scores};
}

std::tuple<Tensor, Tensor> sweep(const Tensor& best, const Tensor& best_logit, const Tensor& blank_logit,
                                 const Tensor& lengths, const Tensor& shifts) {
  const Shape shape = check_stats(best, best_logit, blank_logit, shifts);
  const OnDevice on(best);
  const auto frames = lengths_of("lengths", lengths, best, shape.B, shape.T, on.stream);
  const int64_t K = shifts.size(0);
  const Tensor tokens = make(best, {K, shape.B, shape.T}, ScalarType::Long);
  const Tensor counts = make(best, {K, shape.B}, ScalarType::Long);
  cuda::sweep(shape, best_logit.scalar_type() == ScalarType::Double, static_cast<const int64_t*>(best.data_ptr()),
              best_logit.data_ptr(), blank_logit.data_ptr(), frames.data(),
              static_cast<const double*>(shifts.data_ptr()), K, static_cast<int64_t*>(tokens.data_ptr()),
              static_cast<int64_t*>(counts.data_ptr()), on.stream);
  ok(cudaGetLastError());
  return {tokens, counts};
}

}  // namespace
}  // namespace ctckit

STABLE_TORCH_LIBRARY_IMPL(ctckit, CUDA, m) {
  m.impl("frame_stats", TORCH_BOX(&ctckit::frame_stats));
  m.impl("greedy", TORCH_BOX(&ctckit::greedy));
  m.impl("penalized_log_softmax", TORCH_BOX(&ctckit::penalized_log_softmax));
  m.impl("penalized_log_softmax_backward", TORCH_BOX(&ctckit::penalized_log_softmax_backward));
  m.impl("penalized_log_softmax_with_path", TORCH_BOX(&ctckit::penalized_log_softmax_with_path));
  m.impl("ctc_loss", TORCH_BOX(&ctckit::ctc_loss));
  m.impl("ctc_loss_backward", TORCH_BOX(&ctckit::ctc_loss_backward));
  m.impl("align", TORCH_BOX(&ctckit::align));
  m.impl("sweep", TORCH_BOX(&ctckit::sweep));
}

// The loader looks for this name to learn whether the library has CUDA kernels.
extern "C" __attribute__((visibility("default"))) int ctckit_has_cuda() { return 1; }
