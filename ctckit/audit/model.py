"""What a model and a schedule give away on two clips of noise, before any data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ctckit.interfaces import Model
from ctckit.types import Finding

SOURCE = "docs/founding-document.md C5"

FRAMES = (41, 24)
"""Lengths of the two clips."""

HIGH_RATE = 5e-3
"""Rates above this are warned of before a run; the doctor suspects lower ones, of a run that is stuck."""

LOW_RATE = 1e-5
ABRUPT_RATE = 1e-3


def check_model(model: Model, input_size: int, classes: int) -> Iterator[Finding]:
    """Run a model on noise and check what it returns. Its mode and the random state are left as they were."""
    training = model.training
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    features_BTF = torch.randn(2, FRAMES[0], input_size, generator=generator)
    features_BTF[1, FRAMES[1] :] = 0.0
    features_BTF, lengths_B = features_BTF.to(device), torch.tensor(FRAMES, device=device)
    model.eval()
    try:
        with torch.no_grad():
            both = model(features_BTF, lengths_B)
            alone = model(features_BTF[1:, : FRAMES[1]], lengths_B[1:])
            mapped_B = model.output_lengths(lengths_B)
    finally:
        model.train(training)
    # detached: a view of a parameter keeps its gradient even here
    logits_TBC: Tensor = both.logits_TBC.detach()
    if logits_TBC.shape[2] != classes:
        yield _model("width", f"returns {logits_TBC.shape[2]} classes, the alphabet has {classes} with blank", "")
        return
    if not torch.equal(mapped_B, both.lengths_B):
        yield _model(
            "lengths",
            f"says that {list(FRAMES)} frames become {mapped_B.tolist()} and returns {both.lengths_B.tolist()}",
            "output_lengths must be exact: the audit of clips without a path rests on it",
        )
        return
    real = logits_TBC[: int(both.lengths_B[1]), 1]
    if not bool(torch.isfinite(real).all()):
        yield _model(
            "finite", "returns logits that are not finite before the first step", "check its initialisation"
        )
        return
    gap = float((real - alone.logits_TBC.detach()[: len(real), 0]).abs().max())
    if gap > 1e-3 * max(float(real.abs().max()), 1.0):
        yield _model(
            "padding",
            f"gives a clip other logits in a batch than alone (by {gap:.2g})",
            "padding must have no influence: mask it, and keep it out of batch statistics",
        )
    sums = real.exp().sum(-1)
    if bool((real >= 0).all()) and torch.allclose(real.sum(-1), torch.ones_like(sums), atol=1e-4):
        yield _model("probabilities", "returns probabilities, ctckit takes logits", "leave out the softmax")
    elif torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        yield Finding(
            "model_log_probabilities",
            "warning",
            "the model returns log-probabilities, ctckit takes logits",
            {},
            "leave out the log-softmax: it costs a pass, and a logit shift is meant for logits",
            f"{SOURCE} (raw logits and log-probabilities mixed up)",
        )


def check_learning_rates(rates: Sequence[float]) -> Iterator[Finding]:
    """Check the learning rates that the schedules plan, one an epoch, as far as they do not depend on metrics."""
    if not rates:
        return
    highest, first = max(rates), rates[0]
    evidence = {"highest": highest, "first": first}
    if highest > HIGH_RATE:
        yield Finding(
            "learning_rate_high",
            "warning",
            f"the learning rate reaches {highest:.2g}; Adam above {HIGH_RATE:g} often ends in all blanks",
            evidence,
            "--set phases.*.schedule.lr=1e-3",
            f"{SOURCE} (learning rate too high)",
        )
    elif highest < LOW_RATE:
        yield Finding(
            "learning_rate_low",
            "warning",
            f"the learning rate never exceeds {highest:.2g}: the plateau will not be left",
            evidence,
            "--set phases.*.schedule.lr=1e-3",
            f"{SOURCE} (learning rate starved)",
        )
    elif first >= ABRUPT_RATE and first == highest:
        yield Finding(
            "no_warmup",
            "info",
            f"training starts at its highest learning rate, {first:.2g}",
            evidence,
            "a warmup of a few epochs is what most recipes have",
            f"{SOURCE} (missing warmup)",
        )


def _model(what: str, message: str, advice: str) -> Finding:
    return Finding(f"model_{what}", "error", f"the model {message}", {}, advice, f"{SOURCE}; the contract of Model")
