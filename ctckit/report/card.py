"""A model card in Markdown, from a run's history: what the model is, what it reached, how, and where it is weak.

The form is that of Mitchell et al. 2019 ("Model Cards for Model Reporting"), the head that of the Hugging Face Hub.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from ctckit.doctor.verdict import Verdict
from ctckit.errors import DataError
from ctckit.record.epoch import Epoch
from ctckit.record.figures import FIGURES
from ctckit.record.history import Recorded
from ctckit.report.html import duration, provenance

SCORED = {
    "val_wer": "word errors",
    "deletion_rate": "deletions",
    "insertion_rate": "insertions",
    "sentence_error_rate": "clips with an error",
    "val_loss": "loss",
    "blank_ratio": "blank frames",
    "blank_reference": "1 - U/T",
    "label_coverage": "labels of the references that are emitted",
    "utterances": "clips",
}
"""Figures of a corpus, as far as they were measured."""


def card(run: Recorded, verdict: Verdict) -> str:
    """Write the card.

    Raises:
        DataError: no epoch has been finished, or another program trained the model.
    """
    if run.foreign or not run.config:
        raise DataError(f"{run.name}: another program trained it, so that nothing is known of model and settings")
    if not run.epochs:
        raise DataError(f"{run.name}: no epoch has been finished, so that there is nothing to say of the model")
    sections = (_head(run), _model(run), _results(run), _judgement(run, verdict), _training(run), _use(run))
    return _without_folders(run, "\n".join(line for section in sections for line in section))


def _head(run: Recorded) -> Iterator[str]:
    yield from ("---", "library_name: ctckit", "tags:", "- ctc", "- sequence-recognition", "model-index:")
    yield from (f"- name: {json.dumps(run.name, ensure_ascii=False)}", "  results:")
    corpora = [(test.corpus, test.scores) for test in run.tests]
    best = run.best
    if best is not None:
        corpora.insert(0, (str(_data(run).get("dev")), best))
    for corpus, scores in corpora:
        if scores.val_wer is None:
            continue
        name = json.dumps(PurePath(corpus).name, ensure_ascii=False)
        yield from (
            "  - task:",
            "      type: ctc-recognition",
            "    dataset:",
            f"      name: {name}",
            f"      type: {name}",
        )
        yield from ("    metrics:", "    - type: wer", f"      value: {scores.val_wer:.2f}")
    yield from ("---", "", f"# {run.name}", "")


def _model(run: Recorded) -> Iterator[str]:
    model = run.config.get("model", {})
    own = {key: value for key, value in model.items() if key != "name"}
    size, classes = run.provenance.get("parameters"), run.provenance.get("classes")
    yield f"A `{model.get('name')}` that recognises label sequences by CTC (Graves et al. 2006)"
    yield f"with {_count(size)} parameters and {_count(classes)} classes, blank included; trained with ctckit"
    yield f"{run.provenance.get('ctckit', '')}, recipe `{run.config.get('recipe')}`."
    yield ""
    if own:
        yield f"Its settings: {', '.join(f'`{key} = {json.dumps(value)}`' for key, value in own.items())}."
        yield ""
    data = _data(run)
    deltas = data.get("deltas") or 0
    rate = data.get("frame_rate")
    yield (
        f"It takes features as the training corpus has them; normalisation (`{data.get('normalize')}`)"
        + (f" and {deltas} orders of deltas are" if deltas else " is")
        + " part of it."
        + (f" Frames come at {rate:g} a second." if rate else " The frame rate was not recorded.")
    )
    yield ""


def _results(run: Recorded) -> Iterator[str]:
    best = run.best
    yield from ("## Results", "")
    columns: list[tuple[str, Epoch]] = []
    if best is not None:
        columns.append((f"dev: {PurePath(str(_data(run).get('dev'))).name} (chosen on it)", best))
    columns += [(f"test: {PurePath(test.corpus).name}", test.scores) for test in run.tests]
    if not columns:
        yield from ("No epoch left the unigram plateau with labels emitted, so that there is no model to use.", "")
        return
    yield f"| | {' | '.join(title for title, _ in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, title in SCORED.items():
        figure = FIGURES[name]
        if any(epoch.value(name) is not None for _, epoch in columns):
            cells = (figure.text(epoch.value(name), unit=True) for _, epoch in columns)
            yield f"| {title} | {' | '.join(cells)} |"
    yield ""
    seed = run.provenance.get("seed")
    yield f"One run, with seed {seed}: another seed gives other figures (`ctckit ablate` says how much)."
    yield ""
    for test in run.tests:
        if test.unknown:
            name = PurePath(test.corpus).name
            yield f"{len(test.unknown)} tokens of {name} never occur in training; each is an error."
            yield ""


def _judgement(run: Recorded, verdict: Verdict) -> Iterator[str]:
    yield from ("## What ctckit's doctor says of the run", "", verdict.headline, "")
    for sentence in verdict.evidence:
        yield f"- {sentence}"
    yield ""
    yield from ("## Limits", "")
    found = [f"- {finding.message}" for finding in verdict.warnings]
    found += [f"- {one.change}: {one.why}" for one in verdict.advice]
    if run.dropped:
        found.append(f"- {len(run.dropped)} training clips were left out, for they are too short for their labels.")
    yield from found or ["- Nothing was found beyond what the figures say."]
    yield ""
    yield "It knows the labels of its training corpus alone, and was scored on the corpora above and on no other"
    yield "speakers, cameras or microphones."
    yield ""


def _training(run: Recorded) -> Iterator[str]:
    yield from ("## Training", "")
    seconds = [epoch.seconds for epoch in run.epochs if epoch.seconds is not None]
    spent = f", {duration(sum(seconds))}" if seconds else ""
    yield f"{len(run.epochs)} epochs{spent}; batches of {run.config.get('batch_size')} clips."
    yield ""
    yield from ("| phase | epochs | schedule | blank penalty | further losses |", "|---|---|---|---|---|")
    for span in run.phases:
        phase = run.config.get("phases", {}).get(span.name, {})
        terms = ", ".join(_component(term) for term in phase.get("regularizers", ()))
        yield (
            f"| {span.name} | {len(span.epochs)} | {_component(phase.get('schedule'))} | "
            f"{_component(phase.get('penalty'))} | {terms or 'none'} |"
        )
    yield ""
    yield from ("| | |", "|---|---|")
    yield from (f"| {name} | {value} |" for name, value in provenance(run))
    yield ""


def _use(run: Recorded) -> Iterator[str]:
    yield from ("## Use", "", "```python", "import ctckit", "")
    yield f'recogniser = ctckit.load("{run.name}")  # the folder of the run, or its safetensors export'
    yield "for hypothesis in recogniser([features]):  # arrays [frames, width]"
    yield from ("    print(hypothesis.tokens, hypothesis.seconds, hypothesis.confidences)", "```", "")


def _without_folders(run: Recorded, text: str) -> str:
    """Name files by their names alone; where they lie is nobody's affair."""
    known = [test.corpus for test in run.tests] + [_data(run).get(part) for part in ("train", "dev", "test")]
    known += [run.config.get("init_from"), run.provenance.get("init_from", {}).get("source")]
    known += [plugin.get(key) for plugin in run.provenance.get("plugins", ()) for key in ("name", "target")]
    for path in sorted({str(path) for path in known if path and "/" in str(path)}, key=len, reverse=True):
        text = text.replace(path, PurePath(path).name)
    return text


def _data(run: Recorded) -> Mapping[str, Any]:
    data: Mapping[str, Any] = run.config.get("data", {})
    return data


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else "an unknown number of"


def _component(component: Any) -> str:
    if not isinstance(component, Mapping):
        return "none" if component is None else f"`{component}`"
    own = ", ".join(f"{key} {json.dumps(value)}" for key, value in component.items() if key != "name")
    return f"`{component.get('name')}`" + (f" ({own})" if own else "")
