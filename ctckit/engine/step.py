"""One optimiser step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ctckit import ops
from ctckit.errors import TrainingError
from ctckit.interfaces import Model
from ctckit.loss import Objective, training_loss
from ctckit.types import Auxiliary, Batch, Emissions


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step measured.

    Attributes:
        loss: main head, nats per token.
        auxiliary: auxiliary heads, nats per token, without their weights.
        terms: further terms of the loss, nats per token, with their weights.
        gradient_norm: L2 norm before clipping.
        module_gradients: the same for each top-level part of the model that a loss reached.
        blank_mass: mean blank posterior over real frames, without shift.
        emissions: what the model emitted, detached.
    """

    loss: float
    auxiliary: Mapping[str, float]
    terms: Mapping[str, float]
    gradient_norm: float
    module_gradients: Mapping[str, float]
    blank_mass: float
    emissions: Emissions


def train_step(
    model: Model,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    objective: Objective,
    gradient_clip: float,
) -> StepOutcome:
    """Forward, backward, clip, update.

    Raises:
        TrainingError: the loss or a gradient is not finite; names the clips and the parameters. The weights are
            those before the step.
    """
    emissions: Emissions = model(batch.features_BTF, batch.lengths_B)
    parts = training_loss(emissions, batch, objective)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(parts.total)
    norm, norms_P = gradient_norms(model)
    # everything that the host wants to know, in one copy: it waits for the device here and nowhere else
    losses = (parts.main, *parts.auxiliary.values(), *parts.terms.values())
    figures = [figure.double().reshape(1) for figure in (*losses, mean_blank_mass(emissions), norm)]
    found = torch.cat([*figures, norms_P.double()]).tolist()
    if not all(map(math.isfinite, found[: len(losses)])):
        raise parts.not_finite(emissions, batch)
    gradient_norm = found[len(losses) + 1]
    if not math.isfinite(gradient_norm):
        raise TrainingError(_not_finite(model, batch))
    nn.utils.clip_grads_with_norm_(model.parameters(), gradient_clip, norm)
    optimizer.step()
    values = iter(found)
    return StepOutcome(
        loss=next(values),
        auxiliary=dict(zip(parts.auxiliary, values, strict=False)),
        terms=dict(zip(parts.terms, values, strict=False)),
        blank_mass=next(values),
        gradient_norm=next(values),
        module_gradients=by_part(model, values),
        emissions=without_gradient(emissions),
    )


def without_gradient(emissions: Emissions) -> Emissions:
    """Return the same emissions, detached."""
    heads = tuple(
        Auxiliary(head.name, head.logits_TBC.detach(), head.lengths_B, head.weight) for head in emissions.auxiliary
    )
    return Emissions(emissions.logits_TBC.detach(), emissions.lengths_B, heads)


def gradient_norms(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the L2 norm of the whole gradient, a scalar, and that of each parameter's, in `parts_of`'s order."""
    # one norm a parameter serves the whole and the parts; a norm a part would cost as much again
    norms_P = torch.stack([torch.linalg.vector_norm(gradient) for _, gradient in _gradients(model)])
    return torch.linalg.vector_norm(norms_P), norms_P


def by_part(model: nn.Module, norms: Iterable[float]) -> dict[str, float]:
    """Put the norms of parameters' gradients together into that of each part of the model that has one."""
    squares: dict[str, float] = {}
    for (part, _), norm in zip(_gradients(model), norms, strict=True):
        squares[part] = squares.get(part, 0.0) + norm * norm
    return {part: math.sqrt(square) for part, square in squares.items()}


def _gradients(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        (part, parameter.grad)
        for part, parameters in parts_of(model).items()
        for parameter in parameters
        if parameter.grad is not None
    ]


def parts_of(model: nn.Module, *, held: bool = False) -> dict[str, list[nn.Parameter]]:
    """Return the trained parameters of each top-level part of a model; one that it holds itself is a part.

    Args:
        model: whose parts they are.
        held: whether those count too that are not trained at the moment, as a later stage or phase may train them.
    """
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if held or parameter.requires_grad:
            parts.setdefault(name.partition(".")[0], []).append(parameter)
    return parts


def mean_blank_mass(emissions: Emissions) -> Tensor:
    """Return the mean blank posterior over real frames, from 0 to 1, without shift; a scalar in float64."""
    stats = ops.frame_stats(emissions.logits_TBC.detach(), emissions.lengths_B)
    posterior_TB = stats.blank_posterior(0.0)
    # a frame of padding has no label, so that its posterior is exactly 1: cheaper to take off than to leave out
    frames = emissions.lengths_B.sum()
    return (posterior_TB.sum(dtype=torch.float64) - (posterior_TB.numel() - frames)) / frames


def _not_finite(model: Model, batch: Batch) -> str:
    names = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
    ]
    clips = ", ".join(batch.clip_ids[:3]) + (
        f" and {len(batch.clip_ids) - 3} more" if len(batch.clip_ids) > 3 else ""
    )
    return (
        f"the gradient of {', '.join(names[:3])} is not finite in the batch of clips {clips}; "
        "lower the learning rate"
    )
