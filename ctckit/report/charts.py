"""Which charts a run's report has: figures of the table, put together where they explain one another."""

from __future__ import annotations

from collections.abc import Iterator

from ctckit.record.figures import FIGURES
from ctckit.record.history import Recorded
from ctckit.report.plots import Band, Chart, Mark, Series, Value, stack
from ctckit.types import Figure

LOSS_CEILING = 2.0
"""The loss axis ends at this multiple of the plateau: the first losses of a run may be ten times as high."""

WER_CEILING = 150.0
"""The error axis ends here; insertions alone can lift the rate to several hundred per cent."""


def charts(run: Recorded) -> tuple[Chart, ...]:
    """Build the charts of a run, those with something to draw."""
    if not run.epochs:
        return ()
    drawn = [*_layout(run)]
    drawn += [_own(run, figure) for name, figure in run.table.items() if name not in FIGURES]
    return tuple(chart for chart in drawn if chart.shown)


def bands(run: Recorded) -> tuple[Band, ...]:
    """Build the phases that have begun, to be shaded."""
    return tuple(
        Band(phase.name, phase.epochs[0].epoch, phase.epochs[-1].epoch) for phase in run.phases if phase.epochs
    )


def marks(run: Recorded) -> tuple[Mark, ...]:
    """Build the epochs that every chart points out."""
    found = []
    if run.left_plateau is not None and run.last_on_plateau is not None:
        epoch = run.left_plateau.epoch
        found.append(Mark(epoch, "escape", f"left the plateau in epoch {epoch}"))
    if run.best is not None:
        found.append(Mark(run.best.epoch, "best", f"best epoch {run.best.epoch}"))
    for event in run.actions:
        found.append(Mark(event.epoch, "action", f"{event.action} after epoch {event.epoch}"))
    return tuple(found)


def column(run: Recorded, figure: str, factor: float = 1.0) -> tuple[Value, ...]:
    """Return a figure of every epoch, times ``factor``."""
    values = (epoch.value(figure) for epoch in run.epochs)
    return tuple(None if value is None else factor * value for value in values)


