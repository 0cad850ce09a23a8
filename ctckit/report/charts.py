"""Which charts a run's report has, and how each is to be read."""

from __future__ import annotations

from collections.abc import Callable

from ctckit.report.plots import Band, Chart, Mark, Series, Value, stack
from ctckit.report.summary import Epoch, Summary

LOSS_CEILING = 2.0
"""The loss axis ends at this multiple of the plateau: the first losses of a run may be ten times as high."""

WER_CEILING = 150.0
"""The error axis ends here; insertions alone can lift the rate to several hundred per cent."""

Column = Callable[[Epoch], Value]


def charts(summary: Summary) -> tuple[Chart, ...]:
    """Build the charts of a run, those with something to draw."""
    drawn = (
        _losses(summary),
        _errors(summary),
        _blanks(summary),
        _emitted(summary),
        _labels(summary),
        _coverage(summary),
        _entropy(summary),
        _learning_rate(summary),
        _shift(summary),
        _overfit(summary),
        _gradient(summary),
        _seconds(summary),
    )
    return tuple(chart for chart in drawn if chart.shown) if summary.epochs else ()


def bands(summary: Summary) -> tuple[Band, ...]:
    """Build the phases that have begun, to be shaded."""
    return tuple(
        Band(phase.name, phase.epochs[0].epoch, phase.epochs[-1].epoch) for phase in summary.phases if phase.epochs
    )


def marks(summary: Summary) -> tuple[Mark, ...]:
    """Build the epochs that every chart points out."""
    found = []
    if summary.left_plateau is not None and summary.last_on_plateau is not None:
        epoch = summary.left_plateau.epoch
        found.append(Mark(epoch, "escape", f"left the plateau in epoch {epoch}"))
    if summary.best is not None:
        found.append(Mark(summary.best.epoch, "best", f"best epoch {summary.best.epoch}"))
    for event in summary.actions:
        found.append(Mark(event.epoch, "action", f"{event.action} after epoch {event.epoch}"))
    return tuple(found)


def _column(summary: Summary, column: Column) -> tuple[Value, ...]:
    return tuple(column(epoch) for epoch in summary.epochs)


def _line(summary: Summary, name: str, style: str, column: Column) -> Series:
    return Series(name, _column(summary, column), style)


def _losses(summary: Summary) -> Chart:
    heads = sorted({name for epoch in summary.epochs for name in epoch.auxiliary_losses})
    auxiliary = [
        Series(
            f"auxiliary: {name}",
            tuple(epoch.auxiliary_losses.get(name) for epoch in summary.epochs),
            "def"[index % 3],
        )
        for index, name in enumerate(heads)
    ]
    plateau = summary.plateau_loss
    return Chart(
        "losses",
        "Losses",
        "nats per token",
        "The dashed line is the unigram plateau: the loss of the best answer that ignores the input. "
        "Every run starts there; below it, the network has begun to read its input.",
        (
            *auxiliary,
            _line(summary, "training (training mode)", "c", lambda e: e.train_loss),
            _line(summary, "training", "a", lambda e: e.train_eval_loss),
            _line(summary, "dev", "b", lambda e: e.dev.loss),
            _line(summary, "unigram plateau", "reference", lambda e: e.plateau_loss),
        ),
        floor=0.0,
        ceiling=LOSS_CEILING * plateau if plateau else None,
        wide=True,
    )


def _errors(summary: Summary) -> Chart:
    layers = stack(
        ("substitutions", "deletions", "insertions"),
        ("d", "e", "f"),
        (
            _column(summary, lambda e: e.dev.substitution_rate),
            _column(summary, lambda e: e.dev.deletion_rate),
            _column(summary, lambda e: e.dev.insertion_rate),
        ),
    )
    target = summary.target_wer
    return Chart(
        "errors",
        "Word errors and their kinds",
        "% of tokens",
        "On dev. All deletions is a model that emits blanks only; a model that learns trades deletions for "
        "substitutions first, then for correct labels.",
        (
            *layers,
            _line(summary, "WER dev", "b", lambda e: e.dev.wer),
            _line(summary, "WER training", "a", lambda e: e.train_wer),
            *([Series("target", (target,) * len(summary.epochs), "reference")] if target is not None else []),
        ),
        floor=0.0,
        ceiling=WER_CEILING,
        wide=True,
    )


def _blanks(summary: Summary) -> Chart:
    return Chart(
        "blanks",
        "Blank share",
        "% of frames",
        "The dashed line is 1 - U/T, the share of perfect one-frame spikes: near it is healthy, "
        "however high it is.",
        (
            _line(summary, "blank frames", "a", lambda e: e.dev.blank_ratio),
            _line(summary, "without the shift", "c", lambda e: e.dev.raw_blank_ratio),
            _line(
                summary, "blank mass", "b", lambda e: None if e.dev.blank_mass is None else 100.0 * e.dev.blank_mass
            ),
            _line(summary, "1 - U/T", "reference", lambda e: e.dev.blank_reference),
        ),
        wide=True,
    )


