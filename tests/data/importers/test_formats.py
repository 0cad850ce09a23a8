"""Corpora of other programs: what is read comes back, and what is not right is refused with nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ctckit.cli.data import data
from ctckit.data import import_bonito, import_folder, import_padded, open_corpus
from ctckit.data.importers.kaldi import Archives
from ctckit.errors import ConfigError, DataError

FRAMES = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "f" / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        np.save(tmp_path / "f" / f"{name}.npy", FRAMES)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def texts(path: Path) -> dict[str, str]:
    corpus = open_corpus(path)
    return {clip: " ".join(corpus.transcript(index)) for index, clip in enumerate(corpus.ids)}


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(data, ["import", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


PHOENIX = "name|video|speaker|orth\na|x|S1|RED BOX\nb|y|S2|GO\nsub/c|z|S1|GO\n"


def test_what_was_read_how_is_said(place: Path) -> None:
    table = write(place / "t.corpus.csv", PHOENIX)
    said = run(place / "f", place / "o.h5", "--transcripts", table)
    assert "read as PHOENIX CSV, separated by '|', id from column 'name', text from 'orth'" in said
    assert "speaker: 2 in 3 clips" in said
    assert "3 rows, 3 used" in said
    write(table, "id!x,transcript\na!y,A\n")
    with pytest.raises(DataError, match=r"no table of PHOENIX"):
        run(place / "f", place / "p.h5", "--transcripts", table, "--from", "phoenix")
    write(table, "id;transcript,x\na;A,B\nb;C,D\nsub/c;E,F\n")
    run(
        place / "f",
        place / "q.h5",
        "--transcripts",
        table,
        "--delimiter",
        "semicolon",
        "--transcript-column",
        "transcript,x",
    )
    assert texts(place / "q.h5")["a"] == "A,B"
    with pytest.raises(ConfigError, match=r"--delimiter '!!' is none of comma"):
        run(place / "f", place / "r.h5", "--transcripts", table, "--delimiter", "!!")


def test_what_is_said_need_not_be_told(place: Path) -> None:
    table = write(place / "words.txt", "a HELLO GO\nb GO\nsub/c GO\n")
    with pytest.raises(DataError, match="say what it is with --from"):
        run(place / "f", place / "p.h5", "--transcripts", table)
    assert "3 rows, 3 used" in run(place / "f", place / "p.h5", "--transcripts", table, "--from", "kaldi")
    write(table, "id transcript\na HELLO\nb GO\nsub/c GO\n")
    said = run(place / "f", place / "q.h5", "--transcripts", table, "--from", "table", "--delimiter", "space")
    assert "separated by spaces" in said
    workbook = place / "t.xlsx"
    workbook.write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="save the table as CSV"):
        run(place / "f", place / "r.h5", "--transcripts", workbook, "--from", "table")


def test_rows_without_features_are_left_out_on_request_and_listed(place: Path) -> None:
    table = write(place / "t.csv", PHOENIX + "d|x|S1|A\ne|x|S1|A\n")
    arguments = (place / "f", place / "o.h5", "--transcripts", table)
    with pytest.raises(DataError, match=r"line 5: clip 'd' has no file .*\(2 of 5 rows.*--skip-missing"):
        run(*arguments)
    assert not list(place.glob("*.h5")) + list(place.glob(".*"))
    assert "left out 2 rows without features: d, e" in run(*arguments, "--skip-missing")
    (told,) = json.loads(run(*arguments, "--skip-missing", "--force", "--json"))
    assert (told["rows"], told["clips"], told["missing"]) == (5, 3, ["d", "e"])
    (place / "f" / "b.npy").rename(place / "f" / "B.npy")
    with pytest.raises(DataError, match=r"'b' has no file .*but 'B.npy': upper and lower case differ"):
        run(*arguments, "--force")
    table = write(place / "t.csv", "id,transcript\na,X\n")
    with pytest.raises(DataError, match=r"2 are without one.*--skip-unlisted"):
        run(*arguments, "--force")
    assert "left out 2 features without a row: B, sub/c" in run(*arguments, "--force", "--skip-unlisted")


def test_people_come_from_a_file(place: Path) -> None:
    table = write(place / "t.csv", "id,transcript\na,A\nb,B\nsub/c,C\n")
    people = write(place / "utt2spk", "a s1\nb s1\nsub/c s2\nz s3\n")
    output = place / "o.h5"
    done = import_folder(place / "f", table, output, signers=people)
    assert [open_corpus(output).attribute("signer", index) for index in range(3)] == ["s1", "s1", "s2"]
    assert any("1 of its clips are not in the corpus" in line for line in done.said)
    for text, said in [
        ("a s1\nb s1\n", r"who clip 'sub/c' .* shows \(1 of 3"),
        ("a s1\na s2\n", "'a' is of 's2', but of 's1' above"),
        ("a\n", "expected two fields"),
    ]:
        with pytest.raises(DataError, match=said):
            import_folder(place / "f", table, place / "p.h5", speakers=write(people, text))
    write(table, "id,transcript,speaker\na,A,other\nb,B,\nsub/c,C,\n")
    with pytest.raises(DataError, match="says speaker 'other'; make them agree"):
        import_folder(place / "f", table, place / "p.h5", speakers=write(people, "id,speaker\na,x\nb,y\nsub/c,z\n"))
    assert not (place / "p.h5").exists()


def nemo(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_nemo_finds_features_by_path(place: Path) -> None:
    rows = [
        {"audio_filepath": "/data/wavs/a.wav", "text": "one two", "duration": 1.5},
        {"audio_filepath": "wavs/b.flac", "text": "two", "duration": 1},
        {"audio_filepath": "other/c.wav", "text": "three", "duration": 2},
    ]
    done = import_folder(place / "f", write(place / "m.json", nemo(*rows)), place / "o.h5")
    assert texts(place / "o.h5") == {"a": "one two", "b": "two", "sub/c": "three"}
    assert any("manifest of NeMo" in line for line in done.said)
    for change, said in [
        ({"duration": float("nan")}, None),
        ({"duration": -1}, "expected seconds above 0"),
        ({"duration": True}, "expected seconds above 0"),
        ({"text": None}, "empty transcript"),
        ({"text": 3}, "the number 3"),
        ({"text": True}, "is bool"),
        ({"audio_filepath": "x/c.wav"}, "has the features of"),
        ({"audio_filepath": 1.5}, "expected a text"),
        ({"a/b": 1}, "cannot be the name of an attribute"),
    ]:
        manifest = write(place / "m.json", nemo({**rows[0], **change}, *rows[1:]))
        with pytest.raises(DataError, match=said) if said else pytest.raises(DataError):
            import_folder(place / "f", manifest, place / "p.h5")
        assert not (place / "p.h5").exists()
    (place / "f" / "c.npy").write_bytes((place / "f" / "a.npy").read_bytes())
    (place / "f" / "c.npy").rename(place / "f" / "sub" / "a.npy")
    with pytest.raises(DataError, match=r"may be .*write more of the path"):
        import_folder(
            place / "f", write(place / "m.json", nemo({**rows[0], "audio_filepath": "z/a.wav"})), place / "p.h5"
        )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.json", '[{"id": "a"}]', "one JSON array"),
        ("t.ctm", "a 1 0.1 0.2 RED\n", "is CTM"),
        ("t.txt", "hello world\n", "cannot be told .*--from"),
        ("t.stm", "a 1 s 2.0 1.0 RED\n", "ends at 1.0"),
        ("t.stm", "a 1 s 0 1 { A / B }\n", "alternatives"),
        ("t.stm", "a 1 s 0 1 IGNORE_TIME_SEGMENT_IN_SCORING\n", "not transcribed"),
        ("t.csv", "id,transcript\na,\"['A', 'B']\"\n", "a list written as text"),
        ("t.csv", "id,transcript\na,<blank>\n", "reserved for the blank"),
        ("t.csv", ",id,transcript\n0,a,A\n", "column 1 has no name"),
        ("t.csv", "ID,transcript\na,A\n", "'ID' is another name: upper and lower case differ"),
        ("t.jsonl", '{"id": "a", "transcript": "a\\u0000b"}', "NUL"),
        ("t.jsonl", '{"id": "a", "transcript": "a", "x": "\\ud800"}', "not UTF-8"),
        ("t.jsonl", '{"id": "a", "id": "b", "transcript": "a"}', "'id' occurs twice"),
        ("t.jsonl", '{"id": true, "transcript": "a"}', "the id is True"),
        ("t.jsonl", '{"id": "a", "transcript": ["a b"]}', "'a b', which is not one word"),
    ],
)
def test_manifests_that_are_refused(place: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        import_folder(place / "f", write(place / name, text), place / "o.h5")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in place.iterdir()) == sorted(["f", name])


def test_kaldi(place: Path) -> None:
    import kaldiio  # in ctckit[test]; without it the format would go untested

    arrays = {"a": FRAMES, "b": FRAMES[:3] * 2}
    folder = place / "k"
    folder.mkdir()
    kaldiio.save_ark(str(folder / "x.ark"), arrays, scp=str(folder / "feats.scp"))
    write(folder / "text", "a RED BOX\nb\tGO\n")
    write(folder / "utt2spk", "a s1\nb s2\n")
    said = run(folder, place / "o.h5")
    assert "read as Kaldi's text" in said
    assert "speaker: 2 in 2 clips" in said
    corpus = open_corpus(place / "o.h5")
    assert texts(place / "o.h5") == {"a": "RED BOX", "b": "GO"}
    for index, clip in enumerate(corpus.ids):
        np.testing.assert_array_equal(corpus.features(index), arrays[clip])
    script = (folder / "feats.scp").read_text()
    offset = script.splitlines()[0].rpartition(":")[2]
    write(folder / "feats.scp", f"a elsewhere/x.ark:{offset}[2:4]\nb {folder}/x.ark:{script.split(':')[-1]}")
    np.testing.assert_array_equal(Archives(folder / "feats.scp").load("a"), FRAMES[2:5])
    for text, message in [
        (f"a touch {place}/ran |\n", "is a command, which is not run"),
        ("a none.ark:3\n", "there is no archive none.ark"),
        ("a x.ark:1\n", "holds no binary matrix at byte 1"),
        (f"a x.ark:{offset}[2:40]\n", "rows up to 40 of 10"),
        ("a x.ark:2\na x.ark:2\n", "stands on line 1 already"),
    ]:
        write(folder / "feats.scp", text)
        with pytest.raises(DataError, match=message):
            import_folder(folder, write(folder / "text", "a RED\n"), place / "p.h5")
    assert not (place / "ran").exists()
    cut = folder / "x.ark"
    write(folder / "feats.scp", f"a x.ark:{offset}\n")
    cut.write_bytes(cut.read_bytes()[: int(offset) + 40])
    with pytest.raises(DataError, match="cannot be read at byte"):
        import_folder(folder, folder / "text", place / "p.h5")
    assert not (place / "p.h5").exists()


def test_kaldi_without_its_reader(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kaldiio.matio", None)
    write(place / "feats.scp", "a x.ark:2\n")
    with pytest.raises(DataError, match=r"pip install 'ctckit\[kaldi\]'"):
        import_folder(place, None, place / "o.h5")


def bonito(folder: Path, references: Any, lengths: Any) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "chunks.npy", np.arange(60, dtype=np.float16).reshape(3, 20))
    np.save(folder / "references.npy", np.array(references, np.uint8))
    np.save(folder / "reference_lengths.npy", np.array(lengths, np.uint16))
    return folder


def test_bonito(place: Path) -> None:
    folder = bonito(place / "b", [[1, 2, 3, 0], [4, 4, 0, 0], [1, 2, 3, 4]], [3, 2, 4])
    assert "read as Bonito's" in run(folder, place / "o.h5")
    corpus = open_corpus(place / "o.h5")
    assert corpus.unit == "character"
    assert ["".join(corpus.transcript(index)) for index in range(3)] == ["ACG", "TT", "ACGT"]
    alphabet = corpus.alphabet()
    assert alphabet is not None
    assert alphabet.labels == ("A", "C", "G", "T")
    assert corpus.features(1)[:, 0].tolist() == list(range(20, 40))
    for references, lengths, said in [
        ([[1, 2, 3, 0], [4, 4, 0, 0], [1, 5, 3, 4]], [3, 2, 4], "row 2: .*label 5 at place 1 is no label"),
        ([[1, 2, 3, 0], [4, 4, 0, 0], [1, 2, 3, 4]], [4, 2, 4], "row 0: .*label 0 at place 3 is the blank"),
        ([[1, 2, 3, 0], [4, 4, 0, 0], [1, 2, 3, 4]], [2, 2, 4], "padding is one"),
        ([[1, 2, 3, 0], [4, 4, 0, 0], [1, 2, 3, 4]], [3, 0, 4], r"row 1: 0 is not in 1 \.\. 4"),
    ]:
        with pytest.raises(DataError, match=said):
            import_bonito(bonito(folder, references, lengths), place / "p.h5")
    assert not (place / "p.h5").exists()


def padded(path: Path, **changes: Any) -> Path:
    arrays = {
        "features": np.arange(48, dtype=np.float32).reshape(2, 6, 4),
        "lengths": np.array([6, 4]),
        "labels": np.array([[1, 2, 0], [2, 1, 2]]),
        "label_lengths": np.array([2, 3]),
        "ids": np.array(["x", "y"]),
        **changes,
    }
    arrays = {name: array for name, array in arrays.items() if array is not None}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array.astype("S") if array.dtype.kind == "U" else array
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize(
    ("name", "vocabulary"),
    [
        ("v.txt", "<blank>\nRED\nGO\n"),
        ("v.txt", "<eps> 0\nRED 1\nGO 2\n"),
        ("v.json", '["<blank>", "RED", "GO"]'),
        ("v.json", '{"RED": 1, "GO": 2}'),
        ("v.json", '{"1": "RED", "2": "GO"}'),
        ("v.txt", "RED\nGO\n"),  # 2 is out of range unless the first is 1
    ],
)
def test_padded_arrays(place: Path, suffix: str, name: str, vocabulary: str) -> None:
    source = padded(place / f"s{suffix}", speaker=np.array(["p", "q"]))
    said = run(source, place / "o.h5", "--vocabulary", write(place / name, vocabulary))
    assert "labels run from 1 'RED' to 2 'GO'" in said
    assert texts(place / "o.h5") == {"x": "RED GO", "y": "GO RED GO"}
    corpus = open_corpus(place / "o.h5")
    assert corpus.frame_counts.tolist() == [6, 4]
    assert corpus.features(1)[-1].tolist() == [36, 37, 38, 39]
    assert corpus.attribute("speaker", 1) == "q"


@pytest.mark.parametrize(
    ("changes", "vocabulary", "said"),
    [
        ({}, None, "are numbers, .*--vocabulary"),
        ({}, "RED\nGO\nNO\n", r"from 0 or from 1 \(1 is 'GO' or 'RED'\); say which \(--first-label 0 or 1\)"),
        ({}, "RED\n", "not the vocabulary of these labels"),
        ({"labels": np.array([[0, 1, 0], [1, 1, 1]])}, "<blank>\nRED\n", "label 0 at place 0 is the blank"),
        ({"labels": np.array([[1, 3, 0], [1, 1, 1]])}, "<blank>\nRED\nGO\n", "label 3 at place 1 is no label"),
        ({"labels": np.array([[1.0, 2, 0], [1, 1, 1]])}, "RED\n", "expected integers"),
        ({"label_lengths": None}, "RED\nGO\n", "no array 'label_lengths'"),
        ({"lengths": None}, "RED\nGO\n", "no array 'lengths'"),
        ({"lengths": np.array([6, 7])}, "RED\nGO\n", r"row 1: 7 is not in 1 \.\. 6"),
        ({"ids": np.array(["x", "x"])}, "RED\nGO\n", "stands on row 0 already"),
        ({}, "RED\n\nGO\n", "line 2 is empty"),
        ({}, "RED\nRED\n", "stands for both"),
        ({}, "<blank>\n<pad>\nRED\n", "may each be the blank"),
    ],
)
def test_padded_arrays_that_do_not_fit(place: Path, changes: Any, vocabulary: str | None, said: str) -> None:
    path = None if vocabulary is None else write(place / "v.txt", vocabulary)
    with pytest.raises(DataError, match=said) as caught:
        import_padded(padded(place / "s.npz", **changes), place / "o.h5", vocabulary=path)
    assert "\n" not in str(caught.value)
    assert not (place / "o.h5").exists()


@given(
    clips=st.lists(
        st.tuples(st.integers(1, 5), st.lists(st.integers(0, 3), min_size=1, max_size=4)), min_size=1, max_size=6
    )
)
def test_padded_arrays_come_back(tmp_path_factory: pytest.TempPathFactory, clips: Any) -> None:
    folder = tmp_path_factory.mktemp("padded")
    tokens = ["A", "B", "C", "D"]
    random = np.random.default_rng(0)
    features = random.normal(size=(len(clips), 5, 2)).astype(np.float32)
    labels = np.full((len(clips), 4), -1)
    for row, (_, numbers) in enumerate(clips):
        labels[row, : len(numbers)] = numbers
    source = padded(
        folder / "s.npz",
        features=features,
        lengths=np.array([length for length, _ in clips]),
        labels=labels,
        label_lengths=np.array([len(numbers) for _, numbers in clips]),
        ids=None,
    )
    import_padded(source, folder / "o.h5", vocabulary=write(folder / "v", "A\nB\nC\nD\n"), first_label=0)
    corpus = open_corpus(folder / "o.h5")
    for row, (length, numbers) in enumerate(clips):
        assert corpus.transcript(row) == tuple(tokens[number] for number in numbers)
        np.testing.assert_array_equal(corpus.features(row), features[row, :length])


def test_options_that_say_nothing_are_refused(place: Path) -> None:
    source = padded(place / "s.npz")
    for option, value in [("--delimiter", ";"), ("--id-column", "x"), ("--transcripts", place / "t")]:
        with pytest.raises(ConfigError, match=f"{option} goes with"):
            run(source, place / "o.h5", option, value)


@pytest.mark.parametrize(
    ("suffix", "said"),
    [(".npz", "np.save"), (".pt", r"tensor\.numpy"), (".jpg", "is an image"), (".wav", "is sound")],
)
def test_folders_of_something_else_are_told_the_way(tmp_path: Path, suffix: str, said: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"")
    with pytest.raises(DataError, match=rf"there are 1 of \{suffix}, .*{said}"):
        import_folder(tmp_path, write(tmp_path / "t.csv", "id,transcript\nx,A\n"), tmp_path / "o.h5")


KINDS = ["table", "phoenix", "jsonl", "nemo", "stm", "kaldi", None]
CONTENT = st.text(alphabet='ab 0.1,;|\t\n"{}:[]<>\\\0\u00e9id', max_size=60).map(str.encode) | st.binary(
    max_size=60
)


@given(
    kind=st.sampled_from(KINDS),
    begin=st.sampled_from([b"", b"id,transcript\n", b"id|annotation\n", b'{"id": "a", "transcript": ']),
    content=CONTENT,
)
def test_whatever_a_manifest_holds_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, kind: Any, begin: bytes, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    np.save(folder / "a.npy", FRAMES)
    (folder / "manifest").write_bytes(begin + content)
    refused = None
    try:
        import_folder(folder, folder / "manifest", folder / "o.h5", kind=kind)
    except DataError as error:
        refused = str(error)
    if refused is None:
        assert open_corpus(folder / "o.h5").ids == ("a",)
        return
    assert "\n" not in refused
    assert sorted(path.name for path in folder.iterdir()) == ["a.npy", "manifest"]
