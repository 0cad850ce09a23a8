"""The ops as torch sees them: schemas, fake implementations, autograd and autocast, for every backend.

Compiled kernels register themselves for CPU and CUDA when their library is loaded; `register_reference` fills
the devices that have none. Autocast is a choice per op: reductions compute in float32 whatever comes in, so
they take half-precision logits as they are; the log-softmax, whose output others read, follows torch's policy
and returns float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor

from ctckit.ops import reference, reference_arpa, reference_search

_SCHEMAS = {
    "frame_stats": "(Tensor logits, Tensor lengths) -> (Tensor, Tensor, Tensor, Tensor)",
    "greedy": "(Tensor logits, Tensor lengths, float shift) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    "greedy_with_stats": "(Tensor logits, Tensor lengths, float shift) -> (Tensor, Tensor, Tensor, Tensor, Tensor,"
    " Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    "penalized_log_softmax": "(Tensor logits, float shift) -> Tensor",
    "penalized_log_softmax_backward": "(Tensor grad, Tensor log_probs) -> Tensor",
    "penalized_log_softmax_with_path": "(Tensor logits, Tensor lengths, float shift)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    "ctc_loss": "(Tensor logits, Tensor targets, Tensor lengths, Tensor target_lengths, float shift,"
    " bool path_domain, bool with_gradient) -> (Tensor, Tensor, Tensor)",
    "ctc_loss_backward": "(Tensor grad_losses, Tensor logits, Tensor targets, Tensor lengths,"
    " Tensor target_lengths, Tensor losses, Tensor norms, Tensor occupancy, float norm_shift) -> Tensor",
    "ctc_loss_with_entropy": "(Tensor logits, Tensor targets, Tensor lengths, Tensor target_lengths, float shift,"
    " bool path_domain, bool with_gradient) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "ctc_loss_with_entropy_backward": "(Tensor grad_losses, Tensor grad_entropies, Tensor logits, Tensor targets,"
    " Tensor lengths, Tensor target_lengths, Tensor losses, Tensor norms, Tensor occupancy, Tensor covariance,"
    " float norm_shift) -> Tensor",
    "align": "(Tensor logits, Tensor targets, Tensor lengths, Tensor target_lengths, float shift)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "beam_search": "(Tensor logits, Tensor lengths, float shift, int width, int classes, int best, float weight,"
    " float bonus, Tensor[] language, int language_initial, float language_unknown, Tensor[] lexicon,"
    " int separator, Tensor[] hotwords, int hotwords_initial, float hotwords_unknown)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    "sweep": "(Tensor best, Tensor best_logit, Tensor blank_logit, Tensor lengths, Tensor shifts)"
    " -> (Tensor, Tensor)",
}

NOT_ON_CUDA = ("ctc_loss_with_entropy", "ctc_loss_with_entropy_backward")
"""Ops that csrc has no CUDA kernels for: the reference runs there, and `ctckit.ops.backend` says so."""

ON_A_COPY = ("beam_search",)
"""Ops that are no work for a GPU: CUDA tensors are copied, and the CPU's implementation runs."""

_library: Any = torch.library  # untyped in torch
_LIBRARY = _library.Library("ctckit", "DEF")


def register_reference(key: str, names: Iterable[str] = tuple(_SCHEMAS)) -> None:
    """Run the reference of these ops on the devices of dispatch key ``key`` ("CPU" or "CUDA")."""
    if key == "CPU":
        names = (*names, "read_arpa")
    for name in names:
        on_a_copy = key == "CUDA" and name in ON_A_COPY
        _LIBRARY.impl(name, _on_a_copy(name) if on_a_copy else _reference_of(name), key)


def _reference_of(name: str) -> Callable[..., Any]:
    modules = {"beam_search": reference_search, "read_arpa": reference_arpa}
    implementation: Callable[..., Any] = getattr(modules.get(name, reference), name)
    return implementation


