"""Lines that trainings print: ESPnet, NeMo, Lightning, SpeechBrain, fairseq, Keras, Kaldi's scores, plain ones.

A line tells the epoch, or it belongs to the one told last; what it says is pairs of a name and a number.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, Final

from ctckit.record.foreign.columns import DEV, TEST, TRAIN, figure_of, side_of

NUMBER: Final = r"[-+]?(?:\d+,\d+|\d+\.?\d*(?:e[-+]?\d+)?|\.\d+|nan|inf(?:inity)?)(?![\w.]*[A-Za-z_\d]|,\d)"
PAIR: Final = re.compile(
    rf"(?<![\w/.%-])(?P<name>[A-Za-z_][\w/.%-]{{0,60}}(?:[ \t]{{1,3}}[A-Za-z_(][\w/.%()-]{{0,40}}){{0,4}})"
    rf"[ \t'\"]*[:=][ \t'\"]*(?P<value>{NUMBER})(?P<percent>\s?%)?",
    re.IGNORECASE,
)
"""A name of up to five words, a colon or equals sign, a number."""

FIELD: Final = re.compile(rf"(?P<name>[A-Za-z_][\w/.-]*)\s+(?P<value>{NUMBER})(?P<percent>\s?%)?", re.IGNORECASE)
"""What stands between two bars, as fairseq writes it."""

EPOCH: Final = re.compile(
    r"(?<![A-Za-z])(?:(?P<before>\d+)epoch\b(?! started)"
    r"|epoch\W{0,4}(?P<after>\d+(?:\.\d+)?)(?![\d.]*\s*(?:epochs?\b|%)))",
    re.IGNORECASE,
)
REACHED: Final = re.compile(rf"(?<![\w/])'?(?P<name>[\w/]+)'? reached (?P<value>{NUMBER})", re.IGNORECASE)
NOT_REACHED: Final = re.compile(r"(?<![\w/])'?[\w/]+'? was not in top \d+")
GLOBAL_STEP: Final = re.compile(r"global step (\d+)", re.IGNORECASE)
DEV_SCORE: Final = re.compile(r"\b(?P<name>dev|val|valid|test)\s+(?P<value>\d+(?:\.\d+)?)\s?%", re.IGNORECASE)
"""How VAC_CSLR and its descendants print word errors: ``Epoch 3, dev 45.20%``."""

KALDI: Final = re.compile(
    r"(?:\[(?P<set>[\w./-]+)\]\s*)?%(?P<rate>[WCTP]ER)\s+(?P<value>\d+(?:\.\d+)?)\s*%?\s*\[\s*\d+\s*/\s*(?P<total>\d+)\s*,"
    r"\s*(?P<ins>\d+) ins,\s*(?P<del>\d+) del,\s*(?P<sub>\d+) sub\s*\]"
)
"""A score as compute-wer, icefall and lhotse print it."""

STEP: Final = re.compile(r"\b(?:batch|iter|iteration|step)\b|\d+batch\b|\]\s*\[\s*\d+/\d+\s*\]", re.IGNORECASE)
"""Lines about some steps of an epoch; where another line sums the epoch up, that one counts."""

PROGRESS: Final = re.compile(r"(\d+)%\s?\|")
SECTION: Final = re.compile(r"\[\s*(\w+)\s*\]|(?<![\w/.-])([A-Za-z]+)\s*:(?=\s*[A-Za-z])")
HEADING: Final = re.compile(
    r"[\W_]*(?P<side>[A-Za-z]+)(?:[ _](?:results?|set|metrics|phase|epoch|loop))?[\W_]*", re.IGNORECASE
)
SOURCE: Final = re.compile(r"\[NeMo[^\]]*\]|\(\w+:\d+\)|(?<![\w/.])[\w/.]+\.py:\d+")
"""Where in a program a line comes from; no figure, although it has the form of one."""

PLAIN: Final = re.compile(
    rf"(?<![\w/])(?P<name>(?:[A-Za-z_]+ )?[A-Za-z_]+(?:/[A-Za-z_]+)?)\s+(?P<value>{NUMBER})(?P<percent>\s?%)?",
    re.IGNORECASE,
)
"""A name of one or two words and a number, with nothing between them."""

OBJECT: Final = re.compile(r"\{[^{}]*\}")

STRIPPED: Final = frozenset(
    {
        "info",
        "debug",
        "warning",
        "mean",
        "average",
        "avg",
        "results",
        "result",
        "summary",
        "the",
        "on",
        "epoch",
        "done",
    }
)
"""Words at the start of a name that are none of it. Others stay: the best or a test's WER is another figure."""

LONGEST: Final = 20_000
"""Characters of a line beyond which it is no line of figures."""


def log_rows(text: str, notes: list[str]) -> list[dict[str, Any]]:
    """Turn lines of a log into rows, one a line that says something.

    Args:
        text: of the log.
        notes: takes what was left out.
    """
    reader = _Reader()
    for line in re.split(r"[\n\r]", text):
        if len(line) <= LONGEST:
            reader.read(line)
    if reader.unsaid:
        notes.append(
            f"{reader.unsaid} lines say that a score was not among the best, but not the score: epochs are missing."
        )
    if reader.further:
        notes.append(f"{reader.further} further scores of an epoch left out: the first of an epoch counts.")
    if reader.running:
        notes.append(f"{reader.running} states of progress bars before the end of an epoch left out.")
    return list(reader.rows())


