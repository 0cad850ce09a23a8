"""Errors of each utterance under a run's best checkpoint, kept beside it so that a table costs no decoding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ctckit.config import DataConfig, from_json
from ctckit.engine.folder import checkpoint_in
from ctckit.errors import ConfigError, DataError
from ctckit.files import atomic

SCORES = "test.jsonl"


@dataclass(frozen=True, slots=True)
class Utterance:
    """Edits of one utterance, and the tokens of its reference."""

    clip: str
    substitutions: int
    deletions: int
    insertions: int
    tokens: int

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True, slots=True)
class Scored:
    """A corpus under one checkpoint.

    Attributes:
        corpus: its path, as the run was given it.
        part: ``test``, or ``dev`` where the run names no test corpus.
        fingerprint: of the corpus.
        checkpoint: ``best``, or ``last`` where no epoch left the plateau and emitted labels, so that none was kept.
        written: modification time of the checkpoint, ns; another one makes the scores stale.
        blank_ratio: blank frames, per cent.
        blank_reference: ``1 - U/T``, per cent.
        utterances: in the order of the corpus.
    """

    corpus: str
    part: str
    fingerprint: str
    checkpoint: str
    written: int
    blank_ratio: float
    blank_reference: float
    utterances: tuple[Utterance, ...]

    @property
    def wer(self) -> float:
        """Errors per reference token, per cent."""
        return self._rate(one.errors for one in self.utterances)

    @property
    def substitution_rate(self) -> float:
        """Substitutions per reference token, per cent."""
        return self._rate(one.substitutions for one in self.utterances)

    @property
    def deletion_rate(self) -> float:
        """Deletions per reference token, per cent."""
        return self._rate(one.deletions for one in self.utterances)

    @property
    def insertion_rate(self) -> float:
        """Insertions per reference token, per cent."""
        return self._rate(one.insertions for one in self.utterances)

    def _rate(self, counts: Iterable[int]) -> float:
        return 100.0 * sum(counts) / sum(one.tokens for one in self.utterances)


def scores_of(folder: Path, config: Mapping[str, Any], plugins: Sequence[str], device: str) -> Scored:
    """Return the scores of a run that has ended; decode its test (or dev) corpus where they are not kept yet.

    Args:
        folder: of the run.
        config: of the run, as its history has it.
        plugins: that the plan names.
        device: to decode on, as torch names it.

    Raises:
        ConfigError: the run names no corpus to score.
        CheckpointError, DataError: run or corpus cannot be used.
    """
    checkpoint = next((path for name in ("best", "last") if (path := checkpoint_in(folder, name)).is_file()), None)
    if checkpoint is None:
        raise DataError(f"{folder}: has no checkpoint left to score")
    written = checkpoint.stat().st_mtime_ns
    kept = _read(folder / SCORES)
    data = from_json(config).data
    part = "dev" if data.test is None else "test"
    corpus = data.dev if data.test is None else data.test
    if corpus is None:
        raise ConfigError(f"{folder}: names neither a test nor a dev corpus to score")
    fingerprint = _fingerprint(corpus, data) if kept is None or corpus.exists() else kept.fingerprint
    key = (checkpoint.stem, written, fingerprint)
    if kept is not None and (kept.checkpoint, kept.written, kept.fingerprint) == key:
        return kept
    scored = _decode(checkpoint, corpus, part, fingerprint, plugins, device)
    _write(folder / SCORES, scored)
    return scored


def _fingerprint(corpus: Path, data: DataConfig) -> str:
    from ctckit.data import open_corpus

    opened = open_corpus(corpus, unit=data.unit, features_key=data.features_key, transcript_key=data.transcript_key)
    try:
        return opened.fingerprint()
    finally:
        opened.close()


def _decode(
    checkpoint: Path, corpus: Path, part: str, fingerprint: str, plugins: Sequence[str], device: str
) -> Scored:
    import torch

    from ctckit.engine.evaluate import evaluate
    from ctckit.trained import load_trained

    there = torch.device(device)
    trained = load_trained(checkpoint, there, plugins)
    judged, _ = trained.judged(corpus, there)
    found = evaluate(trained.model, judged, trained.tokens, shift=trained.shift, device=there)
    edits = {one.clip_id: one for one in found.hypotheses}
    return Scored(
        corpus=str(corpus),
        part=part,
        fingerprint=fingerprint,
        checkpoint=checkpoint.stem,
        written=checkpoint.stat().st_mtime_ns,
        blank_ratio=found.scores.blank_ratio,
        blank_reference=found.scores.blank_reference,
        utterances=tuple(
            Utterance(clip, one.substitutions, one.deletions, one.insertions, len(tokens))
            for clip, tokens in judged.references.items()
            for one in (edits[clip],)
        ),
    )


def _read(path: Path) -> Scored | None:
    """Return what was kept; None where there is nothing, or nothing that this version wrote."""
    try:
        # not splitlines(): a clip id may hold one of the other line separators of Unicode
        first, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").strip("\n").split("\n"))
        return Scored(**first, utterances=tuple(Utterance(**row) for row in rows))
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, scored: Scored) -> None:
    first = {one.name: getattr(scored, one.name) for one in fields(scored) if one.name != "utterances"}
    lines = [json.dumps(row, ensure_ascii=False) for row in (first, *map(asdict, scored.utterances))]
    with atomic(path, DataError) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
