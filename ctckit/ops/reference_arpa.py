"""The ARPA reader in plain Python: what csrc/lm/arpa.cpp does, where it cannot be compiled, and as its oracle."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

NATS_OF_LOG10 = math.log(10.0)
LOG_ZERO = -100.0
"""What stands for a probability of zero, as in KenLM: automata hold finite weights."""

MOST_ORDERS = 16

Ngram = tuple[int, ...]


def read_arpa(text: Tensor) -> tuple[Tensor, ...]:
    """Read the bytes of an ARPA file, uint8; for what comes back see ``ctckit.ops.read_arpa``.

    Raises:
        ValueError: the text is no model; names the line.
    """
    content = bytes(text.numpy())
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise ValueError(f"line {line}: is no UTF-8") from error
    return _automaton(*_Reader(content).read())


class _Reader:
    """Line by line, with the number of the line for messages."""

    def __init__(self, text: bytes) -> None:
        self.lines: Iterator[bytes] = iter(text.removesuffix(b"\n").split(b"\n") if text else [])
        self.number = 0
        self.words: dict[bytes, int] = {}
        self.weights: dict[Ngram, float] = {}
        self.backoffs: dict[Ngram, float] = {}

    def next(self) -> bytes | None:
        line = next(self.lines, None)
        if line is None:
            return None
        self.number += 1
        return line.strip(b" \t\r")

    def refuse(self, what: str) -> ValueError:
        return ValueError(f"line {self.number}: {what}")

    def read(self) -> tuple[list[int], dict[bytes, int], dict[Ngram, float], dict[Ngram, float]]:
        while (line := self.next()) != b"\\data\\":
            if line is None:
                raise self.refuse("no \\data\\ anywhere: this is no ARPA file")
        counts: list[int] = []
        while (line := self.next()) is not None:
            if not line:
                continue
            if not line.startswith(b"ngram "):
                break
            of, equals, announced = line[6:].partition(b"=")
            if not (equals and _whole(of) and _whole(announced)):
                raise self.refuse(f"expected 'ngram ORDER=COUNT', found {_quoted(line)}")
            if int(of) != len(counts) + 1:
                raise self.refuse(f"orders are listed as 1, 2, ...; found {int(of)}")
            if int(of) > MOST_ORDERS:
                raise self.refuse(f"orders above {MOST_ORDERS} are not read")
            counts.append(int(announced))
        if not counts:
            raise self.refuse("no 'ngram 1=COUNT' after \\data\\")
        for order, count in enumerate(counts, 1):
            line = self.section(line, order, count, order == len(counts))
        if line != b"\\end\\":
            found = (
                "the file ends before \\end\\: it is cut off"
                if not line
                else f"expected \\end\\, found {_quoted(line)}"
            )
            raise self.refuse(found)
        while (line := self.next()) is not None:
            if line:
                raise self.refuse(f"there is more after \\end\\: {_quoted(line)}")
        return counts, self.words, self.weights, self.backoffs

    def section(self, line: bytes | None, order: int, count: int, highest: bool) -> bytes:
        while line == b"":
            line = self.next()
        title = f"\\{order}-grams:".encode()
        if line != title:
            raise self.refuse(f"expected {title.decode()}, found {_quoted(line) if line else 'the end'}")
        seen = 0
        while (line := self.next()) is not None and not line.startswith(b"\\"):
            if line:
                seen += 1
                self.ngram(line, order, highest)
        if seen != count:
            raise self.refuse(
                f"\\data\\ announces {count} {order}-grams, there are {seen}; the file is cut off or damaged"
            )
        return line or b""

    def ngram(self, line: bytes, order: int, highest: bool) -> None:
        first, *rest = line.replace(b"\t", b" ").replace(b"\r", b" ").split(b" ")
        rest = [part for part in rest if part]
        weight = _number(first)
        if weight is None:
            raise self.refuse(f"{_quoted(first)} is no log probability")
        if weight > 1e-6:
            raise self.refuse(f"{_quoted(first)} is a log probability above 0")
        if len(rest) < order:
            raise self.refuse(f"expected {order} words, found {len(rest)} in {_quoted(line)}")
        numbers = []
        for word in rest[:order]:
            if word not in self.words:
                if order > 1:
                    raise self.refuse(f"{_quoted(word)} is not among the 1-grams")
                self.words[word] = len(self.words)
            numbers.append(self.words[word])
        ngram = tuple(numbers)
        if ngram in self.weights:
            raise self.refuse(f"is listed twice: {_quoted(line)}")
        backoff = _number(rest[order]) if len(rest) > order else 0.0
        if backoff is None:
            raise self.refuse(f"{_quoted(rest[order])} is no back-off weight")
        if len(rest) > order + 1:
            raise self.refuse(f"more than {order} words in {_quoted(line)}")
        if backoff == math.inf:
            raise self.refuse(f"{_quoted(rest[order])} is no back-off weight")
        if highest and backoff != 0.0:
            raise self.refuse(
                f"a back-off weight at the highest order, or more than {order} words in {_quoted(line)}"
            )
        self.weights[ngram] = NATS_OF_LOG10 * max(weight, LOG_ZERO)
        self.backoffs[ngram] = NATS_OF_LOG10 * max(backoff, LOG_ZERO)


def _whole(text: bytes) -> bool:
    return text.strip(b" \t\r").isdigit() and len(text.strip(b" \t\r")) <= 12


def _number(text: bytes) -> float | None:
    body = text.lstrip(b"+-")
    if len(text) - len(body) > 1 or not (
        body[:1].isdigit() or body[:1] == b"." or body in (b"inf", b"Inf", b"INF")
    ):
        return None
    try:
        return float(text) if b"_" not in text else None
    except ValueError:
        return None


def _quoted(text: bytes) -> str:
    shown = text[:60].decode("utf-8", "ignore")
    return f"'{shown}...'" if len(text) > 60 else f"'{shown}'"


def _automaton(
    counts: list[int], words: dict[bytes, int], weights: dict[Ngram, float], backoffs: dict[Ngram, float]
) -> tuple[Tensor, ...]:
    begin, end = words.get(b"<s>"), words.get(b"</s>")

    def weight_of(history: Ngram, word: int) -> float:
        skipped = 0.0
        while True:
            if (found := weights.get((*history, word))) is not None:
                return skipped + found
            if not history:
                return skipped + NATS_OF_LOG10 * LOG_ZERO
            skipped += backoffs.get(history, 0.0)
            history = history[1:]

    # what contexts the file leaves out, with the probability that the model gives them
    for ngram in sorted(weights, key=len):
        for length in range(2, len(ngram)):
            if ngram[:length] not in weights:
                weights[ngram[:length]] = weight_of(ngram[: length - 1], ngram[length - 1])
    followed = {ngram[:-1] for ngram in weights}
    histories = sorted(
        (ngram for ngram in weights if ngram[-1] != end and (ngram in followed or backoffs.get(ngram, 0.0))),
        key=len,
    )
    states = {history: number for number, history in enumerate([(), *histories])}

    def state_of(history: Ngram) -> int:
        while history not in states:
            history = history[1:]
        return states[history]

    arcs: list[list[tuple[int, int, float]]] = [[] for _ in states]
    ends: dict[int, float] = {}
    for ngram, weight in weights.items():
        word = ngram[-1]
        if word == begin or (state := states.get(ngram[:-1])) is None:
            continue
        if word == end:
            ends[state] = weight
        else:
            arcs[state].append((word, state_of(ngram), weight))
    failures, costs, finals = [-1], [0.0], [0.0]
    if end is not None:
        finals = [ends.get(0, NATS_OF_LOG10 * LOG_ZERO)]
    for history in histories:
        shorter, cost = state_of(history[1:]), backoffs.get(history, 0.0)
        failures.append(shorter)
        costs.append(cost)
        finals.append(0.0 if end is None else ends.get(len(finals), cost + finals[shorter]))
    flat = [arc for state in arcs for arc in sorted(state)]
    starts = torch.tensor([0, *(len(state) for state in arcs)]).cumsum(0)
    initial = 0 if begin is None else state_of((begin,))
    return (
        torch.frombuffer(bytearray(b"".join(word + b"\n" for word in words)), dtype=torch.uint8),
        starts,
        torch.tensor([arc[0] for arc in flat], dtype=torch.int32),
        torch.tensor([arc[1] for arc in flat], dtype=torch.int32),
        torch.tensor([arc[2] for arc in flat], dtype=torch.float32),
        torch.tensor(failures, dtype=torch.int32),
        torch.tensor(costs, dtype=torch.float32),
        torch.tensor(finals, dtype=torch.float32),
        torch.tensor([initial, *counts]),
    )
