// The ops on CUDA. The values of arguments are checked on the device, by the kernels, which note what is wrong first;
// the host reads that note once an op, when all is launched, and it is the only time that it waits.
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>

#include <tuple>

#include "../cuda/launch.h"
#include "checks.h"
#include "ops.h"
#include "tensors.h"

namespace ctckit {
namespace {

void ok(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("ctckit: CUDA: ") + cudaGetErrorString(error));
}

// torch's current stream, by a function of the library that only torch with CUDA has: this one also loads without it.
cudaStream_t current_stream(const Tensor& tensor) {
  using Ask = AOTITorchError (*)(int32_t, void**);
  static const auto ask = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
    return reinterpret_cast<Ask>(library == nullptr ? nullptr : dlsym(library, "aoti_torch_get_current_cuda_stream"));
  }();
  if (ask == nullptr) throw std::runtime_error("ctckit: this torch has no CUDA streams");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(ask(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Runs on a tensor's device for as long as it lives. torch's guard makes no context on a device that had none.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& tensor) : stream(current_stream(tensor)), guard_(tensor.get_device_index()) {}

  const cudaStream_t stream;

 private:
  torch::stable::accelerator::DeviceGuard guard_;
};

Tensor dense(const Tensor& tensor) { return tensor.is_contiguous() ? tensor : torch::stable::clone(tensor); }

const int64_t* integers(const Tensor& tensor) { return static_cast<const int64_t*>(tensor.data_ptr()); }

// Lengths and targets as kernels want them: contiguous.
Tensor lengths_of(const char* name, const Tensor& tensor, const Tensor& like, int64_t B) {
  check_integers(tensor, like, 1, B, (std::string(name) + ": expected int64 [B] on the logits' device").c_str());
  return dense(tensor);
}

struct DeviceTargets {
  Tensor lengths, labels;
  int64_t S;

  DeviceTargets(const Tensor& targets, const Tensor& target_lengths, const Tensor& logits, const Shape& shape)
      : lengths(lengths_of("target_lengths", target_lengths, logits, shape.B)), labels(targets), S(0) {
    check_integers(targets, logits, 2, shape.B, "targets: expected int64 [B, S] on the logits' device");
    S = targets.size(1);
    check(S < (1 << 30), "targets: too wide");
    labels = dense(targets);
  }
  Targets view() const { return {integers(labels), integers(lengths), S}; }
};

std::vector<int64_t> values_of(const Tensor& tensor) {
  std::vector<int64_t> values(static_cast<size_t>(tensor.numel()));
  ok(cudaMemcpy(values.data(), tensor.data_ptr(), values.size() * sizeof(int64_t), cudaMemcpyDeviceToHost));
  return values;
}

// Where kernels note the first fault, and how it becomes a refusal.
class Status {
 public:
  Status(const Tensor& like, cudaStream_t stream) : word_(make(like, {1}, ScalarType::Long)), stream_(stream) {
    ok(cudaMemsetAsync(word_.data_ptr(), 0xff, sizeof(int64_t), stream));
  }
  unsigned long long* get() const { return static_cast<unsigned long long*>(word_.data_ptr()); }

