"""The embedded corpus: lines of handwritten digits, made from scikit-learn's bundled images.

Real handwriting of the UCI optical digits (8 x 8 pixels, 16 grey levels), joined into lines. A frame is a
column of pixels, so F is 8. Images are disjoint between train, dev and test: a digit seen in training never
appears in a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import Alphabet
from ctckit.data.writer import CorpusWriter
from ctckit.errors import DataError

LINES: Final = {"train": 2000, "dev": 200, "test": 300}
IMAGE_SHARES: Final = {"train": 0.7, "dev": 0.1, "test": 0.2}
DIGITS_PER_LINE: Final = (3, 8)
LARGEST_GAP: Final = 3
PIXEL_MAX: Final = 16.0
DIGIT_COLUMNS: Final = 8


@dataclass(frozen=True)
class DemoPaths:
    """The three files of the demo corpus."""

    train: Path
    dev: Path
    test: Path


@dataclass(frozen=True)
class DemoLine:
    """A line of digits.

    Attributes:
        clip_id: of the line.
        features_TF: columns of pixels, float32.
        digits: of its transcript.
        starts: first column of each digit, which is `DIGIT_COLUMNS` wide.
    """

    clip_id: str
    features_TF: npt.NDArray[np.float32]
    digits: tuple[str, ...]
    starts: tuple[int, ...]


def build_demo(folder: Path, *, seed: int = 0, overwrite: bool = True) -> DemoPaths:
    """Builds the demo corpus; the same seed gives the same files.

    A line is 3 to 8 digits with 0 to 3 empty columns between them, at a random height of one pixel up or
    down, pixels scaled to 0 .. 1. Transcripts are the digits as words.

    Args:
        folder: gets ``train.h5``, ``dev.h5`` and ``test.h5``; made where missing.
        seed: of the draw.
        overwrite: replace existing files.

    Raises:
        DataError: scikit-learn is missing, or the folder cannot be written.
    """
    folder = Path(folder)
    lines = {part: demo_lines(part, seed=seed) for part in LINES}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
    alphabet = Alphabet(str(digit) for digit in range(10))
    for part, drawn in lines.items():
        with CorpusWriter(
            folder / f"{part}.h5",
            drawn[0].features_TF.shape[1],
            alphabet=alphabet,
            notes={
                "corpus": "lines of handwritten digits",
                "source": "UCI optical recognition of handwritten digits, as bundled with scikit-learn",
                "split": part,
            },
            overwrite=overwrite,
        ) as writer:
            for line in drawn:
                writer.add(line.clip_id, line.features_TF, line.digits)
    return DemoPaths(*(folder / f"{part}.h5" for part in LINES))


def demo_lines(part: str, *, seed: int = 0) -> list[DemoLine]:
    """Draws the lines of one part of the demo corpus.

    Args:
        part: ``train``, ``dev`` or ``test``.
        seed: of the draw.

    Raises:
        DataError: scikit-learn is missing.
    """
    images, labels = _digits()
    order = np.random.default_rng((seed, 0)).permutation(len(images))
    cuts = np.cumsum([int(len(images) * share) for share in IMAGE_SHARES.values()])[:-1]
    pools = dict(zip(IMAGE_SHARES, np.split(order, cuts), strict=True))
    rng = np.random.default_rng((seed, 1 + list(LINES).index(part)))
    drawn = []
    for line in range(LINES[part]):
        chosen = rng.choice(pools[part], size=rng.integers(*DIGITS_PER_LINE, endpoint=True))
        features_TF, starts = _join(images[chosen], rng)
        digits = tuple(str(labels[image]) for image in chosen)
        drawn.append(DemoLine(f"{part}-{line:04d}", features_TF, digits, starts))
    return drawn


def _digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "the demo corpus is made from scikit-learn's digits, and scikit-learn is not installed; "
            "pip install 'ctckit[demo]'"
        ) from error
    bundle = load_digits()
    return (bundle.images / PIXEL_MAX).astype(np.float32), bundle.target.astype(np.int64)


def _join(
    images_NHW: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], tuple[int, ...]]:
    """Sets images side by side; returns columns as frames, float32 [T, H], and each image's first."""
    height = images_NHW.shape[1]
    columns: list[npt.NDArray[np.float32]] = []
    starts = []
    for image_HW in images_NHW:
        shift = int(rng.integers(-1, 1, endpoint=True))
        # Rows that leave the picture on one side do not come back on the other.
        shifted = np.zeros_like(image_HW)
        shifted[max(shift, 0) : height + min(shift, 0)] = image_HW[max(-shift, 0) : height - max(shift, 0)]
        starts.append(sum(map(len, columns)))
        columns.append(shifted.T)
        columns.append(np.zeros((int(rng.integers(0, LARGEST_GAP, endpoint=True)), height), np.float32))
    return np.concatenate(columns[:-1]), tuple(starts)
