"""Every written format gives back what was put in, or names the clip that it cannot carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ctckit.errors import DataError
from ctckit.transcripts import FORMATS, Transcript, of_words, parted, read, write
from ctckit.transcripts.transcript import Segment

LINES = ["ctm", "stm", "trn", "text"]

NASTY = [
    "a b",
    "a\u00a0b",
    "a\u2028b",
    "a\x85b",
    "\0",
    "\ud800",
    "",
    " ",
    "{",
    "}",
    "/",
    "@",
    "(uh)",
    ";;",
    ";;x",
    "a;b",
    "<o>",
]
NASTY += [
    "<ALT>",
    "1.5",
    "0",
    "[",
    '"',
    "\\",
    "\u00fc\u0308",
    "\U0001f919",
    "(",
    ")",
    "IGNORE_TIME_SEGMENT_IN_SCORING",
]

words = st.one_of(st.sampled_from([*NASTY, "ant", "BEE", "12"]), st.text(max_size=4))


@st.composite
def transcripts(draw: Any) -> Transcript:
    tokens = draw(st.lists(words, max_size=5))
    edges = sorted(draw(st.lists(st.integers(1, 9999), unique=True, min_size=2 * len(tokens) + 1, max_size=11)))
    count = 2 * len(tokens)
    spans = tuple((edges[n] / 1000, edges[n + 1] / 1000) for n in range(0, count, 2))
    confidences = tuple(draw(st.integers(0, 10000)) / 10000 for _ in tokens)
    return Transcript(draw(words), tuple(tokens), spans, confidences, edges[count] / 1000, draw(words))


def round_trip(kind: str, text: str, folder: Path) -> Any:
    path = folder / "file"
    path.write_bytes(text.encode())
    return read(path, kind)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


@pytest.mark.parametrize("kind", LINES)
@given(given=st.lists(transcripts(), min_size=1, max_size=4, unique_by=lambda one: one.clip_id))
def test_what_is_written_is_read_back_and_the_rest_is_refused_by_name(
    kind: str, folder: Path, given: list[Transcript]
) -> None:
    faults: list[DataError] = []
    found = write(given, kind, faults)
    assert len(found) + len(faults) == len(given)
    for one in given:
        assert one.clip_id in found or any(repr(one.clip_id) in str(fault) for fault in faults)
    assume(found)
    back = round_trip(kind, "".join(found.values()), folder).transcripts
    assert set(back) == set(found)
    for one in given:
        if one.clip_id not in found:
            continue
        read_back = back[one.clip_id]
        assert read_back.tokens == one.tokens
        if kind == "ctm":
            for (a, b), (c, d) in zip(read_back.spans or (), one.spans or (), strict=True):
                assert (a, b) == pytest.approx((c, d), abs=1e-6)
            assert one.tokens == () or read_back.confidences == one.confidences
        if kind == "stm":
            assert read_back.speaker == ("" if one.speaker == "unknown" else one.speaker)


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize(
    "token", ["ant", "\u00fcber", "REGEN", "12", "a/b", "<unk>", "/", "-", "can't", "\U0001f919"]
)
def test_what_can_be_carried_is_not_refused(kind: str, folder: Path, token: str) -> None:
    one = Transcript("clip/1", (token, "bee", token), ((0.0, 0.5), (0.5, 1.0), (1.0, 1.25)), None, 2.0, "anna")
    faults: list[DataError] = []
    assert round_trip(kind, write([one], kind, faults)["clip/1"], folder).transcripts["clip/1"].tokens == one.tokens
    assert faults == []


@pytest.mark.parametrize("kind", LINES)
def test_what_sclite_would_cut_is_refused(kind: str) -> None:
    faults: list[DataError] = []
    written = write([Transcript("c", ("a;b",), ((0.0, 1.0),), None, 1.0)], kind, faults)
    assert (list(written), len(faults)) == ((["c"], 0) if kind == "text" else ([], 1))


@pytest.mark.parametrize("kind", LINES)
def test_an_empty_hypothesis_is_carried(kind: str, folder: Path) -> None:
    given = [Transcript("a", (), (), (), 1.0), Transcript("b", ("x",), ((0.0, 1.0),), None, 1.0)]
    back = round_trip(kind, "".join(write(given, kind, []).values()), folder).transcripts
    assert {name: one.tokens for name, one in back.items()} == {"a": (), "b": ("x",)}


@pytest.mark.parametrize(("kind", "what"), [("ctm", "times"), ("stm", "length"), ("textgrid", "times")])
def test_a_format_with_times_needs_a_frame_rate(kind: str, what: str) -> None:
    faults: list[DataError] = []
    assert write([Transcript("c1", ("a",))], kind, faults) == {}
    assert str(faults[0]).startswith("clip 'c1' cannot be written as")
    assert what in str(faults[0])
    assert "--frame-rate" in str(faults[0])


@given(transcripts())
def test_a_textgrid_holds_every_token_at_its_time(folder: Path, one: Transcript) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    faults: list[DataError] = []
    found = write([one], "textgrid", faults)
    if faults:
        assert any(token != token.strip() or not token.strip() or not token.isprintable() for token in one.tokens)
        return
    path = folder / "one.TextGrid"
    path.write_bytes(found[one.clip_id].encode())
    tier = textgrid.openTextgrid(str(path), includeEmptyIntervals=True).getTier("tokens")
    labelled = [entry for entry in tier.entries if entry.label]
    assert tuple(entry.label for entry in labelled) == one.tokens
    assert tuple((entry.start, entry.end) for entry in labelled) == one.spans
    assert tier.entries[0].start == 0.0
    assert tier.entries[-1].end == pytest.approx(one.seconds)
    assert all(a.end == b.start for a, b in zip(tier.entries, tier.entries[1:], strict=False))


def test_spans_that_overlap_by_a_rounded_frame_are_parted_in_a_textgrid() -> None:
    one = Transcript("c", ("a", "b"), ((0.0, 0.6), (0.5, 1.0)), None, 1.0)
    text = write([one], "textgrid", [])["c"]
    assert "xmax = 0.5\n" in text
    assert "0.6" not in text


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.stm", "", "stm"),
        ("a", "f 1 spk 0 1.5 <o> a b\nf 1 spk 2 3 c\n", "stm"),
        ("a", ";; remark\nf 1 0.0 1.5 a 0.9\nf 1 2 0.5 b\n", "ctm"),
        ("a", "a b (c1)\n(c2)\n", "trn"),
        ("a", '{"clip": "c1", "tokens": [{"token": "a b", "start": 0}]}\n', "jsonl"),
        ("text", "", "text"),
        ("a", "c1 a b\nc2\n", "text"),
        ("a", "c1 3 4 5 6 7 8\nc2 3 9 8 7 6 1\n", "text"),
        ("a", "c1 3 4 5 6\nc2 3 9 8 7\n", "text"),
    ],
)
def test_formats_are_told_by_name_or_by_all_their_lines(tmp_path: Path, name: str, content: str, kind: str) -> None:
    path = tmp_path / name
    path.write_text(content or "f 1 spk 0 1 word\n")
    found = read(path)
    assert found.kind == kind
    assert found.said == ("by its name" if content == "" else found.said)


def test_a_word_goes_to_the_first_segment_that_ends_behind_its_middle() -> None:
    segments = [Segment(0, 1, "", ()), Segment(2, 3, "", None), Segment(4, 5, "", ())]
    spans = {
        "in": (0.1, 0.3),
        "edge": (0.75, 1.25),
        "between": (1.0, 1.2),
        "second": (2.5, 2.6),
        "behind": (9.0, 9.1),
    }
    words = Transcript("r", tuple(spans), tuple(spans.values()))
    assert parted(segments, words) == [("in",), ("edge", "between", "second"), ("behind",)]


def test_segments_of_a_file_and_words_of_a_ctm_are_joined_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.stm"
    path.write_text("f 1 anna 5 6 <o,f0> c d\nf 1 anna 0 4 a (B)x\ng 1 ben 0 1\n")
    found = read(path).transcripts
    assert found["f"].tokens == ("a", "(B)x", "c", "d")
    assert (found["f"].speaker, found["g"].tokens) == ("anna", ())
    path = tmp_path / "a.ctm"
    path.write_text("f 1 2.0 0.5 b 0.5\nf 1 0.0 0.5 a 0.25\nf 1 3 0.5 @ 0.25\n")
    assert read(path).transcripts["f"].tokens[:2] == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.trn", "a b\n", "line 1: expected words and then the id"),
        ("a.trn", "a (c1)\nb (c1)\n", "clip 'c1' occurs twice"),
        ("a.trn", "{ a / b } (c1)\n", "alternatives"),
        ("a.trn", "(uh) b (c1)\n", "may be missing"),
        ("a.stm", "f 1 spk 0 x a\n", "line 1: expected file, channel"),
        ("a.stm", "f 1 spk 0 1 a\nf 2 spk 0 1 b\n", "another channel"),
        ("a.ctm", "f 1 0 x a\n", "line 1: expected file, channel, start"),
        ("a.ctm", "f 1 0 1 <ALT_BEGIN>\n", "alternatives"),
        ("a.jsonl", '{"clip": 1, "tokens": []}\n', "not all text"),
        ("a.jsonl", "[]\n", "expected an object"),
        ("a.jsonl", "{\n", "expected an object"),
        ("a.TextGrid", "x\n", "written, not read"),
        ("a.txt", "", "holds no transcripts"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        read(path)
    (tmp_path / "latin.txt").write_bytes(b"c1 \xe4\n")
    with pytest.raises(DataError, match="UTF-8"):
        read(tmp_path / "latin.txt")


def test_characters_are_joined_to_words() -> None:
    one = Transcript(
        "c",
        (" ", "a", "b", " ", " ", "c"),
        ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)),
        (1.0, 0.5, 0.5, 1.0, 1.0, 0.25),
    )
    assert of_words(one) == Transcript("c", ("ab", "c"), ((1, 3), (5, 6)), (0.5, 0.25))
    assert of_words(Transcript("c", ())) == Transcript("c", ())


def test_the_table_names_every_format() -> None:
    assert set(FORMATS) == {"jsonl", "textgrid", *LINES}