def _emitted(summary: Summary) -> Chart:
    return Chart(
        "emitted",
        "What is emitted",
        "%",
        "Labels of the references emitted at least once, emitted tokens per 100 reference tokens, "
        "and hypotheses that are empty.",
        (
            _line(summary, "label coverage", "a", lambda e: e.dev.label_coverage),
            _line(
                summary,
                "length ratio",
                "b",
                lambda e: None if e.dev.length_ratio is None else 100.0 * e.dev.length_ratio,
            ),
            _line(summary, "empty hypotheses", "d", lambda e: e.dev.empty_share),
        ),
        floor=0.0,
        ceiling=WER_CEILING,
        wide=True,
    )


def _labels(summary: Summary) -> Chart:
    return Chart(
        "labels",
        "Distinct labels",
        "labels",
        "Different labels emitted on dev. One or two over many epochs is a collapse that the blank share may hide.",
        (_line(summary, "distinct labels", "a", lambda e: e.dev.unique_nonblank),),
        floor=0.0,
    )


def _coverage(summary: Summary) -> Chart:
    return Chart(
        "coverage",
        "Coverage by frequency",
        "% of labels",
        "Labels of the references emitted at least once, in thirds by how often training has them. Rare ones come "
        "last; where the frequent ones alone come, it is data that lacks.",
        (
            _line(summary, "frequent", "a", lambda e: e.dev.coverage_frequent),
            _line(summary, "medium", "b", lambda e: e.dev.coverage_medium),
            _line(summary, "rare", "d", lambda e: e.dev.coverage_rare),
        ),
        floor=0.0,
    )


def _entropy(summary: Summary) -> Chart:
    return Chart(
        "entropy",
        "Entropy of the frames",
        "nats",
        "Mean over dev frames, under the shift. On the plateau every frame has that of the label frequencies; it "
        "falls as frames are decided.",
        (_line(summary, "entropy", "a", lambda e: e.dev.entropy),),
        floor=0.0,
    )


def _learning_rate(summary: Summary) -> Chart:
    rates = [e.learning_rate for e in summary.epochs if e.learning_rate]
    spread = max(rates) / min(rates) if rates else 1.0
    return Chart(
        "learning-rate",
        "Learning rate",
        "per update",
        "At each epoch's last step, schedule and actions together.",
        (_line(summary, "learning rate", "a", lambda e: e.learning_rate),),
        scale="log" if spread > 20.0 else "linear",
        floor=0.0,
    )


def _shift(summary: Summary) -> Chart:
    domains = sorted({e.domain for e in summary.epochs if e.shift and e.domain})
    return Chart(
        "shift",
        "Blank shift",
        "nats",
        (f"Added to blank during training ({' and '.join(domains)} domain)." if domains else "No shift in force.")
        + (
            " The bias is the model's own, and learnt."
            if any(e.blank_bias is not None for e in summary.epochs)
            else ""
        ),
        (
            _line(summary, "blank shift", "a", lambda e: e.shift),
            _line(summary, "bias of the blank", "b", lambda e: e.blank_bias),
            _line(summary, "where the bias began", "reference", lambda e: e.blank_bias_start),
        ),
    )


def _overfit(summary: Summary) -> Chart:
    return Chart(
        "overfit",
        "Overfit ratio",
        "dev / training",
        "Dev loss over training loss, both in evaluation mode under the same shift; 1 is no overfitting.",
        (
            _line(summary, "overfit ratio", "a", lambda e: e.overfit_ratio),
            Series("no overfitting", (1.0,) * len(summary.epochs), "reference"),
        ),
    )


def _gradient(summary: Summary) -> Chart:
    parts = list(dict.fromkeys(part for epoch in summary.epochs for part in epoch.module_gradients))
    clip = summary.config.get("gradient_clip")
    limit = (
        (Series("clipped at", (float(clip),) * len(summary.epochs), "reference"),)
        if isinstance(clip, (int, float)) and clip > 0
        else ()
    )
    return Chart(
        "gradient",
        "Gradient norm",
        "L2 norm",
        "Mean over the epoch, before clipping; of the whole model and of its parts. A part 10^4 times below the "
        "others does not learn."
        if parts
        else "Mean over the epoch, before clipping.",
        (
            _line(summary, "gradient norm", "a", lambda e: e.gradient_norm),
            *(
                Series(
                    part, tuple(epoch.module_gradients.get(part) for epoch in summary.epochs), "bcdef"[index % 5]
                )
                for index, part in enumerate(parts)
            ),
            *limit,
        ),
        scale="log",
    )


def _seconds(summary: Summary) -> Chart:
    return Chart(
        "seconds",
        "Time",
        "seconds",
        "Wall time of each epoch, evaluation included.",
        (_line(summary, "seconds", "a", lambda e: e.seconds),),
        floor=0.0,
    )
