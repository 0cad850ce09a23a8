"""``ctckit plugins new``: the files of a new plugin, which installs and passes its own tests at once."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from string import Template

from ctckit.errors import PluginError

PREFIX = "ctckit-"

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$distribution"
version = "0.1.0"
description = "A $kind for ctckit"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["ctckit>=$ctckit"]

[project.optional-dependencies]
test = ["pytest>=8"]

# The name on the left is what `ctckit train --plugin` takes.
[project.entry-points.ctckit]
$name = "$module"

[tool.setuptools]
py-modules = ["$module"]
"""

README = """\
# $distribution

A $kind for [ctckit](https://pypi.org/project/ctckit/).

```console
pip install -e ".[test]"
pytest
ctckit plugins show $name
ctckit train --plugin $name $usage
```
"""

HOOK = '''

@ctckit.hookimpl
def ctckit_register(registry: ctckit.Registry) -> None:
    """Register the $kind."""
    registry.$kind("$name", $cls)
'''

PENALTY = '''\
"""A blank penalty that eases to nothing."""

from dataclasses import dataclass

import ctckit

CTCKIT_API = "$api"


@dataclass
class $cls(ctckit.Penalty):
    """Shift the blank by ``start`` nats, easing to zero in equal steps.

    Args:
        start: shift before the first epoch, at most 0.
        epochs: epochs of the phase after which nothing is left.
    """

    start: float = -2.0
    epochs: int = 10

    def shift(self, at: ctckit.Progress) -> float:
        """Return the shift for the step about to be taken."""
        return self.start * (1.0 - min(at.phase_epoch / self.epochs, 1.0))
'''

SCHEDULE = '''\
"""A learning rate that falls with the root of time."""

from dataclasses import dataclass

import ctckit

CTCKIT_API = "$api"


@dataclass
class $cls(ctckit.Schedule):
    """Rise to ``lr`` over ``warmup`` steps, then fall with the inverse root of the step.

    Args:
        lr: largest learning rate.
        warmup: optimiser steps until it is reached.
    """

    lr: float = 1e-3
    warmup: int = 100

    def learning_rate(self, at: ctckit.Progress) -> float:
        """Return the rate for the step about to be taken."""
        step = at.update + 1
        return self.lr * min(step / self.warmup, (self.warmup / step) ** 0.5)
'''

MONITOR = '''\
"""A monitor that strengthens the blank penalty while next to nothing is emitted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import ctckit

CTCKIT_API = "$api"


@dataclass
class $cls(ctckit.Monitor):
    """Ask for a stronger shift after ``patience`` epochs in which nearly every token was deleted.

    Args:
        patience: epochs to wait.
        by: nats to add to the shift, negative.
    """

    patience: int = 2
    by: float = -0.5
    collapsed: int = field(default=0, init=False, repr=False)

    STATE: ClassVar[tuple[str, ...]] = ("collapsed",)

    def observe(self, epoch: ctckit.EpochResult) -> Sequence[ctckit.Finding | ctckit.Action]:
        """Count collapsed epochs in a row."""
        self.collapsed = self.collapsed + 1 if epoch.val.collapsed else 0
        if self.collapsed < self.patience:
            return []
        self.collapsed = 0
        finding = ctckit.Finding(
            rule="$name",
            severity="warning",
            message=f"{epoch.val.deletion_rate:.0f} % of the tokens are deleted: the shift grows by {self.by:g}",
            evidence={"deletion_rate": epoch.val.deletion_rate},
        )
        return [ctckit.ShiftPenalty(finding, self.by)]
'''

REGULARIZER = '''\
"""A term of the loss that rewards uncertainty."""

from dataclasses import dataclass

import torch
from torch import Tensor

import ctckit

CTCKIT_API = "$api"


@dataclass
class $cls(ctckit.Regularizer):
    """Reward the entropy of each frame's distribution (Pereyra et al., arXiv 1701.06548).

    Args:
        weight: nats of loss for each nat of entropy.
    """

    weight: float = 0.01

    def term(self, emissions: ctckit.Emissions, batch: ctckit.Batch, at: ctckit.Progress) -> Tensor:
        """Return minus the entropy summed over real frames, per reference token, with its weight."""
        log_probs_TBC = emissions.logits_TBC.log_softmax(-1)
        entropy_TB = -(log_probs_TBC.exp() * log_probs_TBC).sum(-1)
        frames = torch.arange(len(entropy_TB), device=entropy_TB.device)
        beyond_TB = frames[:, None] >= emissions.lengths_B[None]
        return -self.weight * entropy_TB.masked_fill(beyond_TB, 0.0).sum() / batch.target_lengths_B.sum()
'''

