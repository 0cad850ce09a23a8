"""From what a user asks of a beam search to the search: guides over the alphabet of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctckit.errors import ConfigError
from ctckit.lm import LanguageModel, hotwords, read_lexicon
from ctckit.search import Search, Tuned

SEPARATOR = " "
"""Between the words of a corpus of characters, a label as the others are."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A beam search as somebody asks for it; what is None is as it was tuned, or else as ``Search`` has it.

    Attributes:
        beam: prefixes that are kept at each frame.
        classes: labels that may extend a prefix in a frame.
        best: hypotheses for each clip.
        lm: a language model, or the file of one.
        weight: of its log-probabilities.
        bonus: for each token, or each word where words are spelled, nats.
        shift: of the blank, on top of what the run applies, nats.
        lexicon: file of the words that may be written; by default all that the language model knows.
        hotwords: phrases, tokens with spaces between, and the boost of each of their tokens, nats.
    """

    beam: int | None = None
    classes: int | None = None
    best: int | None = None
    lm: LanguageModel | str | Path | None = None
    weight: float | None = None
    bonus: float | None = None
    shift: float | None = None
    lexicon: str | Path | None = None
    hotwords: Mapping[str, float] = field(default_factory=dict)

    @property
    def anything(self) -> bool:
        """Whether a beam search is asked for at all."""
        return self != Wanted()


@dataclass(frozen=True, slots=True)
class Guided:
    """A search, and what the user should know of it.

    Attributes:
        search: ready to decode.
        fingerprint: of the language model; None without one.
        notes: what was assumed or left out, a sentence each.
    """

    search: Search
    fingerprint: str | None
    notes: tuple[str, ...]


def guide(wanted: Wanted, tokens: tuple[str, ...], unit: str, tuned: Tuned | None) -> Guided:
    """Build the search that is asked for.

    A language model all of whose words are labels, or any that belongs to a run over words, gives labels their
    probabilities; over characters any other one gives them to the words that characters spell.

    Args:
        wanted: what is asked for.
        tokens: of the run's alphabet, blank first.
        unit: what a token of the run is: word or character.
        tuned: what ``ctckit sweep --beam`` has stored with the model.

    Raises:
        ConfigError: a lexicon without a language model, or in a run over words; hotwords that cannot be written.
        DataError: a file cannot be used.
    """
    notes: list[str] = []
    model = LanguageModel.read(Path(wanted.lm)) if isinstance(wanted.lm, str | Path) else wanted.lm
    language = lexicon = None
    if model is not None and unit == "character" and not model.words <= set(tokens):
        if SEPARATOR not in tokens:
            raise ConfigError(
                "the alphabet has no space, so that its characters spell no words; give an LM of characters"
            )
        words = None if wanted.lexicon is None else read_lexicon(Path(wanted.lexicon))
        lexicon, language, unspelled = model.spell(tokens, tokens.index(SEPARATOR), words)
        if unspelled:
            notes.append(f"{_some(unspelled)} of the lexicon cannot be spelled with the run's characters")
    elif wanted.lexicon is not None:
        why = "needs a language model" if model is None else "is for runs over characters, whose words it spells"
        raise ConfigError(f"--lexicon {why}")
    elif model is not None:
        language, unknown = model.bind(tokens)
        if unknown:
            notes.append(f"{_some(unknown)} of the alphabet are unknown to the language model")
    fingerprint = None if model is None else model.fingerprint
    if tuned is not None and tuned.language != fingerprint:
        if model is not None and wanted.weight is None:
            notes.append(
                "the stored weights were tuned with another language model, or without one; they are not used"
            )
        tuned = None
    base = Search() if tuned is None else tuned.search()
    search = Search(
        width=base.width if wanted.beam is None else wanted.beam,
        classes=base.classes if wanted.classes is None else wanted.classes,
        best=base.best if wanted.best is None else wanted.best,
        weight=base.weight if wanted.weight is None else wanted.weight,
        bonus=base.bonus if wanted.bonus is None else wanted.bonus,
        shift=base.shift if wanted.shift is None else wanted.shift,
        language=language,
        lexicon=lexicon,
        hotwords=hotwords(_phrases(wanted.hotwords, unit), tokens) if wanted.hotwords else None,
    )
    return Guided(search, fingerprint, tuple(notes))


def _phrases(boosts: Mapping[str, float], unit: str) -> dict[tuple[str, ...], float]:
    return {tuple(text if unit == "character" else text.split()): boost for text, boost in boosts.items()}


def _some(things: Sequence[str]) -> str:
    shown = ", ".join(map(repr, things[:5]))
    return f"{len(things)} ({shown}{', ...' if len(things) > 5 else ''})"
