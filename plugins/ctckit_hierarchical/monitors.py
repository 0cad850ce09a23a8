"""What the founding document watches (success table, sample predictions, conditional clipping), and the takeoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, NamedTuple

import ctckit
from ctckit import Action, ClipLength, EpochResult, Finding, Sample, StopPhase


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
"""The success table (docs/founding-document.md 5.1), for the document's corpus of 966 labels."""

DOCUMENT_LABELS = 966


@dataclass
class SuccessTable(ctckit.Monitor):
    """When a phase has ended, says which of the document's expectations were hit and which were missed.

    That of docs/founding-document.md 5.1, for a corpus of about its size; ``always`` asks for it on any other, with
    counts of labels scaled from the document's 966 to those of the dev corpus. A figure on the better side of its
    range is a hit too: the document names what it hopes for, not what it forbids. A net that has not left the
    unigram plateau, or emits next to nothing, hits nothing, whatever its figures.

    Attributes:
        always: whether to report on corpora of another size too.
    """

    STATE: ClassVar[tuple[str, ...]] = ("phase", "pending")

    always: bool = False
    phase: str = field(default="", init=False, repr=False)
    pending: list[Any] = field(default_factory=list, init=False, repr=False)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned; ctckit 0.1.0 kept no state here."""
        if state:
            super().load_state_dict(state)

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action | Sample]:
        """Report on the phase that ends with this epoch, or that ended early with the one before."""
        ended_early = self.pending if epoch.at.phase != self.phase else []
        self.phase, self.pending = epoch.at.phase, []
        finding = self._report(epoch)
        found = [Finding(**one) for one in ended_early]
        if finding is None:
            return found
        if epoch.at.phase_epoch < epoch.at.phase_epochs:
            self.pending = [asdict(finding)]
            return found
        return [*found, finding]

    def _report(self, epoch: EpochResult) -> Finding | None:
        expected = DOCUMENT_TABLE.get(epoch.at.phase)
        labels = epoch.val.reference_labels
        if expected is None or not (self.always or labels >= DOCUMENT_LABELS / 2):
            return None
        degenerate = epoch.on_plateau or epoch.val.collapsed or epoch.val.unique_nonblank <= 1
        scale = labels / DOCUMENT_LABELS
        values = {
            "val_wer": epoch.val.wer,
            "blank_ratio": epoch.val.blank_ratio,
            "unique_nonblank": epoch.val.unique_nonblank,
            "overfit_ratio": epoch.overfit_ratio,
        }
        ranges = expected._replace(
            unique_nonblank=(expected.unique_nonblank[0] * scale, expected.unique_nonblank[1] * scale)
        )
        hits = {
            name: not degenerate and (values[name] >= low if name == "unique_nonblank" else values[name] <= high)
            for name, (low, high) in ranges._asdict().items()
        }
        parts = [
            f"{name} {values[name]:.4g} ({low:.4g} to {high:.4g}: {'hit' if hits[name] else 'missed'})"
            for name, (low, high) in ranges._asdict().items()
        ]
        why = "; the network has not left the unigram plateau or emits next to nothing" if degenerate else ""
        return Finding(
            rule="document_success_table",
            severity="info" if all(hits.values()) else "warning",
            message=f"phase {epoch.at.phase} against the founding document's table: {', '.join(parts)}{why}",
            evidence={**values, **{f"{name}_hit": hit for name, hit in hits.items()}},
            advice=""
            if hits["val_wer"] or hits["blank_ratio"]
            else "the blank ratio alone proves nothing: compare it with blank_reference, and see on_plateau",
            source="docs/founding-document.md 5.1",
        )


@dataclass
class SamplePredictions(ctckit.Monitor):
    """Every ``every`` epochs, keeps a decoded dev clip beside its reference (docs/founding-document.md 5.3).

    The report shows it; ``ctckit train --verbose`` prints the document's analysis of it.
    """

    every: int = 10

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; it must be at least 1")

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action | Sample]:
        """Keep the first sample."""
        if epoch.at.epoch % self.every or not epoch.samples:
            return []
        sample = epoch.samples[0]
        return [Sample(sample.clip_id, sample.reference, sample.tokens)]


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

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action | Sample]:
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
    """Says when the document would crop training clips to ``max_frames``, and with ``act`` has it done.

    The condition is the document's (docs/founding-document.md 7.1): in the named phases, dev loss below
    ``val_loss_below`` and overfit ratio above ``overfit_ratio_above``. Cropping cuts frames and keeps their labels,
    which harms (docs/founding-document.md C3), so that it is not done by default.
    """

    act: bool = False
    max_frames: int = 300
    phases: tuple[str, ...] = ("consolidation", "fine_tuning")
    val_loss_below: float = 3.0
    overfit_ratio_above: float = 3.0

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action | Sample]:
        """Note the condition while it holds; ask for clipping where it is to act and not in force yet."""
        holds = epoch.val.loss < self.val_loss_below and epoch.overfit_ratio > self.overfit_ratio_above
        in_force = epoch.max_frames is not None and epoch.max_frames <= self.max_frames
        if epoch.at.phase not in self.phases or not holds or in_force:
            return []
        finding = Finding(
            rule="overfit_on_length",
            severity="warning" if self.act else "info",
            message=f"overfit ratio {epoch.overfit_ratio:.2f} at dev loss {epoch.val.loss:.2f}: here the founding "
            f"document crops clips to {self.max_frames} frames",
            evidence={"overfit_ratio": epoch.overfit_ratio, "val_loss": epoch.val.loss},
            source="docs/founding-document.md 7.1",
        )
        if self.act:
            return [ClipLength(finding, max_frames=self.max_frames)]
        return [finding]
