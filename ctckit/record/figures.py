"""The table of figures: a row for everything that is measured of an epoch, with its title, unit and digits.

What writes an epoch, reads it, prints it, draws it or compares it follows this table. A figure of a plugin is a row
more, which ``Registry.figure`` or ``Model.FIGURES`` adds; the history carries its description, so that a reader
needs no plugin.

Units: losses are nats per reference token; rates and shares are per cent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ctckit.errors import DataError
from ctckit.types import SIGNIFICANT, Figure

if TYPE_CHECKING:
    from ctckit.record.epoch import Epoch
    from ctckit.types import EpochResult, Scores

DESCRIBED = ("name", "title", "unit", "digits", "note", "console", "curve")
"""What a reader of the history must know of a figure that is not ctckit's own."""

PARTS = ("module_gradients", "module_weights")
"""Columns that hold a figure for each top-level part of the model."""


def _substitutions(epoch: Epoch) -> float | None:
    if epoch.val_wer is None or epoch.deletion_rate is None or epoch.insertion_rate is None:
        return None
    return max(epoch.val_wer - epoch.deletion_rate - epoch.insertion_rate, 0.0)


def _overfit(epoch: Epoch) -> float | None:
    return epoch.val_loss / epoch.fit if epoch.val_loss is not None and epoch.fit and epoch.fit > 0 else None


def _label_frames(epoch: Epoch) -> float | None:
    if epoch.blank_ratio is None or epoch.blank_reference is None or epoch.blank_reference >= 100.0:
        return None
    return (100.0 - epoch.blank_ratio) / (100.0 - epoch.blank_reference)


def _drift(epoch: Epoch) -> float | None:
    if epoch.blank_bias is None or epoch.blank_bias_start is None:
        return None
    return epoch.blank_bias - epoch.blank_bias_start


def _of_plateau(epoch: Epoch) -> float | None:
    return 100.0 * epoch.fit / epoch.plateau_loss if epoch.fit is not None and epoch.plateau_loss else None


_NATS = "nats per token"

