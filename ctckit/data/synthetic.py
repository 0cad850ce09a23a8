"""Simulated features of any size, for measuring speed and memory, never for claiming accuracy.

Every label has three states; a state has a mean vector. A clip is the trajectory of its states' means,
smoothed over a few frames (coarticulation), plus a shift of its signer, plus noise. Files are marked as
simulated.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import h5py
import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import Alphabet
from ctckit.data.writer import CorpusWriter, FeatureType
from ctckit.errors import ConfigError, DataError, reason_of

STATES: Final = 3
SMOOTHING: Final = 2
"""Frames on either side over which the means are averaged."""

SIGNER_SHIFT: Final = 0.3
"""Standard deviation of a signer's shift; that of the state means is 1."""

Part = Literal["train", "dev", "test"]
_PARTS: Final = {"train": 0, "dev": 1, "test": 2}
_LABEL_KEYS: Final = ("ids", "glosses", "offsets", "gloss_state", "signers")

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


@dataclass(frozen=True)
class SyntheticSpec:
    """Size of a simulated corpus; the defaults are those of continuous sign language.

    Attributes:
        clips: N.
        feature_size: F.
        classes: C, blank included. Labels are drawn with a Zipf law, as words are.
        frames: fewest and most frames of a clip.
        labels: fewest and most labels of a clip.
        signers: attribute ``signer`` takes so many values.
        noise: standard deviation of the noise on every value; that of the state means is 1.
        seed: equal seeds give equal files, and the same labels look alike in all parts.
        part: clips of different parts are drawn independently.
        dtype: how features are stored.
    """

    clips: int = 4384
    feature_size: int = 1024
    classes: int = 966
    frames: tuple[int, int] = (300, 400)
    labels: tuple[int, int] = (4, 12)
    signers: int = 9
    noise: float = 1.0
    seed: int = 0
    part: Part = "train"
    dtype: FeatureType = "float16"

    def __post_init__(self) -> None:
        for name in ("clips", "feature_size", "signers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is at least 1")
        if self.classes < 2:
            raise ConfigError(f"classes is {self.classes}; it is at least 2, blank and one label")
        for name, (least, most) in (("frames", self.frames), ("labels", self.labels)):
            if not 1 <= least <= most:
                raise ConfigError(f"{name} is {least} to {most}; give the fewest, at least 1, then the most")
        if self.frames[0] < STATES * self.labels[1]:
            raise ConfigError(
                f"frames starts at {self.frames[0]}, but {self.labels[1]} labels take at least "
                f"{STATES * self.labels[1]} frames; raise frames or lower labels"
            )
        if self.noise < 0 or self.seed < 0:
            raise ConfigError("noise and seed are at least 0")
        if self.part not in _PARTS:
            raise ConfigError(f"part is {self.part!r}; it is train, dev or test")


def simulate(path: Path, spec: SyntheticSpec, *, overwrite: bool = False, progress: Progress | None = None) -> None:
    """Writes a corpus of random label sequences, in constant memory.

    Args:
        path: the file to make.
        spec: its size.
        overwrite: replace an existing file.
        progress: told about every clip.

    Raises:
        DataError: the file cannot be written.
    """
    labels = [f"G{number:04d}" for number in range(1, spec.classes)]
    weights = 1.0 / np.arange(1, spec.classes)
    weights /= weights.sum()
    voice = _Voice(spec.feature_size, STATES * spec.classes, spec.seed, spec.noise)
    with CorpusWriter(
        path,
        spec.feature_size,
        alphabet=Alphabet(labels),
        dtype=spec.dtype,
        simulated=True,
        notes={"source": f"simulated features, random labels, seed {spec.seed}", "split": spec.part},
        overwrite=overwrite,
    ) as writer:
        for clip in range(spec.clips):
            rng = np.random.default_rng((spec.seed, 2, _PARTS[spec.part], clip))
            frames = int(rng.integers(*spec.frames, endpoint=True))
            count = int(rng.integers(*spec.labels, endpoint=True))
            chosen = rng.choice(len(labels), size=count, p=weights)
            states = _random_durations(chosen, frames, rng)
            signer = f"simulated{int(rng.integers(spec.signers)) + 1:02d}"
            writer.add(
                f"{spec.part}-{clip:05d}",
                voice.speak(states, signer, rng),
                [labels[label] for label in chosen],
                {"signer": signer},
            )
            if progress is not None:
                progress(clip + 1, spec.clips)


