"""One epoch as it was recorded, whoever recorded it. Torch-free."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ctckit.errors import DataError
from ctckit.record.figures import FIGURES, PARTS, RESERVED, epoch_row
from ctckit.types import COLLAPSED_DELETION_RATE, PLATEAU_MARGIN, Figure

if TYPE_CHECKING:
    from ctckit.types import EpochResult

NOTHING_BUT_BLANKS: Final = 99.5
"""Blank share from which on next to nothing is emitted, where word errors do not speak against it."""

ABOVE_PLATEAU: Final = 1.1
"""Multiple of the plateau's loss above which a network has not even come down to it."""


class Epoch:
    """The figures of one epoch, each an attribute under its name in the table.

    None means not recorded; a figure that was recorded and not finite is named in ``not_finite`` instead. A figure
    that follows from others is derived where it was not recorded.

    Args:
        epoch: from 1.
        phase: its name, or empty.
        domain: where the blank shift acts, or empty.
        not_finite: figures that were recorded as NaN or infinite.
        module_gradients: mean gradient norm of each top-level part of the model, None where no loss reached it.
        module_weights: norm of each part's weights.
        auxiliary_losses: of each auxiliary head, nats per token.
        terms: of each further term of the loss, nats per token.
        **figures: by name; None is as good as left out.
    """

    __slots__ = (
        "auxiliary_losses",
        "domain",
        "epoch",
        "figures",
        "module_gradients",
        "module_weights",
        "not_finite",
        "phase",
        "terms",
    )

    epoch: int
    phase: str
    domain: str
    not_finite: tuple[str, ...]
    module_gradients: Mapping[str, float | None]
    module_weights: Mapping[str, float | None]
    auxiliary_losses: Mapping[str, float | None]
    terms: Mapping[str, float | None]
    figures: Mapping[str, float]

    def __init__(
        self,
        epoch: int,
        *,
        phase: str = "",
        domain: str = "",
        not_finite: tuple[str, ...] = (),
        module_gradients: Mapping[str, float | None] | None = None,
        module_weights: Mapping[str, float | None] | None = None,
        auxiliary_losses: Mapping[str, float | None] | None = None,
        terms: Mapping[str, float | None] | None = None,
        **figures: float | None,
    ) -> None:
        values = {
            "epoch": epoch,
            "phase": phase,
            "domain": domain,
            "not_finite": tuple(not_finite),
            "module_gradients": dict(module_gradients or {}),
            "module_weights": dict(module_weights or {}),
            "auxiliary_losses": dict(auxiliary_losses or {}),
            "terms": dict(terms or {}),
            "figures": {name: value for name, value in figures.items() if value is not None},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an epoch does not change: '{name}' cannot be set")

    def __getattr__(self, name: str) -> float | None:
        # comes here for what is no slot: a figure, recorded or derived
        if name in Epoch.__slots__ or name.startswith("__"):
            raise AttributeError(name)
        recorded = self.figures.get(name)
        if recorded is not None:
            return recorded
        figure = FIGURES.get(name)
        if figure is None and name not in self.not_finite:
            raise AttributeError(f"an epoch has no figure '{name}'")
        return None if figure is None or figure.derive is None or name in self.not_finite else figure.derive(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Epoch):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Epoch.__slots__)

    def __hash__(self) -> int:
        return hash((self.epoch, self.phase))

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value:.6g}" for name, value in self.figures.items())
        return f"Epoch({self.epoch}, phase={self.phase!r}, {figures})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Epoch.from_state_dict, (self.state_dict(),)

    def value(self, name: str) -> float | None:
        """Return a figure by its name, None where this epoch does not have it."""
        return getattr(self, name, None)

    @property
    def fit(self) -> float | None:
        """Training loss: in evaluation mode where that was recorded, else the mean over the epoch's steps."""
        if "train_eval_loss" in self.not_finite:
            return None
        return self.train_loss if self.train_eval_loss is None else self.train_eval_loss

    @property
    def on_plateau(self) -> bool | None:
        """Whether the training loss is no better than the unigram plateau; None where that was not recorded."""
        if self.plateau_loss is None:
            return None
        if self.fit is None:
            return True if {"train_eval_loss", "train_loss"} & set(self.not_finite) else None
        return not self.fit < (1.0 - PLATEAU_MARGIN) * self.plateau_loss

    @property
    def above_plateau(self) -> bool:
        """Whether the training loss has not even come down to the plateau."""
        return (
            bool(self.plateau_loss) and self.fit is not None and self.fit > ABOVE_PLATEAU * (self.plateau_loss or 0)
        )

    @property
    def collapsed(self) -> bool:
        """Whether next to nothing is emitted: the deletion rate says so, the blank share would not.

        Where no deletion rate was recorded, no label, or no right word in nothing but blanks, says the same.
        """
        if self.deletion_rate is not None:
            return self.deletion_rate >= COLLAPSED_DELETION_RATE
        silent = self.blank_ratio is not None and self.blank_ratio >= NOTHING_BUT_BLANKS
        return self.unique_nonblank == 0 or (silent and self.val_wer is not None and self.val_wer >= 99.0)

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            **self.figures,
            "epoch": self.epoch,
            "phase": self.phase,
            "domain": self.domain,
            "not_finite": list(self.not_finite),
            **{part: dict(getattr(self, part)) for part in (*PARTS, "auxiliary_losses", "terms")},
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Epoch:
        """Restore what ``state_dict`` returned."""
        return cls(**{**state, "not_finite": tuple(state["not_finite"])})

    @classmethod
    def of(cls, result: EpochResult) -> Epoch:
        """Take down an epoch that training has finished."""
        return cls.from_row(epoch_row(result), f"epoch {result.at.epoch}")

    @classmethod
    def from_row(cls, row: Mapping[str, Any], place: str, table: Mapping[str, Figure] = FIGURES) -> Epoch:
        """Read a row of a history.

        Args:
            row: columns by name; null, NaN and infinity mean recorded, but not finite.
            place: file and line, for messages.
            table: figures that the row may have.

        Raises:
            DataError: a column has the wrong type.
        """
        number = row.get("epoch")
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int):
            raise DataError(f"{place}: 'epoch' is {json.dumps(number)}, not a whole number")
        figures: dict[str, float] = {}
        not_finite = []
        heads: dict[str, float | None] = {}
        terms: dict[str, float | None] = {}
        for name, value in row.items():
            known = table.get(name)
            named = heads if name.endswith("_loss") else terms if name.endswith("_term") else None
            if name in RESERVED or (known is None and (named is None or name in figures)):
                continue
            finite = _number(value, name, place)
            if known is None:
                assert named is not None
                named[name.removesuffix("_loss").removesuffix("_term")] = finite
            elif finite is not None:
                figures[name] = finite
            elif not known.optional:
                not_finite.append(name)
        return cls(
            number,
            phase=str(row.get("phase") or ""),
            domain=str(row.get("domain") or ""),
            not_finite=tuple(not_finite),
            module_gradients=_by_part(row.get("module_gradients"), "module_gradients", place),
            module_weights=_by_part(row.get("module_weights"), "module_weights", place),
            auxiliary_losses=heads,
            terms=terms,
            **figures,
        )


def _number(value: Any, name: str, place: str) -> float | None:
    """Return a finite number, None for one that is not finite."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"{place}: '{name}' is {json.dumps(value)}, not a number")
    return float(value) if math.isfinite(value) else None


def _by_part(value: Any, name: str, place: str) -> dict[str, float | None]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DataError(f"{place}: '{name}' is {json.dumps(value)}, not an object of numbers")
    try:
        return {str(part): _number(item, name, place) for part, item in value.items()}
    except DataError:
        raise DataError(f"{place}: '{name}' is {json.dumps(value)}, not an object of numbers") from None