MODEL = '''\
"""A recurrent network."""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import ctckit

CTCKIT_API = "$api"


class $cls(ctckit.Model):
    """Bidirectional GRU layers and a projection.

    Args:
        input_size: features of a frame.
        num_classes: classes with blank.
        hidden_size: units of each layer in each direction.
        layers: number of layers.
    """

    def __init__(self, input_size: int, num_classes: int, hidden_size: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.input_size = input_size
        self.gru = nn.GRU(input_size, hidden_size, layers, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(2 * hidden_size, num_classes)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> ctckit.Emissions:
        """Compute logits; packing keeps the backward direction out of the padding."""
        if features_BTF.shape[-1] != self.input_size:
            raise ValueError(f"features have {features_BTF.shape[-1]} columns, the model takes {self.input_size}")
        packed = pack_padded_sequence(features_BTF, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        hidden_BTH, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return ctckit.Emissions(self.projection(hidden_BTH).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Return the lengths as they are: nothing is subsampled."""
        return lengths_B

    def blank_bias(self) -> Tensor:
        """Return the projection's bias of the blank."""
        return self.projection.bias[:1]
'''

TEST = '''\
"""The contract of the $kind, and what it does."""

from ctckit.testing import $imports
from $module import $cls


@parametrize_with_checks([$cls])
def test_contract(component, check):
    check(component)


def test_the_installed_plugin_keeps_its_contract():
    check_plugin("$name")

$behaviour'''

BEHAVIOUR: Mapping[str, tuple[tuple[str, ...], str]] = {
    "penalty": (
        ("make_progress",),
        """
def test_the_shift_eases_to_nothing():
    penalty = $cls(start=-2.0, epochs=4)
    assert penalty.shift(make_progress(epoch=2)) == -1.0
    assert penalty.shift(make_progress(epoch=4)) == 0.0
""",
    ),
    "schedule": (
        ("make_progress",),
        """
def test_the_rate_rises_and_falls():
    schedule = $cls(lr=1.0, warmup=10)
    rates = [schedule.learning_rate(make_progress(epoch=epoch, batch=4)) for epoch in (1, 2, 9)]
    assert rates[0] < rates[1] > rates[2]
""",
    ),
    "monitor": (
        ("make_epoch",),
        """
def test_it_speaks_after_two_collapsed_epochs():
    monitor = $cls(patience=2)
    assert monitor.observe(make_epoch(1, val={"deletions": 95})) == []
    (action,) = monitor.observe(make_epoch(2, val={"deletions": 95}))
    assert action.by == -0.5
    assert monitor.observe(make_epoch(3, val={"deletions": 20})) == []
""",
    ),
    "regularizer": (
        ("make_progress", "make_step"),
        """
def test_uncertainty_lowers_the_loss():
    emissions, batch = make_step()
    one, two = ($cls(weight=weight).term(emissions, batch, make_progress()).item() for weight in (0.01, 0.02))
    assert two < one < 0.0
""",
    ),
    "model": ((), ""),
}

COMPONENTS: Mapping[str, str] = {
    "penalty": PENALTY,
    "schedule": SCHEDULE,
    "regularizer": REGULARIZER,
    "monitor": MONITOR,
    "model": MODEL,
}


def scaffold(name: str, kind: str, folder: Path) -> tuple[Path, ...]:
    """Write a new plugin.

    Args:
        name: of the plugin, with or without ``ctckit-`` before it.
        kind: penalty, schedule, regularizer, monitor or model.
        folder: gets the folder ``ctckit-NAME``.

    Returns:
        The files written.

    Raises:
        PluginError: the name cannot be used, or there is something already.
    """
    from ctckit.cli.offers import usage
    from ctckit.hookspecs import PLUGIN_API

    plain = name.removeprefix(PREFIX).replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", plain) or keyword.iskeyword(plain):
        raise PluginError(f"'{name}' cannot name a plugin; use small letters, digits and -, as in cosine-blank")
    distribution = PREFIX + plain.replace("_", "-")
    root = folder / distribution
    if root.exists():
        raise PluginError(f"{root} exists already and is left as it is; choose another name, or another --into")
    imports, behaviour = BEHAVIOUR[kind]
    values = {
        "api": PLUGIN_API,
        "cls": "".join(part.capitalize() for part in [*plain.removesuffix(f"_{kind}").split("_"), kind]),
        "ctckit": version("ctckit"),
        "distribution": distribution,
        "imports": ", ".join(sorted({"check_plugin", "parametrize_with_checks", *imports})),
        "kind": kind,
        "module": distribution.replace("-", "_"),
        "name": plain,
        "usage": usage(kind, plain),
    }
    values["behaviour"] = Template(behaviour).substitute(values)
    files = {
        "pyproject.toml": PYPROJECT,
        f"{values['module']}.py": COMPONENTS[kind] + HOOK,
        "tests/test_contract.py": TEST,
        "README.md": README,
    }
    written = []
    for relative, template in files.items():
        path = root / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(template).substitute(values).rstrip() + "\n", encoding="utf-8")
        except OSError as error:
            raise PluginError(f"{path}: cannot be written: {error.strerror}; give another --into") from error
        written.append(path)
    return tuple(written)
