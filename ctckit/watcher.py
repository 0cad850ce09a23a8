"""Watches somebody else's training loop: figures, states and findings while it runs, a history of it on disk."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import torch
from rich.console import Console
from torch import Tensor, nn

from ctckit import ops
from ctckit.doctor.course import Course, Diagnosis
from ctckit.doctor.flags import red_flags
from ctckit.doctor.notices import notices
from ctckit.engine.evaluate import Tally, frequency_bands
from ctckit.engine.step import by_part, gradient_norms, parts_of
from ctckit.errors import ConfigError, DataError, TrainingError, suggest
from ctckit.layouts import (
    Labels,
    Lengths,
    class_names,
    index_of_blank,
    label_lists,
    laid_out,
    renumbered,
    whole_numbers,
)
from ctckit.lines import Lines
from ctckit.loss import naming_diverged
from ctckit.plateau import unigram_plateau
from ctckit.record.epoch import Epoch
from ctckit.record.figures import FIGURES, dev_row
from ctckit.record.history import HISTORY, Best, History, better_epoch, read_history
from ctckit.types import Batch, Finding

PHASE = "training"
"""What the one phase of a watched run is called."""

MONITOR = "watch"

TOO_HIGH = 3.0
"""Times the dev loss at which a training loss, from the second epoch on, is not one per token."""

Reduction: TypeAlias = Literal["mean", "sum", "batch"]
Clip: TypeAlias = tuple[int, list[int]]
"""Output frames and labels, blank at 0."""


@dataclass(slots=True)
class _Steps:
    """What the steps of an epoch add up to."""

    losses: int = 0
    loss: float = 0.0
    clips: int = 0
    infeasible: int = 0
    measured: int = 0  # of these, how many know their clips
    norms: int = 0
    gradient_norm: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    updates: int = 0


@dataclass(slots=True)
class _Seen:
    """Clips of the first epoch, until the plateau is computed from them."""

    steps: list[Clip] = field(default_factory=list)
    train: list[Clip] = field(default_factory=list)
    dev: list[Clip] = field(default_factory=list)


class Watcher:
    """Follows a training loop of your own, epoch by epoch; ``ctckit.watch`` makes one.

    Figures that were not given or measured are absent; none is made up. A loop on several processes is watched by
    the first, and its figures are those of the first one's share of the clips.

    Attributes:
        folder: of the run; ``ctckit report``, ``diagnose`` and ``compare`` take it.
        epochs: that have ended.
        findings: all that was found so far, in order.
        diagnosis: the state after the last epoch; None while nothing tells it.
        best: the best epoch so far by word errors on dev, or None: none on the plateau or collapsed is.
        plateau_loss: the unigram plateau, nats per token; None until it is known.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        tokens: Sequence[str] | Mapping[str, int] | None = None,
        blank: int = 0,
        batch_first: bool = False,
        targets: Labels | None = None,
        frames: Lengths = None,
        model: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        reduction: Reduction = "mean",
        epochs: int | None = None,
        resume: bool = False,
        verbose: bool = False,
        quiet: bool = False,
    ) -> None:
        if reduction not in ("mean", "sum", "batch"):
            raise ConfigError(f"reduction: {reduction!r}; it is mean, sum or batch")
        self.folder = Path(folder)
        self.epochs = 0
        self.findings: list[Finding] = []
        self.diagnosis: Diagnosis | None = None
        self.best: Best | None = None
        self.plateau_loss: float | None = None
        self._blank, self._batch_first, self._reduction = blank, batch_first, reduction
        self._names = None if tokens is None else class_names(tokens, blank)
        self._targets = targets
        self._frames = None if frames is None else whole_numbers(frames, "frames")
        if self._known_blank() is not None:
            self._training_labels()  # what is wrong with them is said now
        self._model = None if model is None else _unwrapped(model)
        self._optimizer = optimizer
        self._planned = epochs
        self._course = Course()
        self._standing: list[Any] = []
        self._holding: set[str] = set()
        self._update = 0
        self._learning_rate: float | None = None
        self._bands: dict[str, int] = {}
        self._seen = _Seen()
        self._tallies: dict[str, Tally] = {}
        self._diverged: dict[str, str] = {}
        self._steps = _Steps()
        self._began = time.monotonic()
        self._closed = False
        self._first = _rank() == 0
        self._history = History(self.folder / HISTORY)
        self._lines = Lines(
            Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False, quiet=quiet),
            verbose=verbose,
        )
        if self._first:
            self._open(resume)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close("finished" if kind is None else "interrupted")

    def train_step(
        self,
        loss: Tensor | float | None = None,
        logits: Tensor | None = None,
        lengths: Lengths = None,
        targets: Labels | None = None,
        target_lengths: Lengths = None,
        *,
        gradient_norm: float | None = None,
    ) -> None:
        """Take in a step: ``train_batch`` and ``update`` in one, for loops without gradient accumulation.

        Call it after ``backward()``, before gradients are clipped or set to zero.

        Args:
            loss: of the step, in nats, reduced as ``watch`` was told.
            logits: ``[T, B, C]`` of the step (``[B, T, C]`` where batch first); the loss is measured from them.
            lengths: output frames of each clip.
            targets: labels of each clip.
            target_lengths: of each clip, where the targets do not tell.
            gradient_norm: before clipping; measured where it is not given and the model is known.

        Raises:
            DataError: what was given does not fit.
        """
        self.train_batch(loss, logits, lengths, targets, target_lengths)
        self.update(gradient_norm)

    def train_batch(
        self,
        loss: Tensor | float | None = None,
        logits: Tensor | None = None,
        lengths: Lengths = None,
        targets: Labels | None = None,
        target_lengths: Lengths = None,
    ) -> None:
        """Take in a training batch: its loss, or what it takes to measure it.

        Args:
            loss: in nats, reduced as ``watch`` was told; not needed where logits are given.
            logits: of the batch; the CTC loss per token is measured from them, as ``ctckit train`` does it.
            lengths: output frames of each clip; with the targets they tell the unigram plateau.
            targets: labels of each clip.
            target_lengths: of each clip, where the targets do not tell.

        Raises:
            DataError: what was given does not fit.
        """
        steps = self._steps
        rows: list[list[int]] | None = None
        if logits is not None:
            if targets is None:
                raise DataError("train_step: logits without targets; give both, with the lengths")
            logits_TBC, batch = self._laid_out(logits, lengths, targets, target_lengths, "train")
            value, infeasible = self._measured_loss(logits_TBC, batch)
            steps.infeasible += infeasible
            steps.measured += 1
            clips = self._clips(batch)
            steps.clips += len(clips)
            self._keep(self._seen.steps, clips)
        else:
            if loss is None:
                raise DataError("train_step: neither a loss nor logits; give one of them")
            if targets is not None:
                blank = self._known_blank()
                rows = label_lists(targets, target_lengths, blank)
                steps.clips += len(rows)
                if lengths is not None and blank is not None:
                    own = renumbered(rows, blank, self._classes(), _numbered(0, len(rows)))
                    frames = whole_numbers(lengths, "lengths")
                    if len(frames) != len(own):
                        raise DataError(f"lengths: {len(frames)} for targets of {len(own)} clips")
                    self._keep(self._seen.steps, list(zip(frames, own, strict=True)))
            value = self._per_token(loss, rows)
        steps.losses += 1
        steps.loss += value

    def update(self, gradient_norm: float | None = None) -> None:
        """Count a step of the optimiser, and measure the gradients where the model is known.

        Args:
            gradient_norm: L2 norm before clipping; measured where it is not given.
        """
        steps = self._steps
        self._update += 1
        steps.updates += 1
        if self._optimizer is not None:
            self._learning_rate = float(self._optimizer.param_groups[0]["lr"])
        if self._model is not None and _has_gradients(self._model):
            norm, norms_P = gradient_norms(self._model)
            whole, *each = torch.cat([norm.reshape(1), norms_P]).tolist()
            gradient_norm = whole if gradient_norm is None else gradient_norm
            for part, value in by_part(self._model, each).items():
                steps.parts[part] = steps.parts.get(part, 0.0) + value
        if gradient_norm is not None:
            steps.norms += 1
            steps.gradient_norm += float(gradient_norm)

    def evaluate_batch(
        self,
        logits: Tensor,
        lengths: Lengths,
        targets: Labels,
        target_lengths: Lengths = None,
        *,
        corpus: Literal["dev", "train"] = "dev",
        clip_ids: Sequence[str] = (),
    ) -> None:
        """Decode and score a batch, made in evaluation mode.

        Args:
            logits: ``[T, B, C]`` (``[B, T, C]`` where batch first), logits or log-probabilities.
            lengths: output frames of each clip; None where every frame is real.
            targets: labels of each clip, as lists or padded with anything negative or blank.
            target_lengths: of each clip, where the targets do not tell.
            corpus: ``dev``, or ``train`` for a fixed sample of training clips, whose loss is then the training
                loss that is judged: it is comparable with that of dev, as the mean over steps is not.
            clip_ids: for messages.

        Raises:
            DataError: what was given does not fit; says what.
        """
        if corpus not in ("dev", "train"):
            raise DataError(f"corpus: {corpus!r}; it is dev or train")
        tally = self._tallies.get(corpus)
        ids = clip_ids or _numbered(0 if tally is None else len(tally.decoded), self._clips_in(logits))
        logits_TBC, batch = self._laid_out(logits, lengths, targets, target_lengths, corpus, ids)
        if tally is None:
            tally = self._tallies[corpus] = Tally(self._tokens(logits_TBC.shape[-1]))
        clips = self._clips(batch)
        references = {
            clip: tuple(tally.tokens[label] for label in labels)
            for clip, (_, labels) in zip(batch.clip_ids, clips, strict=True)
        }
        self._keep(self._seen.dev if corpus == "dev" else self._seen.train, clips)
        try:
            tally.add(logits_TBC, batch.lengths_B, batch, references)
        except TrainingError as error:  # a loop that goes on is told so at the end of the epoch
            self._diverged.setdefault("val_loss" if corpus == "dev" else "train_eval_loss", str(error))

    def end_epoch(self, **figures: float) -> Epoch:
        """Close an epoch: write it, print its line, and judge the run so far.

        Args:
            **figures: what you know beside what was measured, by its name in the history, such as ``dropout`` or
                ``gradient_norm``; they go over what was measured.

        Returns:
            The epoch; what was found is in ``findings``.

        Raises:
            DataError: nothing was given of this epoch, a figure has no such name, or the disk is full.
        """
        unknown = next((name for name in figures if name not in FIGURES), None)
        if unknown is not None:
            raise DataError(f"end_epoch: there is no figure '{unknown}'{suggest(unknown, FIGURES)}")
        if not (self._steps.losses or self._steps.updates or self._tallies or self._diverged or figures):
            raise DataError(f"epoch {self.epochs + 1}: nothing was given; call train_step or evaluate_batch first")
        given = {name: _number(name, value) for name, value in figures.items()}
        source = self._find_plateau()
        self.epochs += 1
        row = {**self._row(), **given}
        epoch = Epoch.from_row(row, f"epoch {self.epochs}")
        row["on_plateau"], row["collapsed"] = epoch.on_plateau, epoch.collapsed
        found = [*source, *self._judge(epoch)]
        better = better_epoch(epoch, self.best)
        self.best = better or self.best
        self.findings += found
        if self._first:
            self._history.append("epoch", **row)
            if self.epochs == 1:
                self._lines.head()
            self._lines.epoch(epoch, better is not None)
            for finding in found:
                self._history.note(self.epochs, MONITOR, finding)
                self._lines.finding(finding, None, always=finding.rule in SAID)
        self._steps, self._tallies, self._diverged = _Steps(), {}, {}
        self._seen = _Seen()
        self._began = time.monotonic()
        return epoch

    def forget(self) -> None:
        """Forget what was evaluated since the last epoch: a second corpus, or a net that was not trained on."""
        self._tallies, self._diverged = {}, {}
        self._seen.dev, self._seen.train = [], []

    def close(self, reason: Literal["finished", "interrupted"] = "finished") -> None:
        """Write the closing row; a run that was interrupted may be watched again with ``resume=True``.

        Args:
            reason: why it ends.

        Raises:
            DataError: the file cannot be written.
        """
        if self._closed or not self._first:
            return
        self._closed = True
        best = self.best
        self._history.append(
            "end",
            reason=reason,
            epoch=self.epochs,
            best_epoch=best.epoch if best else None,
            best_val_wer=best.val_wer if best else None,
        )

    def _open(self, resume: bool) -> None:
        path = self._history.path
        if path.exists():
            if not resume:
                raise ConfigError(
                    f"{path.parent}: holds a run already; give resume=True to go on, or another folder"
                )
            recorded = read_history(path)
            for epoch in recorded.epochs:
                self._course.add(epoch)
                self.best = better_epoch(epoch, self.best) or self.best
                self.epochs, self._update = epoch.epoch, int(epoch.update or self._update)
            self.plateau_loss = recorded.plateau_loss
            if self._course.judgement is not None:
                self.diagnosis = self._course.diagnose(self._planned)
                self._standing = self.diagnosis.standing
            self._history.append("resume", epoch=self.epochs, update=self._update)
            self._lines.head()
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be made: {error.strerror}; give another folder") from error
        backend = ops.backend()
        own = list(self._model.parameters()) if self._model is not None else []
        self._history.append(
            "run",
            watched=True,
            ctckit=importlib.metadata.version("ctckit"),
            python=platform.python_version(),
            torch=torch.__version__,
            platform=platform.platform(),
            ops=backend.name,
            ops_reason=backend.reason,
            **({"device": str(own[0].device)} if own else {}),
            **({"parameters": sum(parameter.numel() for parameter in own)} if own else {}),
            **({"classes": len(self._names)} if self._names else {}),
            config={} if self._planned is None else {"phases": {PHASE: {"epochs": self._planned}}},
        )

    def _laid_out(
        self,
        logits: Tensor,
        lengths: Lengths,
        targets: Labels,
        target_lengths: Lengths,
        corpus: str,
        clip_ids: Sequence[str] = (),
    ) -> tuple[Tensor, Batch]:
        ids = clip_ids or _numbered(0, self._clips_in(logits))
        try:
            logits_TBC, batch = laid_out(
                logits,
                lengths,
                targets,
                target_lengths,
                blank=self._blank,
                batch_first=self._batch_first,
                clip_ids=ids,
            )
        except DataError as error:
            raise DataError(f"{corpus} batch of epoch {self.epochs + 1}: {error}") from error
        self._tokens(logits_TBC.shape[-1])
        return logits_TBC, batch

    def _tokens(self, classes: int) -> list[str]:
        """Names of the classes, blank first."""
        if self._names is None:
            self._names = [str(number) for number in range(classes)]
        if len(self._names) != classes:
            raise DataError(f"tokens: {len(self._names)} names, the logits have {classes} classes, blank included")
        blank = index_of_blank(self._blank, classes)
        return [self._names[blank], *(name for number, name in enumerate(self._names) if number != blank)]

    def _clips(self, batch: Batch) -> list[Clip]:
        rows = zip(
            batch.lengths_B.tolist(), batch.targets_BS.tolist(), batch.target_lengths_B.tolist(), strict=True
        )
        return [(frames, labels[:count]) for frames, labels, count in rows]

    def _clips_in(self, logits: Any) -> int:
        return (
            logits.shape[0 if self._batch_first else 1] if isinstance(logits, Tensor) and logits.dim() == 3 else 0
        )

    def _classes(self) -> int | None:
        return None if self._names is None else len(self._names)

    def _known_blank(self) -> int | None:
        """Index of the blank; None while it is counted from a last class that nobody has named yet."""
        classes = self._classes()
        if classes is not None:
            return index_of_blank(self._blank, classes)
        return self._blank if self._blank >= 0 else None

    def _keep(self, seen: list[Clip], clips: Sequence[Clip]) -> None:
        """Keep what the plateau is computed from, until it is."""
        if self.plateau_loss is None:
            seen += clips

    def _measured_loss(self, logits_TBC: Tensor, batch: Batch) -> tuple[float, int]:
        """Mean over the batch's tokens, of the clips that have a path, and how many clips have none."""
        try:
            with torch.no_grad(), naming_diverged("main", logits_TBC, batch.lengths_B, batch):
                losses_B = ops.ctc_loss(logits_TBC, batch.targets_BS, batch.lengths_B, batch.target_lengths_B)
        except TrainingError as error:
            self._diverged.setdefault("train_loss", str(error))
            return math.nan, 0
        has_path_B = torch.isfinite(losses_B)
        tokens = int(batch.target_lengths_B[has_path_B].sum())
        loss = float(losses_B[has_path_B].double().sum())
        return loss / tokens if tokens else math.nan, int((~has_path_B).sum())

    def _per_token(self, loss: Tensor | float, rows: list[list[int]] | None) -> float:
        if isinstance(loss, Tensor) and loss.numel() != 1:
            raise DataError(f"loss: shape {tuple(loss.shape)}; give one number, reduced by mean, sum or batch")
        value = float(loss.detach() if isinstance(loss, Tensor) else loss)
        if self._reduction == "mean":
            return value
        if rows is None:
            raise DataError(
                f"train_step: with reduction='{self._reduction}' the loss per token needs the step's targets; give "
                "targets, or logits with lengths and targets"
            )
        tokens = sum(map(len, rows))
        return value * (len(rows) if self._reduction == "batch" else 1) / tokens if tokens else math.nan

    def _find_plateau(self) -> list[Finding]:
        """Compute the plateau from the best that is known of the training corpus, and say what that was."""
        self._set_bands()
        if self.plateau_loss is not None:
            return []
        clips, of = self._training_clips()
        usable = [(frames, labels) for frames, labels in clips if labels and frames >= _needed(labels)]
        if not usable:
            return []
        classes = 1 + max(label for _, labels in usable for label in labels)
        frames_B, labels_B = zip(*usable, strict=True)
        self.plateau_loss = unigram_plateau(frames_B, labels_B, classes)
        return [
            Finding(
                rule=PLATEAU,
                severity="info",
                message=f"the unigram plateau is {self.plateau_loss:.3f} nats per token, from {len(usable)} {of}",
                evidence={"plateau_loss": self.plateau_loss, "clips": len(usable), "of": of},
                source="docs/founding-document.md C2",
            )
        ]

    def _training_clips(self) -> tuple[list[Clip], str]:
        seen, labels = self._seen, self._training_labels()
        if labels is not None and self._frames is not None:
            return list(zip(self._frames, labels, strict=True)), "training clips"
        if seen.steps or seen.train:
            return seen.steps or seen.train, "training clips"
        wanted = sum(len(row) for _, row in seen.dev)
        if labels is not None and wanted:
            ratio = sum(frames for frames, _ in seen.dev) / wanted
            clips = [(max(round(ratio * len(row)), _needed(row)), row) for row in labels]
            return clips, "training targets, with as many frames a label as dev has"
        return seen.dev, "dev clips, as no lengths and targets of training clips were given"

    def _training_labels(self) -> list[list[int]] | None:
        """Labels of the training corpus as ``watch`` was given them, blank at 0."""
        blank = self._known_blank()
        if self._targets is None or blank is None:
            return None
        rows = label_lists(self._targets, None, blank)
        if self._frames is not None and len(self._frames) != len(rows):
            raise DataError(f"frames: of {len(self._frames)} clips, targets of {len(rows)}")
        return renumbered(rows, blank, self._classes(), _numbered(0, len(rows)))

    def _set_bands(self) -> None:
        """Tell rare labels from frequent ones as soon as the training labels are known."""
        if not self._bands and self._names is not None:
            known = self._training_labels() or [labels for _, labels in self._seen.steps or self._seen.train]
            tokens = self._tokens(len(self._names))
            self._bands = frequency_bands(Counter(tokens[label] for row in known for label in row))
        for tally in self._tallies.values():
            tally.bands = self._bands

    def _row(self) -> dict[str, Any]:
        """The epoch as the history has it; what is not known has no column."""
        steps, model = self._steps, self._model
        row: dict[str, Any] = {"epoch": self.epochs, "phase": PHASE, "phase_epoch": self.epochs}
        if self._update:
            row["update"] = self._update
        if steps.losses:
            row["train_loss"] = steps.loss / steps.losses
        dev, train = self._tallies.get("dev"), self._tallies.get("train")
        if dev is not None and dev.decoded and "val_loss" not in self._diverged:
            row |= {name: value for name, value in dev_row(dev.scores()).items() if value is not None}
        if train is not None and train.decoded and "train_eval_loss" not in self._diverged:
            scores = train.scores()
            row |= {"train_eval_loss": scores.loss, "train_wer": scores.wer, "train_infeasible": scores.infeasible}
        elif steps.measured:
            row["train_infeasible"] = steps.infeasible
        if self.plateau_loss is not None:
            row["plateau_loss"] = self.plateau_loss
        if steps.norms:
            row["gradient_norm"] = steps.gradient_norm / steps.norms
        if steps.clips:
            row["clips"] = steps.clips
        if self._learning_rate is not None:
            row["learning_rate"] = self._learning_rate
        row["seconds"] = time.monotonic() - self._began
        if model is not None and steps.parts:
            own = parts_of(model)
            row["module_gradients"] = {
                part: steps.parts[part] / steps.updates if part in steps.parts else None for part in own
            }
            row["module_weights"] = {part: nn.utils.get_total_norm(each).item() for part, each in own.items()}
        return row | dict.fromkeys(self._diverged, math.nan)

    def _judge(self, epoch: Epoch) -> list[Finding]:
        """What there is to say now and was not said before."""
        self._course.add(epoch)
        found = [
            Finding("diverged", "error", message, {"epoch": epoch.epoch}) for message in self._diverged.values()
        ]
        if self._course.judgement is not None:
            self.diagnosis = self._course.diagnose(self._planned)
            if self.diagnosis.standing != self._standing:
                self._standing = self.diagnosis.standing
                found.append(self.diagnosis.finding())
        held = [*red_flags(self._course.past), *notices(self._course.past), *self._not_per_token(epoch)]
        found += [finding for finding in held if finding.rule not in self._holding]
        self._holding = {finding.rule for finding in held}
        return found

    def _not_per_token(self, epoch: Epoch) -> list[Finding]:
        """A loss that is reduced in another way than the loop was said to reduce it looks like a diverged run."""
        train, dev = epoch.train_loss, epoch.val_loss
        given = self._steps.losses and not self._steps.measured
        if not given or epoch.epoch < 2 or train is None or dev is None or train < TOO_HIGH * dev:
            return []
        return [
            Finding(
                "loss_not_per_token",
                "warning",
                f"the training loss is {train:.3g}, the dev loss {dev:.3g} nats per token: it is not per token",
                {"train_loss": train, "val_loss": dev},
                "give watch reduction='sum' or 'batch', as the loss is reduced, and train_step the targets",
            )
        ]


