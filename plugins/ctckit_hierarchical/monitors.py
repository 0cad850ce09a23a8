"""What the founding document watches (docs/founding-document.md 5.1, 5.3, 7.1), and the end of the takeoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import ctckit
from ctckit import Action, ClipLength, EpochResult, Finding, StopPhase


class Expected(NamedTuple):
    """Ranges of a phase; the lower and the upper end count as hit."""

    val_wer: tuple[float, float]
    blank_ratio: tuple[float, float]
    unique_nonblank: tuple[float, float]
    overfit_ratio: tuple[float, float]


DOCUMENT_TABLE: Mapping[str, Expected] = {
    "warmup": Expected((90, 95), (70, 85), (50, 150), (3, 8)),
    "exploration": Expected((60, 80), (40, 70), (300, 500), (2, 4)),
    "consolidation": Expected((35, 50), (30, 50), (400, 600), (1.8, 2.5)),
    "fine_tuning": Expected((25, 35), (25, 40), (500, 700), (1.5, 2.0)),
}
"""docs/founding-document.md 5.1, for a corpus of 966 labels."""

DOCUMENT_LABELS = 966


@dataclass
class SuccessTable(ctckit.Monitor):
    """At the end of each phase, says which expectations of the founding document were hit and which missed.

    The table is that of docs/founding-document.md 5.1. An error rate, a blank ratio or an overfit ratio below its
    range is a hit too: the table names what is hoped for, not what is forbidden. Counts of labels are scaled from
    its 966 labels to those of the dev corpus.
    """

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        """Report on the phase that ends with this epoch."""
        expected = DOCUMENT_TABLE.get(epoch.at.phase)
        if expected is None or epoch.at.phase_epoch < epoch.at.phase_epochs:
            return []
        scale = epoch.val.reference_labels / DOCUMENT_LABELS
        verdicts = {
            "val_wer": epoch.val.wer <= expected.val_wer[1],
            "blank_ratio": epoch.val.blank_ratio <= expected.blank_ratio[1],
            "unique_nonblank": epoch.val.unique_nonblank >= expected.unique_nonblank[0] * scale,
            "overfit_ratio": epoch.overfit_ratio <= expected.overfit_ratio[1],
        }
        values = {
            "val_wer": epoch.val.wer,
            "blank_ratio": epoch.val.blank_ratio,
            "unique_nonblank": epoch.val.unique_nonblank,
            "overfit_ratio": epoch.overfit_ratio,
        }
        ranges = expected._replace(
            unique_nonblank=(expected.unique_nonblank[0] * scale, expected.unique_nonblank[1] * scale)
        )
        parts = [
            f"{name} {values[name]:.4g} ({low:.4g} to {high:.4g}: {'hit' if verdicts[name] else 'missed'})"
            for name, (low, high) in ranges._asdict().items()
        ]
        return [
            Finding(
                rule="document_success_table",
                severity="info" if all(verdicts.values()) else "warning",
                message=f"phase {epoch.at.phase} against the founding document's expectations: {', '.join(parts)}",
                evidence={**values, **{f"{name}_hit": hit for name, hit in verdicts.items()}},
                advice=""
                if verdicts["val_wer"] or verdicts["blank_ratio"]
                else "the blank ratio alone proves nothing: compare it with blank_reference, and see on_plateau",
                source="docs/founding-document.md 5.1",
            )
        ]


@dataclass
class SamplePredictions(ctckit.Monitor):
    """Every ``every`` epochs, shows a decoded dev clip beside its reference (docs/founding-document.md 5.3)."""

    every: int = 10
    tokens: int = 10

    def __post_init__(self) -> None:
        if self.every < 1 or self.tokens < 1:
            raise ValueError(f"every is {self.every} and tokens is {self.tokens}; both must be at least 1")

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        """Report on the first sample."""
        if epoch.at.epoch % self.every or not epoch.samples:
            return []
        sample = epoch.samples[0]
        overlap = len(set(sample.tokens) & set(sample.reference))
        wanted, got = (" ".join(side[: self.tokens]) for side in (sample.reference, sample.tokens))
        return [
            Finding(
                rule="sample_prediction",
                severity="info",
                message=f"clip {sample.clip_id}: wanted [{wanted}], got [{got or 'nothing'}]",
                evidence={
                    "clip": sample.clip_id,
                    "target_length": len(sample.reference),
                    "predicted_length": len(sample.tokens),
                    "target": wanted,
                    "predicted": got,
                    "overlap": overlap,
                },
                source="docs/founding-document.md 5.3",
            )
        ]


@dataclass
class EndTakeoff(ctckit.Monitor):
    """Ends the named phase once the unigram plateau is behind.

    What helps on the plateau (the full learning rate, no dropout, no masking) overfits afterwards, and how long a
    run stays there differs from corpus to corpus.

    Args:
        phase: the phase to end.
        patience: epochs in a row off the plateau, at least 1.
    """

    STATE: ClassVar[tuple[str, ...]] = ("off",)

    phase: str = "takeoff"
    patience: int = 1
    off: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be at least 1")

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        """Ask for the end of the phase when the plateau has been left."""
        self.off = 0 if epoch.on_plateau else self.off + 1
        if epoch.at.phase != self.phase or self.off < self.patience:
            return []
        return [
            StopPhase(
                Finding(
                    rule="plateau_left",
                    severity="info",
                    message=f"training loss {epoch.train.loss:.2f} is below the unigram plateau of "
                    f"{epoch.plateau_loss:.2f}: phase '{self.phase}' ends",
                    evidence={"train_loss": epoch.train.loss, "plateau_loss": epoch.plateau_loss},
                    source="docs/founding-document.md C2",
                )
            )
        ]


@dataclass
class ConditionalClipping(ctckit.Monitor):
    """Crops training clips to ``max_frames`` in the named phases, once the model overfits on a low loss.

    The condition is that of docs/founding-document.md 7.1: dev loss below ``val_loss_below`` and overfit ratio
    above ``overfit_ratio_above``. It cuts frames and keeps their labels, which harms
    (docs/founding-document.md C3); the condition limits that to runs that overfit.
    """

    max_frames: int = 300
    phases: tuple[str, ...] = ("consolidation", "fine_tuning")
    val_loss_below: float = 3.0
    overfit_ratio_above: float = 3.0
    source: str = field(default="docs/founding-document.md 4.3, 7.1", init=False, repr=False)

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        """Ask for clipping when the condition holds and it is not in force yet."""
        holds = epoch.val.loss < self.val_loss_below and epoch.overfit_ratio > self.overfit_ratio_above
        in_force = epoch.max_frames is not None and epoch.max_frames <= self.max_frames
        if epoch.at.phase not in self.phases or not holds or in_force:
            return []
        return [
            ClipLength(
                Finding(
                    rule="overfit_on_length",
                    severity="warning",
                    message=f"overfit ratio {epoch.overfit_ratio:.2f} at dev loss {epoch.val.loss:.2f}: "
                    f"clips are cropped to {self.max_frames} frames",
                    evidence={"overfit_ratio": epoch.overfit_ratio, "val_loss": epoch.val.loss},
                    source=self.source,
                ),
                max_frames=self.max_frames,
            )
        ]