  // Waits for the kernels. What is at fault among lengths and targets is looked for on the host again, by the checks
  // of the CPU ops, whose words it takes.
  void report(const Shape& shape, const Tensor* lengths, const DeviceTargets* targets = nullptr) const {
    ok(cudaGetLastError());
    // Copying into memory that the system may move would be a second wait.
    thread_local unsigned long long* const seen = [] {
      void* pinned = nullptr;
      ok(cudaHostAlloc(&pinned, sizeof(unsigned long long), cudaHostAllocPortable));
      return static_cast<unsigned long long*>(pinned);
    }();
    ok(cudaMemcpyAsync(seen, word_.data_ptr(), sizeof(*seen), cudaMemcpyDeviceToHost, stream_));
    ok(cudaStreamSynchronize(stream_));
    if (*seen == cuda::kNoFault) return;
    if (static_cast<cuda::Fault>(*seen >> cuda::kFaultShift) == cuda::Fault::kLogits) {
      refuse(bad_frame(static_cast<int64_t>(*seen & ((1ull << cuda::kFaultShift) - 1)), shape.T));
    }
    if (lengths != nullptr) check_lengths("lengths", values_of(*lengths), shape.T);
    if (targets != nullptr) {
      const std::vector<int64_t> counts = values_of(targets->lengths);
      check_lengths("target_lengths", counts, targets->S);
      check_labels(values_of(targets->labels), counts, targets->S, shape.C);
    }
    throw std::runtime_error("ctckit: lengths or targets changed while an op was reading them");
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
using Eleven = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Four frame_stats(const Tensor& logits, const Tensor& lengths) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const Tensor frames = lengths_of("lengths", lengths, logits, shape.B);
  const StatsTensors out(logits, shape, false);
  const Status status(logits, on.stream);
  cuda::frame_stats(view_of(logits), shape, integers(frames), out.output(false), status.get(), on.stream);
  status.report(shape, &frames);
  return {out.best, out.best_logit, out.logsumexp, out.blank_logit};
}

Six greedy(const Tensor& logits, const Tensor& lengths, double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const Tensor frames = lengths_of("lengths", lengths, logits, shape.B);
  const GreedyTensors out(logits, shape);
  const Tensor steps = scratch(logits, cuda::path_scratch_bytes(type_of(logits), shape));
  const Status status(logits, on.stream);
  cuda::log_softmax(view_of(logits), shape, integers(frames), shift, View{}, steps.data_ptr(), out.output(),
                    StatsOutput{}, status.get(), on.stream);
  status.report(shape, &frames);
  return {out.tokens, out.counts, out.starts, out.ends, out.scores, out.utterance_scores};
}

Eleven greedy_with_stats(const Tensor& logits, const Tensor& lengths, double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const Tensor frames = lengths_of("lengths", lengths, logits, shape.B);
  const GreedyTensors out(logits, shape);
  const StatsTensors stats(logits, shape, true);
  const Tensor steps = scratch(logits, cuda::path_scratch_bytes(type_of(logits), shape));
  const Status status(logits, on.stream);
  cuda::log_softmax(view_of(logits), shape, integers(frames), shift, View{}, steps.data_ptr(), out.output(),
                    stats.output(true), status.get(), on.stream);
  status.report(shape, &frames);
  return {out.tokens,       out.counts,       out.starts,      out.ends,          out.scores,   out.utterance_scores,
          stats.best,       stats.best_logit, stats.logsumexp, stats.blank_logit, stats.entropy};
}

Tensor penalized_log_softmax(const Tensor& logits, double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const Tensor log_probs = torch::stable::empty_like(logits);
  const Status status(logits, on.stream);
  cuda::log_softmax(view_of(logits), shape, nullptr, shift, view_of(log_probs), nullptr, PathOutput{},
                    StatsOutput{}, status.get(), on.stream);
  status.report(shape, nullptr);
  return log_probs;
}

Seven penalized_log_softmax_with_path(const Tensor& logits, const Tensor& lengths, double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const Tensor frames = lengths_of("lengths", lengths, logits, shape.B);
  const Tensor log_probs = torch::stable::empty_like(logits);
  const GreedyTensors out(logits, shape);
  const Tensor steps = scratch(logits, cuda::path_scratch_bytes(type_of(logits), shape));
  const Status status(logits, on.stream);
  cuda::log_softmax(view_of(logits), shape, integers(frames), shift, view_of(log_probs), steps.data_ptr(), out.output(),
                    StatsOutput{}, status.get(), on.stream);
  status.report(shape, &frames);
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
  const Tensor frames = lengths_of("lengths", lengths, logits, shape.B);
  const DeviceTargets labels(targets, target_lengths, logits, shape);
  const View view = view_of(logits);
  const ScalarType working = working_type(view.type);
  const Tensor losses = make(logits, {shape.B}, working);
  const Tensor norms = make(logits, {shape.T, shape.B, 2}, working);
  const Tensor occupancy =
      with_gradient ? make(logits, {shape.B, shape.T, labels.S + 1}, working) : make(logits, {0}, working);
  const Tensor work = scratch(logits, cuda::ctc_scratch_bytes(view.type, shape, labels.S, with_gradient));
  const Status status(logits, on.stream);
  cuda::ctc_loss(view, shape, integers(frames), labels.view(), shift, path_domain, losses.data_ptr(), norms.data_ptr(),
                 with_gradient, occupancy.data_ptr(), work.data_ptr(), status.get(), on.stream);
  status.report(shape, &frames, &labels);
  if (with_gradient) return {losses, norms, occupancy};
  return {losses, make(logits, {0}, working), occupancy};
}

Tensor ctc_loss_backward(const Tensor& grad_losses, const Tensor& logits, const Tensor& targets, const Tensor& lengths,
                         const Tensor& target_lengths, const Tensor& losses, const Tensor& norms,
                         const Tensor& occupancy, double norm_shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  // Their values passed the forward op, which made the occupancies: no need to wait for them again.
  const Tensor frames = lengths_of("lengths", lengths, logits, shape.B);
  const DeviceTargets labels(targets, target_lengths, logits, shape);
  check(grad_losses.dim() == 1 && grad_losses.size(0) == shape.B && same_device(grad_losses, logits) &&
            grad_losses.scalar_type() == working_type(type_of(logits)),
        "grad_losses: expected [B] of the working type");
  check_working(losses, logits, shape.B, "losses: expected [B] of the working type");
  check_working(norms, logits, shape.T * shape.B * 2, "norms: expected [T, B, 2] of the working type");
  check_working(occupancy, logits, shape.T * shape.B * (labels.S + 1), "occupancy: expected [B, T, S + 1]");
  const Tensor work = scratch(logits, 8 * shape.B * labels.S);
  const Tensor grad = torch::stable::empty_like(logits);
  cuda::ctc_loss_backward(grad_losses.data_ptr(), grad_losses.stride(0), view_of(logits), shape, integers(frames),
                          labels.view(), losses.data_ptr(), norms.data_ptr(), occupancy.data_ptr(), norm_shift,
                          work.data_ptr(), view_of(grad), on.stream);
  ok(cudaGetLastError());
  return grad;
}

Five align(const Tensor& logits, const Tensor& targets, const Tensor& lengths, const Tensor& target_lengths,
           double shift) {
  const Shape shape = check_logits(logits);
  const OnDevice on(logits);
  const Tensor frames = lengths_of("lengths", lengths, logits, shape.B);
  const DeviceTargets labels(targets, target_lengths, logits, shape);
  const View view = view_of(logits);
  const Tensor work = scratch(logits, cuda::align_scratch_bytes(view.type, shape, labels.S));
  const AlignmentTensors out(logits, shape, labels.S);
  const Status status(logits, on.stream);
  cuda::align(view, shape, integers(frames), labels.view(), shift, work.data_ptr(), out.output(), status.get(),
              on.stream);
  status.report(shape, &frames, &labels);
  return {out.paths, out.starts, out.ends, out.scores, out.utterance_scores};
}

std::tuple<Tensor, Tensor> sweep(const Tensor& best, const Tensor& best_logit, const Tensor& blank_logit,
                                 const Tensor& lengths, const Tensor& shifts) {
  const Shape shape = check_stats(best, best_logit, blank_logit, shifts);
  const OnDevice on(best);
  const Tensor frames = lengths_of("lengths", lengths, best, shape.B);
  const int64_t K = shifts.size(0);
  const Tensor tokens = make(best, {K, shape.B, shape.T}, ScalarType::Long);
  const Tensor counts = make(best, {K, shape.B}, ScalarType::Long);
  const Status status(best, on.stream);
  cuda::sweep(shape, best_logit.scalar_type() == ScalarType::Double, static_cast<const int64_t*>(best.data_ptr()),
              best_logit.data_ptr(), blank_logit.data_ptr(), integers(frames),
              static_cast<const double*>(shifts.data_ptr()), K, static_cast<int64_t*>(tokens.data_ptr()),
              static_cast<int64_t*>(counts.data_ptr()), status.get(), on.stream);
  status.report(shape, &frames);
  return {tokens, counts};
}

}  // namespace
}  // namespace ctckit

#define CTCKIT_IMPLEMENT(name) m.impl(#name, TORCH_BOX(&ctckit::name));
STABLE_TORCH_LIBRARY_IMPL(ctckit, CUDA, m) { CTCKIT_EACH_OP(CTCKIT_IMPLEMENT) }

// The loader looks for this name to learn whether the library has CUDA kernels, and calls it to learn whether they can
// run: nullptr, or why not. The runtime is linked in, and a driver may be too old for it.
extern "C" __attribute__((visibility("default"))) const char* ctckit_cuda_problem() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
