"""Links, circles, splits and what lies beside the clips: read once, counted, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ctckit.data import Corpus, open_corpus
from ctckit.errors import DataError

FRAMES = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


def write(path: Path, *clips: str) -> Path:
    with h5py.File(path, "w") as file:
        for number, name in enumerate(clips):
            file.create_group(name)["features"] = FRAMES + number
            file[name].attrs["transcript"] = "a b"
    return path


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    with h5py.File(path, "a") as file:
        change(file)
    return path


def opened(path: Path, refused: list[DataError] | None = None) -> Corpus:
    corpus = open_corpus(path, refused=refused)
    for index in range(len(corpus)):
        corpus.features(index)
    corpus.close()
    return corpus


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("z", lambda file: file["day/a"]),
        ("z", lambda file: h5py.SoftLink("/day/a")),
        ("day/z", lambda file: h5py.SoftLink("a")),
        ("view", lambda file: h5py.SoftLink("/day")),
        ("day/up", lambda file: file["day"]),
        ("day/up", lambda file: file["/"]),
        ("day/a/up", lambda file: file["/"]),
        ("root", lambda file: h5py.SoftLink("/")),
        ("twice/removed", lambda file: h5py.SoftLink("/day/./a")),
    ],
)
def test_what_has_several_names_is_read_once(tmp_path: Path, name: str, link: Any) -> None:
    path = write(tmp_path / "a.h5", "day/a", "day/b")
    corpus = opened(changed(path, lambda file: file.__setitem__(name, link(file))))
    assert corpus.ids == ("day/a", "day/b")
    assert corpus.contents.aliases == 1
    assert corpus.contents.used_datasets == corpus.contents.datasets == 2


@pytest.mark.parametrize(
    ("name", "link", "said"),
    [
        ("bad", h5py.SoftLink("/nowhere"), r"broken link \(to /nowhere\)"),
        ("bad", h5py.SoftLink("/bad"), r"broken link \(to /bad\)"),
        ("day/bad", h5py.SoftLink("/day/a/features/x"), "broken link"),
        ("bad", h5py.ExternalLink("other.h5", "/a"), r"link to another file \(other.h5:/a\), which is not read"),
        ("bad", h5py.ExternalLink("gone.h5", "/a"), r"link to another file \(gone.h5:/a\)"),
        ("day/a/features", h5py.SoftLink("/nowhere"), "clip 'day/a': 'features' is a broken link"),
        (
            "day/a/features",
            h5py.ExternalLink("other.h5", "/a/features"),
            "clip 'day/a': 'features' is a link to an",
        ),
        (
            "day/a/transcript",
            h5py.ExternalLink("other.h5", "/a/text"),
            "clip 'day/a': 'transcript' is a link to an",
        ),
        (
            "day/a/features",
            h5py.SoftLink("/day/b/features"),
            "clip 'day/b': its 'features' are those of clip 'day/a'",
        ),
    ],
)
def test_links_that_lead_nowhere_or_out_are_named(tmp_path: Path, name: str, link: Any, said: str) -> None:
    write(tmp_path / "other.h5", "a")
    path = write(tmp_path / "a.h5", "day/a", "day/b", "day/c")

    def change(file: Any) -> None:
        if name in file:
            del file[name]
        if name.endswith("transcript"):
            del file["day/a"].attrs["transcript"]
        file[name] = link

    changed(path, change)
    with pytest.raises(DataError, match=said) as caught:
        open_corpus(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    refused: list[DataError] = []
    assert "day/c" in opened(path, refused).ids
    assert len(refused) == 1


def test_a_soft_link_through_another_file_does_not_open_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "day/a")
    write(tmp_path / "other.h5", "x")
    changed(path, lambda file: file["day/a"].__setitem__("out", h5py.ExternalLink("other.h5", "/")))
    changed(path, lambda file: file.__setitem__("b", h5py.SoftLink("/day/a/out/x")))
    with pytest.raises(DataError, match=r"clip 'b': is a link to another file \(other.h5:/\)"):
        open_corpus(path)


@pytest.mark.parametrize(
    "clips",
    [
        ("corpus/train/a", "corpus/dev/b"),
        ("x/y/z/Train/a", "x/y/z/TEST/b"),
        ("s1/train/a", "s2/dev/b"),
        ("train/s1/a", "val/s1/b"),
    ],
)
def test_splits_are_refused_at_any_depth(tmp_path: Path, clips: tuple[str, ...]) -> None:
    path = write(tmp_path / "a.h5", *clips)
    with pytest.raises(DataError, match=r"side by side.*h5copy") as caught:
        open_corpus(path, refused=[])
    groups = [
        next(clip[: clip.index(part) + len(part)] for part in clip.split("/") if len(part) > 2) for clip in clips
    ]
    assert all(group in str(caught.value) for group in groups if "orpus" not in group)
    assert opened(write(tmp_path / "b.h5", clips[0], clips[0] + "2"))


def test_splits_made_of_links_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "all/a", "all/b")
    changed(path, lambda file: file.create_group("train").__setitem__("a", h5py.SoftLink("/all/a")))
    changed(path, lambda file: file.create_group("dev").__setitem__("b", file["all/b"]))
    with pytest.raises(DataError, match=r"dev, train|train, dev"):
        open_corpus(path)


def test_what_lies_besides_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "day/a", "day/b")

    def change(file: Any) -> None:
        for clip in ("a", "b"):
            file[f"day/{clip}/video"] = np.ones(3)
        file["day/a"].create_group("camera")["matrix"] = np.ones(3)
        file["day/a/gone"] = h5py.SoftLink("/nowhere")
        file["day/a"].attrs["box"] = np.ones(4)
        file["day/b/features"].attrs["rate"] = 25
        file["day"].attrs["date"] = "today"

    contents = opened(changed(path, change)).contents
    assert (contents.groups, contents.used_groups) == (4, 3)
    assert (contents.datasets, contents.used_datasets) == (5, 2)
    assert contents.besides == {
        "video": 2,
        "camera": 1,
        "gone": 1,
        "attribute 'box'": 1,
        "attributes of 'features'": 1,
        "attributes of groups above clips": 1,
    }
    assert "3 of 4 groups and 2 of 5 datasets are used; not read: video (2 times), " in str(contents)


def test_groups_of_any_depth_are_walked(tmp_path: Path) -> None:
    name = "/".join(["a"] * 1500)
    assert opened(write(tmp_path / "a.h5", name)).ids == (name,)


def test_one_group_without_features_hides_no_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "a", "bad/below", "z")
    changed(path, lambda file: file["bad"].__setitem__("fbank", np.ones(3)))
    refused: list[DataError] = []
    assert opened(path, refused).ids == ("a", "bad/below", "z")
    assert "clip 'bad': no dataset 'features'; there is: below, fbank" in str(refused[0])
