"""The table at the end of an ablation: each variant over its seeds, and how it differs from the first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from ctckit.ablation.outcome import Outcome
from ctckit.ablation.plan import Plan
from ctckit.bootstrap import Estimate, compare_over_seeds
from ctckit.errors import DataError
from ctckit.files import atomic

MARKDOWN, JSON = "ablation.md", "ablation.json"

SAME = ("ctckit", "torch", "device", "threads", "ops")
"""Provenance that should be equal if times and last digits are to be compared."""

COLUMNS = (
    "variant",
    "WER %",
    "each seed",
    "against the first",
    "P(better)",
    "S/D/I %",
    "blank % (1-U/T)",
    "plateau left: epoch (update)",
    "best epoch",
    "updates",
    "minutes",
    "state",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A variant over its seeds. Figures are None while no run of it has ended.

    Attributes:
        variant: its name.
        description: from the plan.
        runs: its outcomes, in the order of the seeds.
        wer: mean over seeds, with its 95 % interval.
        difference: to the first variant, over the seeds that both have; negative is better.
        better: probability that it makes fewer errors than the first.
    """

    variant: str
    description: str
    runs: tuple[Outcome, ...]
    wer: Estimate | None
    difference: Estimate | None
    better: float | None

    @property
    def ended(self) -> tuple[Outcome, ...]:
        """Runs that have been scored."""
        return tuple(run for run in self.runs if run.scored is not None)

    def mean(self, figure: Callable[[Any], float]) -> float:
        """Average a figure of the scores over the seeds."""
        values = [figure(run.scored) for run in self.ended]
        return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Table:
    """An ablation as far as it has come.

    Attributes:
        rows: by variant, in the order of the plan.
        corpus: name of the file that the error rates are of; empty while no run has been scored.
        utterances: in it.
        tokens: of its references.
        budget: of each run, in words.
        notes: what keeps the figures from being compared.
    """

    rows: tuple[Row, ...]
    corpus: str
    utterances: int
    tokens: int
    budget: str
    notes: tuple[str, ...]

    @property
    def begun(self) -> tuple[Row, ...]:
        """Variants of which there is at least the beginning of a run."""
        return tuple(row for row in self.rows if any(run.status != "not run" for run in row.runs))


def build_table(plan: Plan, outcomes: Sequence[Outcome], *, resamples: int = 10_000) -> Table:
    """Compare the variants of a plan.

    Intervals are those of ``bootstrap.compare_over_seeds``: utterances and seeds are drawn, for all variants alike.

    Args:
        plan: names the variants and their order.
        outcomes: of all runs, seeds of a variant in the order of the plan.
        resamples: corpora drawn.

    Raises:
        DataError: runs were trained or scored on different corpora.
    """
    refuse_mixed(outcomes)
    runs = {name: tuple(run for run in outcomes if run.variant == name) for name in plan.variants}
    first = next(iter(runs.values()))
    rows = []
    for name, variant in plan.variants.items():
        wer, difference, better = _compared(first, runs[name], resamples)
        rows.append(Row(name, variant.description, runs[name], wer, difference, better))
    scored = next((run.scored for run in outcomes if run.scored), None)
    return Table(
        rows=tuple(rows),
        corpus=Path(scored.corpus).name if scored else "",
        utterances=len(scored.utterances) if scored else 0,
        tokens=sum(one.tokens for one in scored.utterances) if scored else 0,
        budget=_budget(plan),
        notes=tuple(_notes(plan, outcomes)),
    )


def _budget(plan: Plan) -> str:
    if plan.minutes is not None:
        return f"{plan.minutes:g} minutes of training a run"
    return "all phases" if plan.updates is None else f"{plan.updates} updates a run"