def _on_a_copy(name: str) -> Callable[..., Any]:
    def run(logits: Tensor, lengths: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        op: Callable[..., Any] = getattr(torch.ops.ctckit, name)
        return tuple(result.to(logits.device) for result in op(logits.cpu(), lengths.cpu(), *rest))

    return run


def _fake_frame_stats(logits: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
    shape, working = logits.shape[:2], reference.working_type(logits)
    best = logits.new_empty(shape, dtype=torch.int64)
    return best, *(logits.new_empty(shape, dtype=working) for _ in range(3))


def _greedy_shapes(logits: Tensor) -> tuple[Tensor, ...]:
    frames, batch = logits.shape[:2]
    tokens, starts, ends = (logits.new_empty((batch, frames), dtype=torch.int64) for _ in range(3))
    counts = logits.new_empty(batch, dtype=torch.int64)
    scores = logits.new_empty((batch, frames), dtype=reference.working_type(logits))
    return tokens, counts, starts, ends, scores, logits.new_empty(batch, dtype=reference.working_type(logits))


def _fake_greedy(logits: Tensor, lengths: Tensor, shift: float) -> tuple[Tensor, ...]:
    return _greedy_shapes(logits)


def _fake_greedy_with_stats(logits: Tensor, lengths: Tensor, shift: float) -> tuple[Tensor, ...]:
    stats = _fake_frame_stats(logits, lengths)
    return *_greedy_shapes(logits), *stats, torch.empty_like(stats[1])


def _fake_penalized_log_softmax(logits: Tensor, shift: float) -> Tensor:
    return torch.empty_like(logits)


def _fake_penalized_log_softmax_backward(grad: Tensor, log_probs: Tensor) -> Tensor:
    return torch.empty_like(log_probs)


def _fake_penalized_log_softmax_with_path(logits: Tensor, lengths: Tensor, shift: float) -> tuple[Tensor, ...]:
    return torch.empty_like(logits), *_greedy_shapes(logits)


def _fake_ctc_loss(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    shift: float,
    path_domain: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    frames, batch = logits.shape[:2]
    working = reference.working_type(logits)
    losses = logits.new_empty(batch, dtype=working)
    if not with_gradient:
        return losses, logits.new_empty(0, dtype=working), logits.new_empty(0, dtype=working)
    norms = logits.new_empty((frames, batch, 2), dtype=working)
    return losses, norms, logits.new_empty((batch, frames, targets.shape[1] + 1), dtype=working)


def _fake_ctc_loss_backward(grad_losses: Tensor, logits: Tensor, *_rest: Any) -> Tensor:
    return torch.empty_like(logits)


def _fake_ctc_loss_with_entropy(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    shift: float,
    path_domain: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    losses, norms, occupancy = _fake_ctc_loss(
        logits, targets, lengths, target_lengths, shift, path_domain, with_gradient
    )
    return losses, torch.empty_like(losses), norms, occupancy, torch.empty_like(occupancy)


def _fake_ctc_loss_with_entropy_backward(
    grad_losses: Tensor, grad_entropies: Tensor, logits: Tensor, *_rest: Any
) -> Tensor:
    return torch.empty_like(logits)


def _fake_align(
    logits: Tensor, targets: Tensor, lengths: Tensor, target_lengths: Tensor, shift: float
) -> tuple[Tensor, ...]:
    frames, batch = logits.shape[:2]
    paths = logits.new_empty((batch, frames), dtype=torch.int64)
    starts, ends = torch.empty_like(targets), torch.empty_like(targets)
    scores = logits.new_empty(targets.shape, dtype=reference.working_type(logits))
    return paths, starts, ends, scores, logits.new_empty(batch, dtype=reference.working_type(logits))


def _fake_beam_search(
    logits: Tensor, lengths: Tensor, shift: float, width: int, classes: int, best: int, *_rest: Any
) -> tuple[Tensor, ...]:
    frames, batch = logits.shape[:2]
    tokens = logits.new_empty((batch, best, frames), dtype=torch.int64)
    counts = logits.new_empty((batch, best), dtype=torch.int64)
    return (
        tokens,
        counts,
        *(logits.new_empty((batch, best), dtype=reference.working_type(logits)) for _ in range(4)),
    )


def _fake_sweep(
    best: Tensor, best_logit: Tensor, blank_logit: Tensor, lengths: Tensor, shifts: Tensor
) -> tuple[Tensor, Tensor]:
    frames, batch = best.shape
    kinds = shifts.shape[0]
    return best.new_empty((kinds, batch, frames)), best.new_empty((kinds, batch))


def _save_log_probs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Works for both log-softmaxes; of the second only the log-probabilities carry a gradient."""
    log_probs = output if isinstance(output, Tensor) else output[0]
    if not isinstance(output, Tensor):
        ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(log_probs)


def _log_softmax_gradient(ctx: Any, grad: Tensor | None) -> Tensor | None:
    (log_probs,) = ctx.saved_tensors
    return None if grad is None else torch.ops.ctckit.penalized_log_softmax_backward(grad, log_probs)


def _backward_log_softmax(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, None]:
    return _log_softmax_gradient(ctx, grad), None


def _backward_log_softmax_with_path(ctx: Any, grad: Tensor | None, *_path: Any) -> tuple[Tensor | None, None, None]:
    return _log_softmax_gradient(ctx, grad), None, None


def _save_loss(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Works for the loss with and without the entropy, the second output; what comes after carries no gradient."""
    logits, targets, lengths, target_lengths, shift, path_domain, with_gradient = inputs
    if not with_gradient:
        raise RuntimeError("ctc_loss was called with with_gradient=False on logits that require one")
    ctx.set_materialize_grads(False)
    saved = output[1:] if len(output) == 3 else output[2:]
    ctx.mark_non_differentiable(*saved)
    ctx.save_for_backward(logits, targets, lengths, target_lengths, output[0], *saved)
    ctx.norm_shift = 0.0 if path_domain else shift


def _backward_loss(ctx: Any, grad_losses: Tensor | None, *_rest: Any) -> tuple[Tensor | None, ...]:
    if grad_losses is None:
        return (None,) * 7
    grad = torch.ops.ctckit.ctc_loss_backward(grad_losses, *ctx.saved_tensors, ctx.norm_shift)
    return grad, *(None,) * 6


def _backward_loss_with_entropy(
    ctx: Any, grad_losses: Tensor | None, grad_entropies: Tensor | None, *_rest: Any
) -> tuple[Tensor | None, ...]:
    if grad_losses is None and grad_entropies is None:
        return (None,) * 7
    losses = ctx.saved_tensors[4]
    grads = (torch.zeros_like(losses) if grad is None else grad for grad in (grad_losses, grad_entropies))
    grad = torch.ops.ctckit.ctc_loss_with_entropy_backward(*grads, *ctx.saved_tensors, ctx.norm_shift)
    return grad, *(None,) * 6


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


def _refuse_second_derivative(ctx: Any, *_grads: Any) -> NoReturn:
    raise NotImplementedError(
        "ctckit.ops: its gradients cannot be differentiated again; compute them without create_graph=True"
    )


_FAKES: dict[str, Callable[..., Any]] = {
    "frame_stats": _fake_frame_stats,
    "greedy": _fake_greedy,
    "greedy_with_stats": _fake_greedy_with_stats,
    "penalized_log_softmax": _fake_penalized_log_softmax,
    "penalized_log_softmax_backward": _fake_penalized_log_softmax_backward,
    "penalized_log_softmax_with_path": _fake_penalized_log_softmax_with_path,
    "ctc_loss": _fake_ctc_loss,
    "ctc_loss_backward": _fake_ctc_loss_backward,
    "ctc_loss_with_entropy": _fake_ctc_loss_with_entropy,
    "ctc_loss_with_entropy_backward": _fake_ctc_loss_with_entropy_backward,
    "align": _fake_align,
    "beam_search": _fake_beam_search,
    "sweep": _fake_sweep,
}
_GRADIENTS: dict[str, tuple[Callable[..., Any], Callable[..., None]]] = {
    "penalized_log_softmax": (_backward_log_softmax, _save_log_probs),
    "penalized_log_softmax_with_path": (_backward_log_softmax_with_path, _save_log_probs),
    "ctc_loss": (_backward_loss, _save_loss),
    "ctc_loss_with_entropy": (_backward_loss_with_entropy, _save_loss),
    "penalized_log_softmax_backward": (_refuse_second_derivative, _save_nothing),
    "ctc_loss_backward": (_refuse_second_derivative, _save_nothing),
    "ctc_loss_with_entropy_backward": (_refuse_second_derivative, _save_nothing),
}

for _name, _schema in _SCHEMAS.items():
    _tags = [torch.Tag.pt2_compliant_tag]
    # Whatever checks values waits for the device, which a graph cannot record. Older torch has no word for it.
    if not _name.endswith("_backward") and hasattr(torch.Tag, "cudagraph_unsafe"):
        _tags.append(torch.Tag.cudagraph_unsafe)
    _LIBRARY.define(_name + _schema, tags=tuple(_tags))
    _library.register_fake(f"ctckit::{_name}", _FAKES[_name], lib=_LIBRARY)
# no shape is known before the text is read: this one is not for graphs
_LIBRARY.define(f"read_arpa(Tensor text) -> ({', '.join(['Tensor'] * 9)})")
for _name, (_backward, _save) in _GRADIENTS.items():
    _library.register_autograd(f"ctckit::{_name}", _backward, setup_context=_save, lib=_LIBRARY)
for _name in ("penalized_log_softmax", "penalized_log_softmax_with_path"):
    for _device in ("cpu", "cuda"):
        _library.register_autocast(f"ctckit::{_name}", _device, torch.float32, lib=_LIBRARY)