def error_ceiling(errors: list[float]) -> float:
    """Choose where an axis of word errors ends: the later half of a run is to be seen, not only its start."""
    later = errors[len(errors) // 2 :]
    return min(max(4.0 * max(later, default=WER_CEILING), 10.0), WER_CEILING)


def _line(run: Recorded, name: str, style: str, figure: str, factor: float = 1.0) -> Series:
    return Series(name, column(run, figure, factor), style)


def _constant(run: Recorded, name: str, value: float | None) -> tuple[Series, ...]:
    return () if value is None else (Series(name, (value,) * len(run.epochs), "reference"),)


def _own(run: Recorded, figure: Figure) -> Chart:
    """Draw a figure that a plugin or the model has brought."""
    series = (_line(run, figure.title, "a", figure.name),)
    return Chart(figure.name, figure.title, figure.unit, figure.note, series)


def _layout(run: Recorded) -> Iterator[Chart]:
    yield _losses(run)
    yield _errors(run)
    yield Chart(
        "blanks",
        "Blank share",
        "% of frames",
        "The dashed line is 1 - U/T, the share of perfect one-frame spikes: near it is healthy, "
        "however high it is.",
        (
            _line(run, "blank frames", "a", "blank_ratio"),
            _line(run, "without the shift", "c", "raw_blank_ratio"),
            _line(run, "blank mass", "b", "blank_mass", 100.0),
            _line(run, "1 - U/T", "reference", "blank_reference"),
        ),
        wide=True,
    )
    yield Chart(
        "emitted",
        "What is emitted",
        "%",
        "Labels of the references emitted at least once, emitted tokens per 100 reference tokens, "
        "and hypotheses that are empty.",
        (
            _line(run, "label coverage", "a", "label_coverage"),
            _line(run, "length ratio", "b", "length_ratio", 100.0),
            _line(run, "empty hypotheses", "d", "empty_share"),
        ),
        floor=0.0,
        ceiling=WER_CEILING,
        wide=True,
    )
    yield Chart(
        "labels",
        "Distinct labels",
        "labels",
        "Different labels emitted on dev. One or two over many epochs is a collapse that the blank share may hide.",
        (_line(run, "distinct labels", "a", "unique_nonblank"),),
        floor=0.0,
    )
    yield Chart(
        "coverage",
        "Coverage by frequency",
        "% of labels",
        "Labels of the references emitted at least once, in thirds by how often training has them. Rare ones come "
        "last; where the frequent ones alone come, it is data that lacks.",
        tuple(
            _line(run, band, style, f"coverage_{band}")
            for band, style in (("frequent", "a"), ("medium", "b"), ("rare", "d"))
        ),
        floor=0.0,
    )
    yield Chart(
        "entropy",
        "Entropy of the frames",
        "nats",
        "Mean over dev frames, under the shift. On the plateau every frame has that of the label frequencies; it "
        "falls as frames are decided.",
        (_line(run, "entropy", "a", "entropy"),),
        floor=0.0,
    )
    yield _learning_rate(run)
    yield _shift(run)
    yield Chart(
        "overfit",
        "Overfit ratio",
        "dev / training",
        "Dev loss over training loss, both in evaluation mode under the same shift; 1 is no overfitting.",
        (_line(run, "overfit ratio", "a", "overfit_ratio"), *_constant(run, "no overfitting", 1.0)),
    )
    yield _gradient(run)
    yield Chart(
        "seconds",
        "Time",
        "seconds",
        "Wall time of each epoch, evaluation included.",
        (_line(run, "seconds", "a", "seconds"),),
        floor=0.0,
    )


def _losses(run: Recorded) -> Chart:
    heads = sorted({name for epoch in run.epochs for name in epoch.auxiliary_losses})
    auxiliary = [
        Series(
            f"auxiliary: {name}",
            tuple(epoch.auxiliary_losses.get(name) for epoch in run.epochs),
            "def"[index % 3],
        )
        for index, name in enumerate(heads)
    ]
    plateau = run.plateau_loss
    return Chart(
        "losses",
        "Losses",
        "nats per token",
        "The dashed line is the unigram plateau: the loss of the best answer that ignores the input. "
        "Every run starts there; below it, the network has begun to read its input.",
        (
            *auxiliary,
            _line(run, "training (training mode)", "c", "train_loss"),
            _line(run, "training", "a", "train_eval_loss"),
            _line(run, "dev", "b", "val_loss"),
            _line(run, "unigram plateau", "reference", "plateau_loss"),
        ),
        floor=0.0,
        ceiling=LOSS_CEILING * plateau if plateau else None,
        wide=True,
    )


def _errors(run: Recorded) -> Chart:
    kinds = ("substitutions", "deletions", "insertions")
    rates = ("substitution_rate", "deletion_rate", "insertion_rate")
    layers = stack(kinds, ("d", "e", "f"), tuple(column(run, rate) for rate in rates))
    known = [epoch.val_wer for epoch in run.epochs if epoch.val_wer is not None]
    return Chart(
        "errors",
        "Word errors and their kinds",
        "% of tokens",
        "On dev. All deletions is a model that emits blanks only; a model that learns trades deletions for "
        "substitutions first, then for correct labels. What is beyond the axis is cut off.",
        (
            *layers,
            _line(run, "WER dev", "b", "val_wer"),
            _line(run, "WER training", "a", "train_wer"),
            *_constant(run, "target", run.target_wer),
        ),
        floor=0.0,
        ceiling=error_ceiling(known),
        wide=True,
    )


def _learning_rate(run: Recorded) -> Chart:
    rates = [epoch.learning_rate for epoch in run.epochs if epoch.learning_rate]
    spread = max(rates) / min(rates) if rates else 1.0
    return Chart(
        "learning-rate",
        "Learning rate",
        "per update",
        "At each epoch's last step, schedule and actions together.",
        (_line(run, "learning rate", "a", "learning_rate"),),
        scale="log" if spread > 20.0 else "linear",
        floor=0.0,
    )


def _shift(run: Recorded) -> Chart:
    domains = sorted({epoch.domain for epoch in run.epochs if epoch.shift and epoch.domain})
    note = f"Added to blank during training ({' and '.join(domains)} domain)." if domains else "No shift in force."
    if any(epoch.blank_bias is not None for epoch in run.epochs):
        note += " The bias is the model's own, and learnt."
    return Chart(
        "shift",
        "Blank shift",
        "nats",
        note,
        (
            _line(run, "blank shift", "a", "shift"),
            _line(run, "bias of the blank", "b", "blank_bias"),
            _line(run, "where the bias began", "reference", "blank_bias_start"),
        ),
    )


def _gradient(run: Recorded) -> Chart:
    parts = list(dict.fromkeys(part for epoch in run.epochs for part in epoch.module_gradients))
    clip = run.config.get("gradient_clip")
    limit = float(clip) if isinstance(clip, (int, float)) and clip > 0 else None
    note = "Mean over the epoch, before clipping"
    if parts:
        note += "; of the whole model and of its parts. A part 10^4 times below the others does not learn"
    return Chart(
        "gradient",
        "Gradient norm",
        "L2 norm",
        f"{note}.",
        (
            _line(run, "gradient norm", "a", "gradient_norm"),
            *(
                Series(part, tuple(epoch.module_gradients.get(part) for epoch in run.epochs), "bcdef"[index % 5])
                for index, part in enumerate(parts)
            ),
            *_constant(run, "clipped at", limit),
        ),
        scale="log",
    )