def simulate_from_labels(
    path: Path,
    labels: Path,
    *,
    feature_size: int = 1024,
    noise: float = 1.0,
    seed: int = 0,
    max_clips: int | None = None,
    dtype: FeatureType = "float16",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes a corpus with real label sequences and durations and simulated features, in constant memory.

    Files made with one seed belong together: states and signers look alike in all of them.

    Args:
        path: the file to make.
        labels: HDF5 with ``ids``, ``glosses`` (a text a clip), ``signers``, ``offsets`` [N + 1] and
            ``gloss_state``, the state of every frame, 0 for none.
        feature_size: F.
        noise: standard deviation of the noise on every value; that of the state means is 1.
        seed: see above.
        max_clips: take the first so many; None takes all.
        dtype: how features are stored.
        overwrite: replace an existing file.
        progress: told about every clip.

    Raises:
        ConfigError: a number is out of range.
        DataError: the labels cannot be read or contradict one another, or the file cannot be written.
    """
    if feature_size < 1 or noise < 0 or seed < 0 or (max_clips is not None and max_clips < 1):
        raise ConfigError("feature_size and max_clips are at least 1, noise and seed at least 0")
    ids, glosses, signers, offsets, states = _read_labels(Path(labels))
    take = len(ids) if max_clips is None else min(max_clips, len(ids))
    voice = _Voice(feature_size, int(states.max()) + 1, seed, noise)
    with CorpusWriter(
        path,
        feature_size,
        dtype=dtype,
        simulated=True,
        notes={"source": f"simulated features, labels and durations of {Path(labels).name}, seed {seed}"},
        overwrite=overwrite,
    ) as writer:
        for clip in range(take):
            rng = np.random.default_rng((seed, 3, zlib.crc32(ids[clip].encode())))
            span = states[offsets[clip] : offsets[clip + 1]]
            features = voice.speak(span, signers[clip], rng)
            writer.add(ids[clip], features, glosses[clip].split(), {"signer": signers[clip]})
            if progress is not None:
                progress(clip + 1, take)


class _Voice:
    """The random vectors that a corpus is made of, and how a clip comes out of them."""

    def __init__(self, feature_size: int, states: int, seed: int, noise: float) -> None:
        self._size = feature_size
        self._seed = seed
        self._noise = np.float32(noise)
        # Row by row from one stream: state n looks alike however many states there are.
        self._means = np.random.default_rng((seed, 0)).standard_normal((states, feature_size), dtype=np.float32)
        self._means[0] = 0.0
        self._signers: dict[str, npt.NDArray[np.float32]] = {}

    def speak(
        self, states_T: npt.NDArray[np.int64], signer: str, rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        frames = len(states_T)
        padded = np.pad(states_T, SMOOTHING, mode="edge")
        width = 2 * SMOOTHING + 1
        out = rng.standard_normal((frames, self._size), dtype=np.float32)
        out *= self._noise
        for offset in range(width):
            out += self._means[padded[offset : offset + frames]] / np.float32(width)
        out += self._shift(signer)
        return out

    def _shift(self, signer: str) -> npt.NDArray[np.float32]:
        # By name, not by place: train and dev agree on how a signer looks.
        if signer not in self._signers:
            rng = np.random.default_rng((self._seed, 1, zlib.crc32(signer.encode())))
            shift = rng.standard_normal(self._size, dtype=np.float32)
            self._signers[signer] = shift * np.float32(SIGNER_SHIFT)
        return self._signers[signer]


def _random_durations(
    labels: npt.NDArray[np.int64], frames: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """State of every frame, int64 [frames]; 0 is the rest between labels, every state lasts at least one."""
    parts = len(labels) * (STATES + 1) + 1
    shares = rng.dirichlet(np.full(parts, 2.0))
    slack = frames - STATES * len(labels)
    ends = np.round(np.cumsum(shares) * slack).astype(np.int64)
    durations = np.diff(ends, prepend=0)
    states = np.zeros(parts, dtype=np.int64)
    for place, label in enumerate(labels):
        first = place * (STATES + 1) + 1
        states[first : first + STATES] = 1 + label * STATES + np.arange(STATES)
        durations[first : first + STATES] += 1
    return np.repeat(states, durations)


def _read_labels(
    path: Path,
) -> tuple[Sequence[str], Sequence[str], Sequence[str], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            missing = [key for key in _LABEL_KEYS if key not in file]
            if missing:
                raise DataError(
                    f"{path}: no dataset {missing[0]!r}; there is: {', '.join(file) or 'nothing'} (a file of "
                    "labels "
                    f"holds {', '.join(_LABEL_KEYS)})"
                )
            ids, glosses, signers = (
                [text.decode("utf-8") for text in file[key][()]] for key in ("ids", "glosses", "signers")
            )
            offsets, states = (file[key][()].astype(np.int64) for key in ("offsets", "gloss_state"))
    except OSError as error:
        reason = reason_of(error)
        raise DataError(f"{path}: damaged or not an HDF5 file ({reason}); copy it again") from error
    fits = 0 < len(ids) == len(glosses) == len(signers) == len(offsets) - 1
    if not fits or offsets[0] != 0 or offsets[-1] != len(states) or (np.diff(offsets) < 1).any():
        raise DataError(f"{path}: {', '.join(_LABEL_KEYS)} do not fit together; copy the file again")
    return ids, glosses, signers, offsets, states
