"""Reading ARPA files: the compiled reader, its reference, and the recursion that a back-off model is."""

from __future__ import annotations

import gzip
import itertools
import math
import random
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit import ops
from ctckit.errors import DataError
from ctckit.lm import LanguageModel
from ctckit.ops import build, reference_arpa

WORDS = ("<s>", "</s>", "<unk>", "a", "b", "c")
LOG10 = math.log(10.0)

Ngrams = dict[tuple[str, ...], tuple[float, float]]


def arpa(ngrams: Ngrams, order: int, end: str = "\n") -> bytes:
    by_order = [{g: v for g, v in ngrams.items() if len(g) == n} for n in range(1, order + 1)]
    lines = ["made by hand", "\\data\\", *(f"ngram {n}={len(of)}" for n, of in enumerate(by_order, 1))]
    for n, of in enumerate(by_order, 1):
        lines += ["", f"\\{n}-grams:"]
        for ngram, (weight, backoff) in of.items():
            lines.append(f"{weight!r}\t{' '.join(ngram)}" + (f"\t{backoff!r}" if backoff else ""))
    return end.join([*lines, "", "\\end\\", ""]).encode()


@st.composite
def models(draw: st.DrawFn) -> tuple[Ngrams, int]:
    """Any back-off model: contexts and suffixes may be missing, weights are anything."""
    order = draw(st.integers(1, 4))
    weights = st.floats(-6, 0).map(lambda x: round(x, 5))
    backoffs = st.one_of(st.just(0.0), st.floats(-2, 1).map(lambda x: round(x, 5)))
    words = [w for w in WORDS if w in ("a", "b") or draw(st.booleans())]
    ngrams: Ngrams = {(w,): (draw(weights), draw(backoffs) if order > 1 else 0.0) for w in words}
    for n in range(2, order + 1):
        for ngram in draw(st.sets(st.tuples(*[st.sampled_from(words)] * n), max_size=8)):
            ngrams[ngram] = draw(weights), draw(backoffs) if n < order else 0.0
    return ngrams, order


def recursion(ngrams: Ngrams, order: int, sentence: tuple[str, ...]) -> tuple[list[float], float]:
    """Log-probabilities, in nats, by the definition of a back-off model."""

    def log10(history: tuple[str, ...], word: str) -> float:
        if (*history, word) in ngrams:
            return ngrams[(*history, word)][0]
        if not history:
            return 0.0 if word == "</s>" and ("</s>",) not in ngrams else -100.0
        return ngrams.get(history, (0.0, 0.0))[1] + log10(history[1:], word)

    history = ("<s>",) if ("<s>",) in ngrams else ()
    scores = []
    for token in sentence:
        word = token if (token,) in ngrams and token not in ("<s>", "</s>") else "<unk>"
        history = history[len(history) - (order - 1) :] if order > 1 and len(history) >= order - 1 else history
        history = () if order == 1 else history
        scores.append(LOG10 * log10(history, word))
        history = (*history, word)
    history = history[len(history) - (order - 1) :] if order > 1 and len(history) >= order - 1 else history
    history = () if order == 1 else history
    end = 0.0 if not any("</s>" in ngram[-1:] for ngram in ngrams) else LOG10 * log10(history, "</s>")
    return scores, end


@settings(max_examples=150)
@given(models(), st.lists(st.sampled_from(["a", "b", "c", "z"]), max_size=6))
def test_a_sentence_has_the_probability_of_the_recursion(model: tuple[Ngrams, int], sentence: list[str]) -> None:
    ngrams, order = model
    if not any(ngram[-1] == "</s>" for ngram in ngrams) or ("</s>",) in ngrams:
        scores, end = LanguageModel(arpa(ngrams, order)).score(sentence)
        truth, truth_end = recursion(ngrams, order, tuple(sentence))
        assert scores == pytest.approx(truth, rel=1e-5, abs=1e-4)
        assert end == pytest.approx(truth_end, rel=1e-5, abs=1e-4)