def refuse_mixed(outcomes: Sequence[Outcome]) -> None:
    """Refuse to put runs into one table whose figures do not compare.

    Raises:
        DataError: names two runs and what differs.
    """
    begun = [run for run in outcomes if run.provenance]
    for run in begun[1:]:
        ours, theirs = run.provenance.get("data") or {}, begun[0].provenance.get("data") or {}
        for part in ("train", "dev"):
            if ours.get(part) != theirs.get(part):
                raise DataError(
                    f"{_name(begun[0])} and {_name(run)} were trained with different {part} corpora; they do not "
                    "compare: delete the folder of one"
                )
    scored = [(run, run.scored) for run in outcomes if run.scored is not None]
    for run, scores in scored[1:]:
        other, first = scored[0]
        keys = [[(one.clip, one.tokens) for one in corpus.utterances] for corpus in (first, scores)]
        if first.fingerprint != scores.fingerprint or keys[0] != keys[1]:
            raise DataError(
                f"{_name(other)} and {_name(run)} were scored on different corpora or tokens ({first.corpus}, "
                f"{scores.corpus}); they do not compare"
            )


def _compared(
    first: Sequence[Outcome], runs: Sequence[Outcome], resamples: int
) -> tuple[Estimate | None, Estimate | None, float | None]:
    errors = [
        {run.seed: [one.errors for one in run.scored.utterances] for run in group if run.scored is not None}
        for group in (first, runs)
    ]
    scored = next((run.scored for run in runs if run.scored is not None), None)
    if scored is None:
        return None, None, None
    words = [one.tokens for one in scored.utterances]
    wer = compare_over_seeds([list(errors[1].values())], words, resamples=resamples).error_rates[0]
    common = [seed for seed in errors[0] if seed in errors[1]]
    if runs is first or not common or not _recognises((*first, *runs)):
        return wer, None, None
    found = compare_over_seeds([[one[seed] for seed in common] for one in errors], words, resamples=resamples)
    return wer, found.differences[1], found.better[1]


def _recognises(runs: Sequence[Outcome]) -> bool:
    """Whether any of these runs has a best epoch: of nets that ignore their input, none is better than another."""
    return any(run.course is not None and run.course.best_epoch is not None for run in runs)


def _notes(plan: Plan, outcomes: Sequence[Outcome]) -> list[str]:
    notes = []
    begun = {run.variant for run in outcomes if run.status != "not run"}
    missing = [name for name in plan.variants if name not in begun]
    if missing:
        notes.append(f"not trained yet: {', '.join(missing)}")
    short = [_name(run) for run in outcomes if run.variant in begun and run.status in ("not run", "unfinished")]
    if short:
        notes.append(f"not trained to the end yet: {', '.join(short)}")
    notes += [f"{_name(run)} failed: {run.reason}" for run in outcomes if run.status == "failed"]
    without = [_name(run) for run in outcomes if run.status == "ended" and run.course is None]
    if without:
        notes.append(f"the budget ended before the first epoch, give more minutes: {', '.join(without)}")
    notes += [f"{_name(run)} {run.off_budget}" for run in outcomes if run.off_budget]
    scored = [(run, run.course) for run in outcomes if run.scored is not None and run.course is not None]
    collapsed = [_name(run) for run, _ in scored if run.scored and run.scored.checkpoint != "best"]
    if collapsed:
        notes.append(
            "no epoch left the unigram plateau and emitted labels, so that the last one was scored: "
            + ", ".join(collapsed)
        )
    updates = {course.updates for _, course in scored}
    if plan.minutes is None and len(updates) > 1:
        notes.append("the runs did not take equally many updates: what differs may be the budget")
    if any(run.scored and run.scored.part == "dev" for run, _ in scored):
        notes.append("errors are those on dev, on which the best epoch was chosen: too low (give data.test)")
    for key in SAME:
        values = {str(run.provenance.get(key)) for run, _ in scored}
        if len(values) > 1:
            notes.append(f"the runs differ in {key}: {', '.join(sorted(values))}")
    return notes


