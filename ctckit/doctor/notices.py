"""What the figures of an epoch say beside its state: parts that do not learn, hidden losses, a start learnt away.

Rules of ctckit's own, where ``flags.py`` has the founding document's. None of them asks for an action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ctckit.doctor.flags import RULES
from ctckit.doctor.limits import GONE, SPIKES, START, VANISHING
from ctckit.doctor.past import Past
from ctckit.doctor.rules import Rule, finding, holding
from ctckit.record.epoch import Epoch
from ctckit.types import Finding


def notices(past: Past | Sequence[Epoch]) -> tuple[Finding, ...]:
    """Return what holds after the last epoch, at most one finding a rule.

    Args:
        past: the epochs of a run in order, or what a ``Course`` keeps of them.
    """
    return holding(NOTICES, past)


def vanishing(one: Epoch) -> dict[str, float]:
    """Return the parts whose gradient is exactly 0, or next to nothing beside that of the whole model.

    Gradients are set in relation to the weights, because it is relative changes that count: a large layer has a
    large gradient. The whole is the reference, not the strongest part, as a scale that starts at 0 has next to no
    weight to relate to. A part that no loss reached at all has no gradient, not one of 0.
    """
    pairs = {
        part: (gradient, weight)
        for part, gradient in one.module_gradients.items()
        if gradient is not None and (weight := one.module_weights.get(part))
    }
    gradients, weights = (math.hypot(*(pair[of] for pair in pairs.values())) for of in (0, 1))
    if not gradients:
        return {}
    shares = {part: (gradient / gradients) * (weights / weight) for part, (gradient, weight) in pairs.items()}
    return {part: share for part, share in shares.items() if share < VANISHING}


def _vanishing_gradient(past: Past) -> Finding | None:
    # twice, because the first epoch of a warmup may be odd
    last = [vanishing(one) for one in past.recent[-2:]]
    if len(last) < 2:
        return None
    weak = {part: share for part, share in last[1].items() if part in last[0]}
    if not weak:
        return None
    listed = ", ".join(f"'{part}' ({share:.1g} of the whole model's)" for part, share in weak.items())
    first = next(iter(past.now.module_gradients))
    front = f"; '{first}' comes first, so the features do not reach what learns" if first in weak else ""
    return finding(
        "vanishing_gradient",
        "warning",
        f"next to no gradient reaches {listed} for 2 epochs: these weights do not learn{front}",
        "docs/founding-document.md 1.3",
        "look for dead activations (a ReLU on inputs far below 0), features of the wrong scale, a detach, or "
        "too many layers without a normalisation; `ctckit audit` looks at the features",
        **{f"gradient_share_{part}": share for part, share in weak.items()},
    )


def _idle_module(past: Past) -> Finding | None:
    gradients = past.now.module_gradients
    idle = [part for part, gradient in gradients.items() if gradient is None]
    if not idle or len(idle) == len(gradients):
        return None
    listed = ", ".join(f"'{part}'" for part in idle)
    return finding(
        "idle_module",
        "info",
        f"no loss reaches {listed} in phase '{past.now.phase}': these weights stay as they are",
        "docs/founding-document.md 3.3",
        "right where the phase's stage leaves them out; else they are not connected to what the model returns",
        parts=", ".join(idle),
    )


def _hidden_losses(past: Past) -> Finding | None:
    now = past.now
    dev, train = now.infeasible or 0.0, now.train_infeasible or 0.0
    if not dev and not train:
        return None
    of = f" of {now.utterances:.0f}" if now.utterances else ""
    parts = [f"{dev:.0f}{of} dev clips"] * bool(dev) + [f"{train:.0f} training clips"] * bool(train)
    return finding(
        "hidden_losses",
        "warning",
        f"{' and '.join(parts)} have no CTC path: their losses are infinite and left out of the mean, as "
        "zero_infinity would, and these clips cannot be recognised",
        "docs/founding-document.md C3, C5",
        "reduce the subsampling, so that there are as many output frames as labels plus repeats; `ctckit audit` "
        "names the clips",
        infeasible=dev,
        train_infeasible=train,
        utterances=now.utterances,
    )


def _bias_learnt_away(past: Past) -> Finding | None:
    now = past.now
    start, bias = now.blank_bias_start, now.blank_bias
    if start is None or bias is None or start > START:
        return None
    drift = bias - start
    # Adam moves one bias by about the learning rate a step; the weights around it make up for it much sooner
    outvoted = now.raw_blank_ratio is not None and now.label_frames is not None and now.label_frames <= SPIKES[1]
    drifted = drift >= -GONE * start
    if not outvoted and not drifted:
        return None
    text = f"the bias of the blank started at {start:g} and stands at {bias:.2f}"
    if outvoted:
        text += f"; {now.raw_blank_ratio:.1f} % of frames are blank again, so the other weights have made up for it"
    return finding(
        "bias_learnt_away",
        "info",
        f"{text}: the start has been learnt away",
        "docs/founding-document.md C1",
        "nothing to mend: a start is made up for by training; a shift that is to last is a penalty",
        blank_bias=bias,
        blank_bias_start=start,
        blank_bias_drift=drift,
        raw_blank_ratio=now.raw_blank_ratio,
        blank_reference=now.blank_reference,
    )


NOTICES: Mapping[str, Rule] = {
    "vanishing_gradient": _vanishing_gradient,
    "idle_module": _idle_module,
    "hidden_losses": _hidden_losses,
    "bias_learnt_away": _bias_learnt_away,
}
"""By the name of the finding."""


def rules() -> tuple[str, ...]:
    """Return the names of all rules over a run's epochs: the founding document's and ctckit's own."""
    return (*RULES, *NOTICES)