@settings(max_examples=150)
@given(models(), st.sampled_from(["\n", "\r\n"]))
def test_the_compiled_reader_is_its_reference(model: tuple[Ngrams, int], end: str) -> None:
    ops.backend()
    text = torch.frombuffer(bytearray(arpa(*model, end=end)), dtype=torch.uint8)
    for mine, right in zip(torch.ops.ctckit.read_arpa(text), reference_arpa.read_arpa(text), strict=True):
        assert mine.dtype == right.dtype
        torch.testing.assert_close(mine, right, rtol=1e-6, atol=1e-6)


GOOD = arpa(
    {("<s>",): (-99.0, -0.3), ("</s>",): (-1.0, 0.0), ("a",): (-0.5, -0.2), ("a", "a"): (-0.1, 0.0)}, 2
).decode()

BAD = {
    "no data": (GOOD.replace("\\data\\", "data"), "no \\data\\ anywhere"),
    "empty": ("", "no \\data\\ anywhere"),
    "no counts": (GOOD.replace("ngram 1=3\nngram 2=1\n", ""), "no 'ngram 1=COUNT'"),
    "order skipped": (GOOD.replace("ngram 2=1", "ngram 3=1"), "line 4: orders are listed as 1, 2, ...; found 3"),
    "count no number": (GOOD.replace("ngram 2=1", "ngram 2=x"), "line 4: expected 'ngram ORDER=COUNT'"),
    "count too high": (GOOD.replace("ngram 1=3", "ngram 1=4"), "announces 4 1-grams, there are 3"),
    "count huge": (GOOD.replace("ngram 1=3", "ngram 1=99999999999"), "announces 99999999999 1-grams"),
    "count too low": (GOOD.replace("ngram 1=3", "ngram 1=2"), "announces 2 1-grams, there are 3"),
    "section missing": (GOOD.replace("\\2-grams:", "\\3-grams:"), "expected \\2-grams:, found '\\3-grams:'"),
    "not a number": (GOOD.replace("-0.5\ta", "half\ta"), "line 9: 'half' is no log probability"),
    "NaN": (GOOD.replace("-0.5\ta", "nan\ta"), "line 9: 'nan' is no log probability"),
    "above 0": (GOOD.replace("-0.5\ta", "0.5\ta"), "line 9: '0.5' is a log probability above 0"),
    "back-off NaN": (GOOD.replace("a\t-0.2", "a\tnan"), "line 9: 'nan' is no back-off weight"),
    "back-off inf": (GOOD.replace("a\t-0.2", "a\tinf"), "line 9: 'inf' is no back-off weight"),
    "back-off above": (
        GOOD.replace("-0.1\ta a", "-0.1\ta a\t-1"),
        "line 12: a back-off weight at the highest order",
    ),
    "too few words": (GOOD.replace("-0.1\ta a", "-0.1\ta"), "line 12: expected 2 words, found 1"),
    "too many words": (GOOD.replace("-0.1\ta a", "-0.1\ta a a a"), "line 12"),
    "unknown word": (GOOD.replace("-0.1\ta a", "-0.1\ta zoo"), "line 12: 'zoo' is not among the 1-grams"),
    "twice": (GOOD.replace("-0.5\ta\t-0.2", "-0.5\ta\t-0.2\n-0.5\ta"), "line 10: is listed twice"),
    "cut off": (GOOD[: GOOD.index("\\end\\")], "the file ends before \\end\\: it is cut off"),
    "cut off in a section": (GOOD[: GOOD.index("-0.1\ta a")], "there are 0; the file is cut off"),
    "more after the end": (GOOD + "and so on\n", "there is more after \\end\\: 'and so on'"),
    "no UTF-8": (GOOD.replace("-0.1", "\udcff"), "line 12: is no UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_model_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    text, said = BAD[name]
    path = tmp_path / "lm.arpa"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as error:
        LanguageModel.read(path)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{path}, line ")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="line ") as reference:
        reference_arpa.read_arpa(torch.frombuffer(bytearray(path.read_bytes() or b"\n"), dtype=torch.uint8))
    assert str(error.value) == f"{path}, {reference.value}"


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever the bytes are: a model or one line, and the same of both readers."""
    text = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    given_text = torch.frombuffer(text or bytearray(b"\n"), dtype=torch.uint8)
    ops.backend()
    outcomes = []
    for reader in (torch.ops.ctckit.read_arpa, reference_arpa.read_arpa):
        try:
            outcomes.append([part.tolist() for part in reader(given_text)])
        except ValueError as error:
            outcomes.append(str(error))
    if isinstance(outcomes[1], str):
        assert isinstance(outcomes[0], str)
        assert outcomes[0].split(":")[0] == outcomes[1].split(":")[0]
    else:
        assert not isinstance(outcomes[0], str), outcomes[0]
        assert outcomes[0][1:4] == outcomes[1][1:4]


PROGRAM = """
#include "arpa.h"
#include <fstream>
#include <sstream>
#include <stdexcept>
int main(int count, char** paths) {
  for (int i = 1; i < count; ++i) {
    std::stringstream bytes;
    bytes << std::ifstream(paths[i], std::ios::binary).rdbuf();
    const std::string text = bytes.str();
    const std::vector<char> exact(text.begin(), text.end());  // its end is the allocation's
    try {
      ctckit::parse_arpa(std::string_view(exact.data(), exact.size()));
    } catch (const std::invalid_argument&) {
    }
  }
}
"""


@pytest.mark.csrc
def test_no_damaged_file_is_read_beyond_its_end(tmp_path: Path) -> None:
    try:
        compiler = build.find_compiler()
    except build.BuildError as error:
        pytest.skip(str(error))
    source = tmp_path / "main.cpp"
    source.write_text(PROGRAM)
    folder = build.sources_folder() / "lm"
    flags = ["-std=c++17", "-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    program = tmp_path / "read"
    subprocess.run([compiler, *flags, f"-I{folder}", source, folder / "arpa.cpp", "-o", program], check=True)
    chance = random.Random(0)
    whole = arpa({(a, b): (-0.5, 0.0) for a in WORDS for b in WORDS} | {(a,): (-1.0, -0.2) for a in WORDS}, 2)
    paths = []
    for number in range(400):
        text = bytearray(chance.choice([whole, GOOD.encode()]))
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(text))
            kind = chance.random()
            if kind < 0.3:
                del text[place:]
            elif kind < 0.6:
                del text[place : place + chance.randrange(1, 40)]
            else:
                text[place : place + 1] = chance.choice(
                    [b"\x00", b"\xff", b"\n", b"9" * 30, b"\\", b"\t", b"<s>", b"-1e999"]
                )
            if not text:
                break
        path = tmp_path / f"{number}.arpa"
        path.write_bytes(text)
        paths.append(path)
    done = subprocess.run([program, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]


def test_compressed_files_and_other_kinds(tmp_path: Path) -> None:
    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(GOOD.encode()))
    assert LanguageModel.read(packed).words == {"a"}
    packed.write_bytes(gzip.compress(GOOD.encode())[:-9])
    with pytest.raises(DataError, match=r"cannot be read as a language model"):
        LanguageModel.read(packed)
    binary = tmp_path / "lm.binary"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(100))
    with pytest.raises(DataError, match=r"is a binary of KenLM.*give the ARPA file"):
        LanguageModel.read(binary)
    with pytest.raises(DataError, match="cannot be read"):
        LanguageModel.read(tmp_path / "none.arpa")


def test_as_kenlm_scores(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed: pip install kenlm")
    from ctckit.lm import estimate, write_arpa

    sentences = [s for n in range(1, 5) for s in itertools.product("abc", repeat=n)][::3]
    path = tmp_path / "lm.arpa"
    path.write_text(write_arpa(estimate(sentences, 3)))
    theirs, mine = kenlm.Model(str(path)), LanguageModel.read(path)
    for sentence in [("a", "b", "a", "c"), (), ("zoo", "a"), ("c", "zoo", "b", "b", "a")]:
        scores, end = mine.score(sentence)
        full = [score for score, _, _ in theirs.full_scores(" ".join(sentence))]
        assert [score / LOG10 for score in (*scores, end)] == pytest.approx(full, abs=1e-4)
