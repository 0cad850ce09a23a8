"""Transcripts of a corpus as class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import Alphabet
from ctckit.data.dataset import Corpus
from ctckit.errors import DataError


@dataclass(frozen=True, slots=True)
class Infeasible:
    """A clip that is too short for its labels.

    Attributes:
        clip_id: the clip.
        frames: input frames.
        output_frames: frames after subsampling.
        labels: length of the target.
        repeats: adjacent equal labels, each of which needs a blank between.
    """

    clip_id: str
    frames: int
    output_frames: int
    labels: int
    repeats: int

    def __str__(self) -> str:
        return (
            f"clip '{self.clip_id}' has no CTC path: T={self.output_frames} output frames "
            f"(of {self.frames}), U={self.labels} labels, {self.repeats} repeats, and T >= U + repeats must hold"
        )


@dataclass(frozen=True)
class Targets:
    """Targets of all clips of a corpus, laid end to end.

    Attributes:
        values: int64 [sum of U], classes; never the blank.
        offsets: int64 [N + 1], clip n owns ``values[offsets[n] : offsets[n + 1]]``.
        unknown: (clip number, token) of every token that the alphabet lacks and that was left out, in order;
            empty unless `encode_targets` was told to leave such tokens out.
    """

    values: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    unknown: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.int64]:
        """Targets of one clip, int64 [U]."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each clip, int64 [N]."""
        return np.diff(self.offsets)

    @property
    def repeats(self) -> npt.NDArray[np.int64]:
        """Adjacent equal labels of each clip, int64 [N]; CTC has a path iff ``T_out >= U + repeats``."""
        values, offsets = self.values, self.offsets
        # same[i] compares value i with i - 1; pairs across a clip border are struck out.
        same = np.zeros(len(values) + 1, dtype=np.int64)
        same[1:-1] = values[1:] == values[:-1]
        same[offsets] = 0
        running = np.concatenate(([0], np.cumsum(same[:-1])))
        return np.diff(running[offsets])

    @property
    def needed_frames(self) -> npt.NDArray[np.int64]:
        """Fewest output frames with which each clip has a CTC path, int64 [N]: ``U + repeats``."""
        return self.lengths + self.repeats

    def infeasible(
        self, ids: Sequence[str], frame_counts: npt.NDArray[np.int64], output_frames: npt.NDArray[np.int64]
    ) -> dict[int, Infeasible]:
        """Find the clips without a CTC path, by number.

        A path exists iff the output has at least as many frames as the target has labels plus adjacent repeats.
        Other toolkits use ``T >= U``, ``T >= 2U + 1`` or the length before subsampling; all three are wrong.

        Args:
            ids: of the clips.
            frame_counts: int64 [N], input frames.
            output_frames: int64 [N], frames after the model's subsampling.
        """
        lengths, repeats = self.lengths, self.repeats
        return {
            clip: Infeasible(
                ids[clip], int(frame_counts[clip]), int(output_frames[clip]), int(lengths[clip]), int(repeats[clip])
            )
            for clip in np.flatnonzero(output_frames < self.needed_frames).tolist()
        }


def encode_targets(corpus: Corpus, alphabet: Alphabet, *, leave_out_unknown: bool = False) -> Targets:
    """Encodes the transcript of every clip.

    Args:
        corpus: the clips.
        alphabet: the model's labels, as a rule those of the training corpus.
        leave_out_unknown: for scoring a test corpus with words that training never saw. Such tokens are left
            out of the targets and listed in `Targets.unknown`; references for the error rate come from
            `Corpus.transcript` and keep them, so each counts as an error.

    Raises:
        DataError: a token is not in the alphabet; names file, clip, token and a near miss.
    """
    encoded: list[npt.NDArray[np.int64]] = []
    unknown: list[tuple[int, str]] = []
    for index, clip in enumerate(corpus.ids):
        tokens = corpus.transcript(index)
        if leave_out_unknown:
            unknown.extend((index, token) for token in tokens if token not in alphabet)
            tokens = tuple(token for token in tokens if token in alphabet)
        try:
            encoded.append(alphabet.encode(tokens, f"{corpus.path}: clip {clip!r}"))
        except DataError as error:
            others = _count_unknown(corpus, alphabet)
            raise DataError(f"{error}{others}") from None
    lengths = [len(target) for target in encoded]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return Targets(np.concatenate(encoded), offsets, tuple(unknown))


def _count_unknown(corpus: Corpus, alphabet: Alphabet) -> str:
    kinds: set[str] = set()
    for index in range(len(corpus)):
        kinds.update(token for token in corpus.transcript(index) if token not in alphabet)
    return f" ({len(kinds)} unknown tokens in the file, see `ctckit data inspect`)" if len(kinds) > 1 else ""
