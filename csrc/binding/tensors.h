// What both bindings need of torch's stable ABI: checked views of tensors, and new tensors.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "../core/problem.h"

namespace ctckit {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Becomes a ValueError in Python.
[[noreturn]] inline void refuse(const std::string& what) { throw std::invalid_argument(what); }

inline void check(bool holds, const char* what) {
  if (!holds) refuse(what);
}

inline Type type_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return Type::kFloat32;
    case ScalarType::BFloat16: return Type::kBFloat16;
    case ScalarType::Half: return Type::kFloat16;
    case ScalarType::Double: return Type::kFloat64;
    default: refuse("logits: the type is not float32, bfloat16, float16 or float64");
  }
}

inline ScalarType working_type(Type type) { return works_in_double(type) ? ScalarType::Double : ScalarType::Float; }

inline bool same_device(const Tensor& a, const Tensor& b) {
  return a.is_cuda() == b.is_cuda() && a.is_cpu() == b.is_cpu() && a.get_device_index() == b.get_device_index();
}

inline Shape check_logits(const Tensor& logits) {
  check(logits.dim() == 3, "logits: expected [T, B, C]");
  const Shape shape{logits.size(0), logits.size(1), logits.size(2)};
  check(shape.C >= 2, "logits: there is no class beside the blank");
  check(shape.C <= 0x7fffffff && shape.T <= 0x7fffffff, "logits: too large");
  type_of(logits);
  return shape;
}

inline View view_of(const Tensor& tensor) {
  return {tensor.data_ptr(), type_of(tensor), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

inline void check_like(const Tensor& tensor, const Tensor& logits, const char* what) {
  check(tensor.dim() == 3 && tensor.scalar_type() == logits.scalar_type() && same_device(tensor, logits), what);
  for (int i = 0; i < 3; ++i) check(tensor.size(i) == logits.size(i), what);
}

// A contiguous working-type tensor of this many elements.
inline void check_working(const Tensor& tensor, const Tensor& logits, int64_t elements, const char* what) {
  check(tensor.numel() == elements && tensor.is_contiguous() && same_device(tensor, logits) &&
            tensor.scalar_type() == working_type(type_of(logits)),
        what);
}

inline void check_integers(const Tensor& tensor, const Tensor& logits, int64_t dims, int64_t B, const char* what) {
  check(tensor.scalar_type() == ScalarType::Long && tensor.dim() == dims && tensor.size(0) == B &&
            same_device(tensor, logits),
        what);
}

// A new contiguous tensor on the same device.
inline Tensor make(const Tensor& like, std::vector<int64_t> sizes, ScalarType type) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= sizes[i];
  }
  int32_t device_type;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  const auto dtype = torch::stable::detail::to<int32_t>(torch::stable::detail::from(type));
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                         strides.data(), dtype, device_type, like.get_device_index(),
                                                         &handle));
  return Tensor(handle);
}

struct GreedyTensors {
  Tensor tokens, counts, starts, ends, scores, utterance_scores;

  GreedyTensors(const Tensor& logits, const Shape& shape)
      : tokens(make(logits, {shape.B, shape.T}, ScalarType::Long)),
        counts(make(logits, {shape.B}, ScalarType::Long)),
        starts(make(logits, {shape.B, shape.T}, ScalarType::Long)),
        ends(make(logits, {shape.B, shape.T}, ScalarType::Long)),
        scores(make(logits, {shape.B, shape.T}, working_type(type_of(logits)))),
        utterance_scores(make(logits, {shape.B}, working_type(type_of(logits)))) {}

  PathOutput output() const {
    return {static_cast<int64_t*>(tokens.data_ptr()),
            static_cast<int64_t*>(counts.data_ptr()),
            static_cast<int64_t*>(starts.data_ptr()),
            static_cast<int64_t*>(ends.data_ptr()),
            scores.data_ptr(),
            utterance_scores.data_ptr()};
  }
};

struct StatsTensors {
  Tensor best, best_logit, logsumexp, blank_logit;
  Tensor entropy;  // undefined if not asked for

  StatsTensors(const Tensor& logits, const Shape& shape, bool with_entropy)
      : best(make(logits, {shape.T, shape.B}, ScalarType::Long)),
        best_logit(make(logits, {shape.T, shape.B}, working_type(type_of(logits)))),
        logsumexp(make(logits, {shape.T, shape.B}, working_type(type_of(logits)))),
        blank_logit(make(logits, {shape.T, shape.B}, working_type(type_of(logits)))) {
    if (with_entropy) entropy = make(logits, {shape.T, shape.B}, working_type(type_of(logits)));
  }

  StatsOutput output(bool with_entropy) const {
    return {static_cast<int64_t*>(best.data_ptr()), best_logit.data_ptr(), logsumexp.data_ptr(),
            blank_logit.data_ptr(), with_entropy ? entropy.data_ptr() : nullptr};
  }
};

struct AlignmentTensors {
  Tensor paths, starts, ends, scores, utterance_scores;

  AlignmentTensors(const Tensor& logits, const Shape& shape, int64_t S)
      : paths(make(logits, {shape.B, shape.T}, ScalarType::Long)),
        starts(make(logits, {shape.B, S}, ScalarType::Long)),
        ends(make(logits, {shape.B, S}, ScalarType::Long)),
        scores(make(logits, {shape.B, S}, working_type(type_of(logits)))),
        utterance_scores(make(logits, {shape.B}, working_type(type_of(logits)))) {}

  AlignmentOutput output() const {
    return {static_cast<int64_t*>(paths.data_ptr()), static_cast<int64_t*>(starts.data_ptr()),
            static_cast<int64_t*>(ends.data_ptr()), scores.data_ptr(), utterance_scores.data_ptr()};
  }
};

inline std::string bad_frame(int64_t position, int64_t T) {
  return "logits: utterance " + std::to_string(position / T) + " holds NaN or +inf at frame " +
         std::to_string(position % T);
}

}  // namespace ctckit
