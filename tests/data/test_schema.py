import h5py
import numpy as np
import pytest

from ctckit.data import open_corpus
from ctckit.errors import DataError


def test_unknown_layout_says_what_was_found(tmp_path):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["data"] = np.ones((5, 4), np.float32)
    with pytest.raises(DataError, match=r"unknown layout: datasets at the top level \(data float32 \[5, 4\]\)"):
        open_corpus(tmp_path / "c.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.attrs.__setitem__("version", 2), "corpus format 2, but this ctckit reads format 1; upgrade"),
        (lambda f: f.attrs.__setitem__("unit", "phone"), "unknown unit 'phone'"),
        (lambda f: f.pop("offsets"), "'offsets' is missing"),
        (
            lambda f: f["targets"].__setitem__(0, 0),
            "clip 'clip00': target 0 is the blank, which no target may hold",
        ),
        (lambda f: f["targets"].__setitem__(-1, 9), "clip 'clip36': target 9 is not in 1 .. 4"),
        (lambda f: f["offsets"].__setitem__(-1, 1), "'offsets' does not fit its data"),
        (lambda f: f["offsets"].__setitem__(1, 9999), "'offsets' does not rise"),
        (lambda f: f["offsets"].__setitem__(2, f["offsets"][1]), "clip 'clip01': no frames"),
        (lambda f: f["target_offsets"].__setitem__(1, 0), "clip 'clip00': no transcript"),
        (lambda f: f["ids"].__setitem__(1, "clip00"), "some clip ids occur twice"),
        (lambda f: f["alphabet"].__setitem__(0, "one"), "the alphabet must begin with '<blank>', class 0"),
    ],
)
def test_damaged_corpus_files(packed, tmp_path, change, message):
    path = tmp_path / "c.h5"
    path.write_bytes(packed.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message) as caught:
        open_corpus(path)
    assert str(path) in str(caught.value)
