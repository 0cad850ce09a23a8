"""Prediction without transcripts, from the command line and from Python."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import ctckit
from ctckit.data import open_corpus
from ctckit.data.clips import clips_of_stream

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clips(tiny: Any) -> dict[str, np.ndarray]:
    corpus = open_corpus(tiny.test)
    return {clip: corpus.features(index) for index, clip in enumerate(corpus.ids)}


@pytest.fixture(scope="module")
def loaded(recogniser: Path) -> ctckit.Recogniser:
    return ctckit.load(recogniser, "cpu", frame_rate=25)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def tokens(line: dict[str, Any]) -> list[str]:
    return [token["token"] for token in line["tokens"]]


def test_arrays_give_what_evaluation_gives(cli: Any, loaded: Any, recogniser: Path, tiny: Any, clips: Any) -> None:
    scores = json.loads(cli("evaluate", recogniser, "--data", tiny.test, "--json").stdout)
    decoded = lines(cli("decode", recogniser, "--data", tiny.test).stdout)
    assert sum(line["substitutions"] + line["deletions"] + line["insertions"] for line in decoded) == round(
        scores["wer"] * scores["reference_tokens"] / 100
    )
    found = loaded(list(clips.values()), clip_ids=list(clips))
    assert [one.clip_id for one in found] == list(clips) == [line["clip"] for line in decoded]
    assert [list(one.tokens) for one in found] == [tokens(line) for line in decoded]
    assert any(one.tokens for one in found)
    for one in found:
        assert one.reference == ()
        assert all(0 < confidence <= 1 for confidence in one.confidences)
        assert one.seconds == tuple((a / 25, b / 25) for a, b in zip(one.starts, one.ends, strict=True))


def test_a_clip_alone_in_a_batch_and_of_another_type_is_the_same(loaded: Any, clips: Any) -> None:
    together = loaded(list(clips.values()))
    for clip, whole in zip(clips.values(), together, strict=True):
        for given in (clip, torch.from_numpy(clip), clip.astype(np.float64), [clip]):
            (alone,) = loaded(given)
            assert (alone.tokens, alone.starts, alone.ends) == (whole.tokens, whole.starts, whole.ends)
            assert alone.scores == pytest.approx(whole.scores, abs=1e-5)
    assert loaded([]) == []


def test_a_batch_of_a_loader_is_taken_as_prepared(loaded: Any, clips: Any) -> None:
    clip = next(iter(clips.values()))
    prepared = torch.from_numpy(loaded.trained.pipeline(clip))[None]
    none = torch.zeros(1, 0, dtype=torch.int64)
    lengths = torch.tensor([len(clip)])
    batch = ctckit.Batch(("one",), prepared, lengths, none, torch.zeros(1, dtype=torch.int64))
    assert loaded(batch)[0].tokens == loaded(clip)[0].tokens
    wide = torch.cat([prepared, prepared], 2)
    with pytest.raises(ctckit.DataError, match="wide, the model takes"):
        loaded(ctckit.Batch(("one",), wide, lengths, none, torch.zeros(1, dtype=torch.int64)))


def test_threads_share_a_recogniser(loaded: Any, clips: Any) -> None:
    wanted = [one.tokens for one in loaded(list(clips.values()))]
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = [[one.tokens for one in loaded(list(clips.values()))] for _ in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [wanted] * 5 for number in range(4)}
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda clip: clip.T.copy(), "transposed"),
        (lambda clip: clip[:, :3], "features are 3 wide, the model was trained with 5"),
        (lambda clip: clip[:0], "has no frames"),
        (lambda clip: clip[0], r"expected numbers of shape \[T, 5\], found float32 \[5\]"),
        (lambda clip: clip[None], "give a list of clips"),
        (lambda clip: clip.astype(str), "expected numbers"),
        (
            lambda clip: np.where(np.arange(len(clip))[:, None] == 2, np.nan, clip),
            "NaN feature at frame 2, column 0",
        ),
        (lambda clip: clip.astype(np.float64) * 1e300, "infinite feature"),
    ],
)
def test_what_is_no_clip_is_named(loaded: Any, clips: Any, spoil: Any, said: str) -> None:
    good = next(iter(clips.values()))
    with pytest.raises(ctckit.DataError, match=said) as caught:
        loaded([good, spoil(good), spoil(good)], clip_ids=["good", "bad", "worse"])
    assert "'bad'" in str(caught.value)
    assert "'worse'" in str(caught.value)  # one bad clip hides no other
    assert "'good'" not in str(caught.value)


@pytest.mark.parametrize("rate", [0, -25, float("nan"), float("inf")])
def test_a_frame_rate_is_above_zero(recogniser: Path, rate: float) -> None:
    with pytest.raises(ctckit.ConfigError, match="frame rate"):
        ctckit.load(recogniser, "cpu", frame_rate=rate)


def test_files_folders_and_standard_input_decode_alike(
    recogniser: Path, clips: Any, cli: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    (folder / "day").mkdir(parents=True)
    for clip, features in clips.items():
        np.save(folder / "day" / f"{clip}.npy", features)
    np.savez(tmp_path / "all.npz", **clips)
    by_folder = cli("decode", recogniser, "--features", folder, "--frame-rate", 50)
    assert by_folder.returncode == 0, by_folder.stderr
    from_folder = lines(by_folder.stdout)
    assert [line["clip"] for line in from_folder] == [f"day/{clip}" for clip in sorted(clips)]
    assert "reference" not in from_folder[0]
    first = next(line["tokens"][0] for line in from_folder if line["tokens"])
    assert first["start_seconds"] == round(first["start"] / 50, 3)
    from_archive = lines(cli("decode", recogniser, "--features", tmp_path / "all.npz").stdout)
    assert {line["clip"]: tokens(line) for line in from_archive} == {
        line["clip"].removeprefix("day/"): tokens(line) for line in from_folder
    }
    assert "start_seconds" not in json.dumps(from_archive)
    name = next(iter(clips))
    content = (folder / "day" / f"{name}.npy").read_bytes()
    command = [sys.executable, "-m", "ctckit", "decode", str(recogniser), "--features", "-", "--out", "-"]
    done = subprocess.run(command, input=content, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = lines(done.stdout.decode())
    assert line["clip"] == "stdin"
    assert tokens(line) == next(tokens(one) for one in from_folder if one["clip"] == f"day/{name}")
    assert not (tmp_path / "-").exists()


def test_a_corpus_needs_no_transcripts(recogniser: Path, clips: Any, cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "untold.h5"
    texts = [None, "", "ant bee"]
    with h5py.File(path, "w") as file:
        for (clip, features), text in zip(clips.items(), texts, strict=False):
            file.create_group(clip)["features"] = features
            if text is not None:
                file[clip].attrs["transcript"] = text
    for option in ("--features", "--data"):
        done = cli("decode", recogniser, option, path)
        assert done.returncode == 0, done.stderr
        untold, silent, told = lines(done.stdout)
        assert "reference" not in untold
        assert silent["reference"] == []
        assert silent["insertions"] == len(silent["tokens"])
        assert told["reference"] == ["ant", "bee"]
    with h5py.File(path, "a") as file:
        del file[next(iter(clips))]
    done = cli("evaluate", recogniser, "--data", path, "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["utterances"] == 2
    assert scores["reference_tokens"] == 2
    assert scores["insertions"] >= len(silent["tokens"])


def test_bad_files_hide_neither_each_other_nor_the_good_ones(
    recogniser: Path, clips: Any, cli: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    good = next(iter(clips.values()))
    np.save(folder / "good.npy", good)
    np.save(folder / "narrow.npy", good[:, :2])
    np.save(folder / "objects.npy", np.array([{}, None]), allow_pickle=True)
    (folder / "text.npy").write_text("not an array")
    (folder / "empty.npy").write_bytes(b"")
    np.savez(folder / "good.npz", good)
    done = cli("decode", recogniser, "--features", folder)
    assert done.returncode == 3
    assert [line["clip"] for line in lines(done.stdout)] == ["good"]
    for name in ("narrow", "objects.npy", "text.npy", "empty.npy", "good.npz"):
        assert name in done.stderr
    assert "5 of 6 clips could not be decoded" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--features", "absent.npy"], "absent.npy: no such file"),
        (["--features", "."], "holds no .npy or .npz file"),
        (["--features", "a.npy", "--data", "b.h5"], "give one"),
        (["--features", "a.npy", "--frame-rate", "0"], "above 0"),
    ],
)
def test_what_cannot_be_asked_is_said(
    recogniser: Path, cli: Any, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = cli("decode", recogniser, *arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr
    assert done.stdout == ""


def test_a_stream_of_hdf5_is_refused() -> None:
    with pytest.raises(ctckit.DataError, match="HDF5, which is not read from a stream"):
        list(clips_of_stream(io.BytesIO(b"\x89HDF\r\n\x1a\n"), []))


def test_a_dash_is_standard_input_and_output(recogniser: Path, cli: Any, tmp_path: Path) -> None:
    page = cli("report", recogniser, "-o", "-", cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    assert page.stdout.startswith("<!doctype html>") or page.stdout.startswith("<!DOCTYPE html>")
    assert page.stderr
    both = cli("report", recogniser, "-o", "-", "--json", cwd=tmp_path)
    assert both.returncode != 0
    assert both.stdout == ""
    compared = cli("compare", recogniser, recogniser, "--html", "-", "--resamples", 100, cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.lower().startswith("<!doctype html>")
    assert "P(better" in compared.stderr or "neither" in compared.stderr
    command = [sys.executable, "-m", "ctckit", "train", "--plugin", "hierarchical_fixed", "--config", "-"]
    done = subprocess.run(
        [*command, "--print-config"], input="seed = 41\n", capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "seed = 41" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_labels_in_another_case_or_form_are_explained(recogniser: Path, cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "upper.h5"
    with h5py.File(path, "w") as file:
        for number, text in enumerate(["ANT BEE", "c\u200bat", "\uff44\uff4f\uff47"]):
            group = file.create_group(f"clip{number}")
            group["features"] = np.zeros((9, 5), np.float32)
            group.attrs["transcript"] = text
    done = cli("evaluate", recogniser, "--data", path)
    assert done.returncode == 0, done.stderr
    assert "'ANT' is not in the alphabet, 'ant' is: upper and lower case differ" in done.stdout
    assert "invisible characters differ (U+200B)" in done.stdout
    assert "'dog' is: compatible characters" in done.stdout
    assert "undefined: the transcripts hold no token of the alphabet" in done.stdout
    assert "nan" not in done.stdout


def test_the_example_runs(recogniser: Path, clips: Any, tmp_path: Path) -> None:
    for number, clip in enumerate(list(clips.values())[:2]):
        np.save(tmp_path / f"{number}.npy", clip)
    command = [sys.executable, ROOT / "examples" / "predict.py", recogniser, "0.npy", "1.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0.npy" in done.stdout
    assert " s  " in done.stdout


def test_a_transcript_under_another_name_is_said(
    cli: Any, recogniser: Path, tiny: Any, clips: Any, tmp_path: Path
) -> None:
    path = tmp_path / "named.h5"
    with h5py.File(path, "w") as file:
        for clip, features in clips.items():
            group = file.create_group(clip)
            group["features"] = features
            group.attrs["sentence"] = "A B"
    done = cli("decode", recogniser, "--data", path)
    assert done.returncode == 0, done.stderr
    assert len(lines(done.stdout)) == len(clips)
    assert (
        "no clip has the transcript 'transcript', so that nothing is scored; clips have 'sentence'" in done.stderr
    )
    assert "no clip has" not in cli("decode", recogniser, "--data", tiny.test).stderr