def cells(row: Row) -> list[str]:
    """Format a row, in the order of ``COLUMNS``; several seeds are separated by a slash."""
    courses = [run.course for run in row.runs]
    each = [_each(run) for run in row.runs]
    if row.wer is None:
        figures = ["-", " / ".join(each), "-", "-", "-", "-"]
    else:
        kinds = [row.mean(attrgetter(f"{kind}_rate")) for kind in ("substitution", "deletion", "insertion")]
        reference = row.mean(attrgetter("blank_reference"))
        figures = [
            _estimate(row.wer, "{:.2f}"),
            " / ".join(each),
            "-" if row.difference is None else _estimate(row.difference, "{:+.2f}"),
            "-" if row.better is None else f"{row.better:.3f}",
            "/".join(f"{value:.1f}" for value in kinds),
            f"{row.mean(attrgetter('blank_ratio')):.1f} ({reference:.1f})",
        ]
    known = [course for course in courses if course is not None]
    return [
        row.variant,
        *figures,
        _joined(
            f"{one.left_plateau} ({one.left_plateau_update})" if one.left_plateau else "never" for one in known
        ),
        _joined("none" if one.best_epoch is None else str(one.best_epoch) for one in known),
        _joined(str(one.updates) for one in known),
        _joined(f"{one.seconds / 60.0:.1f}" for one in known),
        _joined("failed" if run.status == "failed" else str(run.course.state) for run in row.runs if run.course),
    ]


def caption(table: Table) -> str:
    """Say what the error rates are of."""
    if not table.corpus:
        ended = any(run.status == "ended" for row in table.rows for run in row.runs)
        return "no epoch was done" if ended else "no run has ended yet"
    size = f"{table.utterances} utterances, {table.tokens} tokens"
    return f"{table.corpus}: {size}; {table.budget}; intervals are 95 %"


def as_markdown(table: Table) -> str:
    """Return the table as a page of markdown."""
    lines = [caption(table), "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(cells(row)) for row in table.begun]
    described = [f"- {row.variant}: {row.description}" for row in table.begun if row.description]
    noted = [f"- Note: {note}" for note in table.notes]
    return "\n".join([*lines, *([""] if described or noted else []), *described, *noted]) + "\n"


def as_json(table: Table) -> dict[str, Any]:
    """Return the table as values of JSON."""
    return {
        "corpus": table.corpus,
        "utterances": table.utterances,
        "tokens": table.tokens,
        "budget": table.budget,
        "notes": list(table.notes),
        "variants": [
            {
                "variant": row.variant,
                "description": row.description,
                "wer": asdict(row.wer) if row.wer else None,
                "difference": asdict(row.difference) if row.difference else None,
                "better": row.better,
                "runs": [_run(run) for run in row.runs],
            }
            for row in table.rows
        ],
    }


def write_table(table: Table, folder: Path) -> None:
    """Write the table beside the runs, as markdown and as JSON.

    Raises:
        DataError: it cannot be written.
    """
    for name, text in (
        (MARKDOWN, as_markdown(table)),
        (JSON, json.dumps(as_json(table), indent=2, ensure_ascii=False) + "\n"),
    ):
        with atomic(folder / name, DataError) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _run(run: Outcome) -> Mapping[str, Any]:
    figures: dict[str, Any] = {"seed": run.seed, "status": run.status, "reason": run.reason}
    if run.course is not None:
        figures |= asdict(run.course)
    if run.scored is not None:
        figures |= {
            "checkpoint": run.scored.checkpoint,
            "wer": run.scored.wer,
            "substitution_rate": run.scored.substitution_rate,
            "deletion_rate": run.scored.deletion_rate,
            "insertion_rate": run.scored.insertion_rate,
            "blank_ratio": run.scored.blank_ratio,
            "blank_reference": run.scored.blank_reference,
        }
    return figures


def _name(run: Outcome) -> str:
    return f"{run.variant} (seed {run.seed})"


def _each(run: Outcome) -> str:
    if run.scored is not None:
        return f"{run.scored.wer:.2f}"
    return "no epoch" if run.status == "ended" else run.status


def _estimate(one: Estimate, form: str) -> str:
    return f"{form.format(one.value)} [{form.format(one.low)}, {form.format(one.high)}]"


def _joined(parts: Any) -> str:
    return " / ".join(parts) or "-"


def _line(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"