class _Reader:
    """Follows a log line by line."""

    def __init__(self) -> None:
        self.epoch: float | int | None = None
        self.side = ""
        self.unsaid = 0
        self.running = 0
        self.further = 0
        self.scored: set[tuple[Any, str]] = set()
        self.found: list[tuple[bool, dict[str, Any]]] = []
        self.bars: dict[Any, int] = {}

    def read(self, line: str) -> None:
        """Take in the next line."""
        line = SOURCE.sub(" ", line)
        number = EPOCH.search(line)
        if number is not None:
            told = number["before"] or number["after"]
            self.epoch, self.side = (float(told) if "." in told else int(told)), ""
        heading = HEADING.fullmatch(line)
        if heading is not None and number is None:
            side = heading["side"].lower()
            self.side = side if side in DEV | TRAIN | TEST else self.side
            return
        self.unsaid += NOT_REACHED.search(line) is not None
        progress = PROGRESS.findall(line)
        if progress and progress[-1] != "100":
            self.running += 1
            return
        pairs = _pairs(line, number, self.side)
        if KALDI.search(line) is not None:
            scores = {(self.epoch, name) for name in pairs if name.endswith("WER")}
            if self.epoch is not None and scores & self.scored:
                self.further += 1
                return
            self.scored |= scores
        if not pairs:
            return
        row = {**({} if self.epoch is None else {"epoch": self.epoch}), **pairs}
        if progress and self.epoch in self.bars:
            self.found[self.bars[self.epoch]] = True, row
            return
        if progress and self.epoch is not None:
            self.bars[self.epoch] = len(self.found)
        self.found.append((bool(progress) or STEP.search(line) is not None, row))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows in the order of the log; losses of steps only where no line sums up their epoch."""
        summed = {(row.get("epoch"), figure_of(name)) for by_step, row in self.found if not by_step for name in row}
        for by_step, row in self.found:
            number = row.get("epoch")
            yield {
                name: value
                for name, value in row.items()
                if name == "epoch" or not by_step or number is None or (number, figure_of(name)) not in summed
            }


def _pairs(line: str, number: re.Match[str] | None, side: str) -> dict[str, Any]:
    """All that a line says, under the names that it uses, with the side in front where a bracket says it."""
    score = KALDI.search(line)
    if score is not None:
        return _score(score)
    pairs: dict[str, Any] = {}
    step = GLOBAL_STEP.search(line)
    if step is not None:
        pairs["global_step"] = int(step[1])
    reached = REACHED.search(line)
    if reached is not None:
        return {**pairs, reached["name"]: reached["value"]}
    objects = [found for text in OBJECT.findall(line) if (found := _object(text))]
    for found in objects:
        pairs |= found
    if objects:
        return pairs
    fields = _fields(line, side)
    if fields:
        return {**pairs, **fields}
    for start, end, part in _sections(line, side):
        for match in PAIR.finditer(line, start, end):
            if number is not None and match.start("name") <= number.start() < match.start("value"):
                continue  # "Epoch: 3" is no figure
            name = _stripped(match["name"])
            if name:
                pairs.setdefault(_sided(name, part), match["value"] + (match["percent"] or "").strip())
    for match in () if pairs or number is None else PLAIN.finditer(line):
        name = _stripped(match["name"])
        if figure_of(name) not in (None, "epoch", "update"):
            pairs.setdefault(_sided(name, side), match["value"] + (match["percent"] or "").strip())
    plain = DEV_SCORE.search(line)
    if plain is not None and number is not None and not any(figure_of(name) == "val_wer" for name in pairs):
        pairs[f"{plain['name'].lower()}_wer"] = f"{plain['value']}%"
    return pairs


def _score(score: re.Match[str]) -> dict[str, Any]:
    total = int(score["total"]) or 1
    front = f"{score['set']} " if score["set"] else ""
    return {
        f"{front}{score['rate']}": f"{score['value']}%",
        **(
            {}
            if front or score["rate"] != "WER"
            else {f"{name} rate": f"{100.0 * int(score[name]) / total:.6g}%" for name in ("del", "ins", "sub")}
        ),
    }


def _object(text: str) -> dict[str, Any]:
    """What an object in JSON or a dictionary of Python says, nothing where it is neither."""
    try:
        found = ast.literal_eval(re.sub(r"\bNaN\b|\bnan\b", "'nan'", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _sections(line: str, side: str) -> Iterator[tuple[int, int, str]]:
    """Parts of a line, each with the side that a bracket before it names."""
    start, part = 0, side
    for match in SECTION.finditer(line):
        name = (match[1] or match[2]).lower()
        if name in DEV | TRAIN | TEST:
            yield start, match.start(), part
            start, part = match.end(), name
        elif part and match[1] and not name[:1].isdigit():
            yield start, match.start(), part
            start, part = match.end(), "other" if start else side
    yield start, len(line), part


def _fields(line: str, side: str) -> dict[str, Any]:
    """Fields between bars, if one names the side of those after it or none has a colon; else nothing."""
    fields = [field.strip() for field in line.split("|")]
    heads = [side_of([field.lower().split(" on ")[0]]) for field in fields]
    if len(fields) < 3 or not (any(heads) or any(FIELD.fullmatch(field) for field in fields)):
        return {}
    pairs: dict[str, Any] = {}
    for field, head in zip(fields, heads, strict=True):
        side = head or side
        match = FIELD.fullmatch(field) or PAIR.fullmatch(field)
        if match is not None and "epoch" not in match["name"].lower():
            pairs[_sided(match["name"], side)] = match["value"] + (match["percent"] or "").strip()
    return pairs


def _sided(name: str, side: str) -> str:
    return name if not side or figure_of(name) in ("epoch", "update", "learning_rate") else f"{side}_{name}"


def _stripped(name: str) -> str:
    words = name.split()
    while len(words) > 1 and words[0].lower().strip("-") in STRIPPED:
        words = words[1:]
    return " ".join(words)