FIGURES: Final[Mapping[str, Figure]] = {
    figure.name: figure
    for figure in (
        Figure("phase_epoch", "Epoch of the phase", digits=0, measure=lambda e: e.at.phase_epoch),
        Figure("update", "Updates", digits=0, optional=True, measure=lambda e: e.at.update or None),
        Figure("frames", "Frames", digits=0, measure=lambda e: e.at.frames),
        Figure(
            "train_loss",
            "Training loss, training mode",
            _NATS,
            note="mean over steps",
            measure=lambda e: e.train_loss,
        ),
        Figure(
            "train_eval_loss",
            "Training loss",
            _NATS,
            note="in evaluation mode",
            console="loss",
            curve=True,
            measure=lambda e: e.train.loss,
        ),
        Figure(
            "plateau_loss",
            "Unigram plateau",
            _NATS,
            note="best loss that ignores the input",
            console="plateau",
            measure=lambda e: e.plateau_loss,
        ),
        Figure(
            "share_of_plateau",
            "Training loss of the plateau",
            "%",
            1,
            note="within 3 % of it the input is ignored",
            derive=_of_plateau,
        ),
        Figure("val_loss", "Dev loss", _NATS, console="dev", curve=True, score=lambda s: s.loss),
        Figure("val_wer", "WER on dev", "%", 2, console="WER", curve=True, score=lambda s: s.wer),
        Figure(
            "substitution_rate",
            "Substitutions",
            "%",
            1,
            console="S",
            score=lambda s: s.substitution_rate,
            derive=_substitutions,
        ),
        Figure(
            "deletion_rate",
            "Deletions",
            "%",
            1,
            note="from 90 % on, collapsed",
            console="D",
            score=lambda s: s.deletion_rate,
        ),
        Figure("insertion_rate", "Insertions", "%", 1, console="I", score=lambda s: s.insertion_rate),
        Figure("train_wer", "WER on training", "%", 1, measure=lambda e: e.train.wer),
        Figure(
            "blank_ratio",
            "Blank frames on dev",
            "%",
            1,
            note="near 1 - U/T is healthy",
            console="blank %",
            curve=True,
            score=lambda s: s.blank_ratio,
        ),
        Figure("raw_blank_ratio", "Blank frames without the shift", "%", 1, score=lambda s: s.raw_blank_ratio),
        Figure(
            "blank_reference",
            "1 - U/T",
            "%",
            1,
            note="blank share of perfect one-frame spikes",
            console="1-U/T",
            score=lambda s: s.blank_reference,
        ),
        Figure(
            "blank_mass", "Blank mass", note="mean posterior of the blank, 0 to 1", score=lambda s: s.blank_mass
        ),
        Figure(
            "label_frames",
            "Label frames a token",
            digits=2,
            note="1 is a one-frame spike, 0 is blanks only",
            derive=_label_frames,
        ),
        Figure(
            "unique_nonblank",
            "Distinct labels on dev",
            digits=0,
            console="labels",
            score=lambda s: s.unique_nonblank,
        ),
        Figure(
            "label_coverage",
            "Label coverage",
            "%",
            1,
            note="labels of the references emitted at least once",
            score=lambda s: s.label_coverage,
        ),
        Figure(
            "coverage_rare",
            "Coverage of rare labels",
            "%",
            0,
            optional=True,
            score=lambda s: s.coverage_by_frequency["rare"],
        ),
        Figure(
            "coverage_medium",
            "Coverage of medium labels",
            "%",
            0,
            optional=True,
            score=lambda s: s.coverage_by_frequency["medium"],
        ),
        Figure(
            "coverage_frequent",
            "Coverage of frequent labels",
            "%",
            0,
            optional=True,
            score=lambda s: s.coverage_by_frequency["frequent"],
        ),
        Figure(
            "length_ratio",
            "Length ratio",
            digits=2,
            note="emitted over wanted tokens",
            score=lambda s: s.length_ratio,
        ),
        Figure("empty_share", "Empty hypotheses", "%", 1, score=lambda s: s.empty_share),
        Figure("sentence_error_rate", "Clips with an error", "%", 1, score=lambda s: s.sentence_error_rate),
        Figure(
            "entropy", "Entropy", "nats", 2, note="mean over dev frames", optional=True, score=lambda s: s.entropy
        ),
        Figure(
            "overfit_ratio",
            "Overfit ratio",
            digits=2,
            note="dev over training loss",
            measure=lambda e: e.overfit_ratio,
            derive=_overfit,
        ),
        Figure("gradient_norm", "Gradient norm", digits=SIGNIFICANT, measure=lambda e: e.gradient_norm),
        Figure(
            "learning_rate", "Learning rate", digits=SIGNIFICANT, console="lr", measure=lambda e: e.learning_rate
        ),
        Figure(
            "shift",
            "Blank shift",
            "nats",
            SIGNIFICANT,
            note="in training",
            console="shift",
            measure=lambda e: e.shift,
        ),
        Figure("blank_bias", "Bias of the blank", "nats", 2, optional=True, measure=lambda e: e.blank_bias),
        Figure(
            "blank_bias_start",
            "Bias of the blank at the start",
            "nats",
            2,
            optional=True,
            measure=lambda e: e.blank_bias_start,
        ),
        Figure(
            "blank_bias_drift",
            "Drift of the blank's bias",
            "nats",
            2,
            optional=True,
            measure=lambda e: e.blank_bias_drift,
            derive=_drift,
        ),
        Figure("dropout", "Dropout", digits=SIGNIFICANT, optional=True, measure=lambda e: e.dropout),
        Figure("max_frames", "Clips cropped to", "frames", 0, optional=True, measure=lambda e: e.max_frames),
        Figure("clips", "Training clips seen", digits=0, measure=lambda e: e.clips),
        Figure("cropped", "Clips cropped", digits=0, measure=lambda e: e.cropped),
        Figure("infeasible", "Dev clips without a path", digits=0, score=lambda s: s.infeasible),
        Figure("train_infeasible", "Training clips without a path", digits=0, measure=lambda e: e.train.infeasible),
        Figure("utterances", "Dev clips", digits=0, score=lambda s: s.utterances),
        Figure("reference_tokens", "Reference tokens", digits=0, score=lambda s: s.reference_tokens),
        Figure("substitutions", "Substituted tokens", digits=0, score=lambda s: s.substitutions),
        Figure("deletions", "Deleted tokens", digits=0, score=lambda s: s.deletions),
        Figure("insertions", "Inserted tokens", digits=0, score=lambda s: s.insertions),
        Figure("seconds", "Time", "s", 1, measure=lambda e: e.seconds),
    )
}
"""ctckit's own figures, in the order of tables."""