PLATEAU = "unigram_plateau"

SAID = frozenset({"state", PLATEAU})
"""Findings that a terminal shows however harmless: there is no report beside a loop of one's own."""


def watch(
    folder: str | Path,
    *,
    tokens: Sequence[str] | Mapping[str, int] | None = None,
    blank: int = 0,
    batch_first: bool = False,
    targets: Labels | None = None,
    frames: Lengths = None,
    model: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    reduction: Reduction = "mean",
    epochs: int | None = None,
    resume: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> Watcher:
    """Watch a training loop of your own.

    Call ``train_step`` after each ``backward()``, ``evaluate_batch`` for each dev batch, and ``end_epoch``. Each
    epoch is a line on standard error and a row of ``folder/history.jsonl``, which ``ctckit report``, ``diagnose``
    and ``compare`` read. As a context manager it writes the closing row; so does ``close``.

    The unigram plateau, the best loss of a network that ignores its input, is computed at the end of the first
    epoch: from ``targets`` and ``frames``; else from the training batches, where ``train_step`` or
    ``evaluate_batch(corpus="train")`` has seen their logits; else from ``targets`` with as many frames a label as
    dev has; else from dev. What it was computed from is said.

    Args:
        folder: of the run; made where missing.
        tokens: name of each class, blank included, or a vocabulary (name to class); numbers where not given.
        blank: index of the blank; -1 is the last class.
        batch_first: whether logits come as ``[B, T, C]``.
        targets: labels of all training clips.
        frames: output frames of all training clips.
        model: for gradient and weight norms of its parts.
        optimizer: for the learning rate.
        reduction: of the loss that ``train_step`` is given: ``mean`` (of the clips' losses per token, as
            ``torch.nn.CTCLoss`` does it), ``sum`` (over the batch), or ``batch`` (sum over the clips' number).
            The last two need the step's targets.
        epochs: planned, so that a pace can be measured against them.
        resume: go on with the run in ``folder``.
        verbose: whether notes are printed too.
        quiet: whether nothing is printed.

    Raises:
        ConfigError: the folder holds a run, or an option is unknown.
        DataError: tokens or targets do not fit, or the folder cannot be written.
    """
    return Watcher(
        folder,
        tokens=tokens,
        blank=blank,
        batch_first=batch_first,
        targets=targets,
        frames=frames,
        model=model,
        optimizer=optimizer,
        reduction=reduction,
        epochs=epochs,
        resume=resume,
        verbose=verbose,
        quiet=quiet,
    )


def _numbered(first: int, clips: int) -> list[str]:
    return [f"number {first + number}" for number in range(clips)]


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"end_epoch: '{name}' is {value!r}, not a number") from error


def _needed(labels: Sequence[int]) -> int:
    """Frames of the shortest path: one a label, and a blank between equal ones."""
    return len(labels) + sum(one == other for one, other in pairwise(labels))


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of what distributes or compiles it, so that its parts have their own names."""
    while True:
        children = dict(model.named_children())
        inner = children.get("module", children.get("_orig_mod"))
        if inner is None or len(children) > 1:
            return model
        model = inner


def _has_gradients(model: nn.Module) -> bool:
    """Whether there are gradients to measure; sparse ones have no norm to ask for."""
    found = [one.grad for one in model.parameters() if one.requires_grad and one.grad is not None]
    return bool(found) and not any(gradient.is_sparse for gradient in found)


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