def table_of(figures: Iterable[Figure]) -> dict[str, Figure]:
    """Add figures to ctckit's own.

    Raises:
        ValueError: a name is taken or no identifier; the message names it.
    """
    table = dict(FIGURES)
    for figure in figures:
        plain = figure.name.isidentifier() and not figure.name.startswith("_")
        if figure.name in table or figure.name in RESERVED or not plain:
            why = "is taken" if plain else "is no identifier, or begins with _"
            raise ValueError(f"figure '{figure.name}': the name {why}; choose another")
        table[figure.name] = figure
    return table


RESERVED = frozenset(
    {"kind", "epoch", "phase", "domain", "figures", "not_finite", "auxiliary_losses", "terms", *PARTS}
    | {"fit", "on_plateau", "above_plateau", "collapsed", "value"}
    | {"of", "from_row", "state_dict", "from_state_dict", "self"}
)
"""Columns of a row that are no figures, and whatever else ``Epoch`` has under a name."""


def described(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """Return what the history's first row says of figures that are not ctckit's own."""
    return [{name: getattr(figure, name) for name in DESCRIBED} for figure in figures]


def described_table(rows: object, place: str) -> dict[str, Figure]:
    """Read the descriptions that the first row of a history has of figures that are not ctckit's own.

    Raises:
        DataError: they are no such thing.
    """
    if rows is None:
        return dict(FIGURES)
    try:
        if not isinstance(rows, list):
            raise TypeError(f"{type(rows).__name__} instead of a list")
        return table_of(Figure(**{name: row[name] for name in DESCRIBED if name in row}) for row in rows)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{place}: 'figures' does not describe figures: {error}") from error


def score_row(scores: Scores) -> dict[str, Any]:
    """Flatten the scores of a corpus, without the prefix of dev: ``wer``, ``loss``, ``deletion_rate`` ..."""
    row: dict[str, Any] = {f.key: f.score(scores) for f in FIGURES.values() if f.score is not None}
    return {**row, "collapsed": scores.collapsed}


def dev_row(scores: Scores) -> dict[str, Any]:
    """Flatten the scores of dev into the columns of an epoch's row."""
    return {f.name: f.score(scores) for f in FIGURES.values() if f.score is not None}


def epoch_row(result: EpochResult) -> dict[str, Any]:
    """Flatten an epoch into the columns of its row.

    The founding document's names come as it has them: train_loss, val_loss, val_wer, blank_ratio,
    unique_nonblank, overfit_ratio. Scores without a prefix are those of dev.
    """
    return {
        # first, so that no head's name can take the place of a column of ours
        **{f"{name}_loss": loss for name, loss in result.auxiliary_losses.items()},
        **{f"{name}_term": term for name, term in result.terms.items()},
        "epoch": result.at.epoch,
        "phase": result.at.phase,
        "domain": result.domain,
        **{f.name: f.of(result) for f in FIGURES.values() if f.measure is not None or f.score is not None},
        **result.figures,
        "on_plateau": result.on_plateau,
        "collapsed": result.val.collapsed,
        **{part: dict(getattr(result, part)) for part in PARTS},
    }
