r"""How far aligned segments lie from where words begin and end, on data where that is known.

The embedded digits, of which ctckit draws the columns itself::

    ctckit train --plugin hierarchical_adaptive --set seed=1 --threads 1 --out runs/digits
    python benchmarks/alignment.py digits runs/digits --part test

Glosses of PHOENIX-2014T with an HMM state for each frame: one-hot mouth and hand shapes, 104 wide, real durations.
The streams were aligned with the true glosses in hand, so figures compare ways to segment and are no result on sign
language. LABELS is a folder with ``train.h5``, ``dev.h5``, ``test.h5``, each of which holds ids, signers, glosses,
offsets, gloss_state, mouth_shape, hand_shape::

    python benchmarks/alignment.py write LABELS corpora --clips 4000
    ctckit train --plugin hierarchical_adaptive --data corpora/train.h5 --dev corpora/dev.h5 --threads 1 \
        --set model.hidden_size=96 --set model.subsampling=1 --set batch_size=8 --set seed=1 \
        --set phases.takeoff.epochs=4 --set phases.training.epochs=4 --out runs/phoenix
    python benchmarks/alignment.py LABELS runs/phoenix --part test --clips 150

Clips whose states do not give as many glosses as the transcript, or with a label that the run lacks, are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from ctckit import ops
from ctckit.alignment import align_transcripts
from ctckit.data import CorpusWriter
from ctckit.data.clips import StoredClip
from ctckit.data.demo import DIGIT_COLUMNS, demo_lines
from ctckit.recogniser import Clip, Recogniser, load

MOUTHS, HANDS, STATES = 40, 64, 3


class Known(NamedTuple):
    """A clip of which it is known where its tokens lie, in frames."""

    clip: StoredClip
    signer: str
    spans: tuple[tuple[int, int], ...]


def digits(part: str) -> Iterator[Known]:
    for line in demo_lines(part):
        spans = tuple((start, start + DIGIT_COLUMNS) for start in line.starts)
        yield Known(StoredClip(line.clip_id, line.features_TF, line.digits), "", spans)


def phoenix(labels: Path, part: str) -> Iterator[Known]:
    with h5py.File(labels / f"{part}.h5") as file:
        ids, glosses, signers = ([text.decode() for text in file[key][()]] for key in ("ids", "glosses", "signers"))
        states, mouths, hands = (file[key][()].astype(int) for key in ("gloss_state", "mouth_shape", "hand_shape"))
        offsets = file["offsets"][()]
    for number, clip_id in enumerate(ids):
        here = slice(offsets[number], offsets[number + 1])
        features_TF = np.concatenate([np.eye(MOUTHS)[mouths[here]], np.eye(HANDS)[hands[here]]], 1)
        clip = StoredClip(clip_id, features_TF.astype(np.float32), tuple(glosses[number].split()))
        yield Known(clip, signers[number], runs(states[here]))


def runs(states_T: np.ndarray[Any, Any]) -> tuple[tuple[int, int], ...]:
    """First frame and the one after the last of each gloss; frames without a state between two of a gloss count."""
    owned = [(frame, (state - 1) // STATES) for frame, state in enumerate(states_T) if state]
    found = []
    for _, group in groupby(owned, key=lambda pair: pair[1]):
        frames = [frame for frame, _ in group]
        found.append((frames[0], frames[-1] + 1))
    return tuple(found)


def peaks(recogniser: Recogniser, clip: StoredClip, spans: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """The frame of each token's highest posterior within its span on the best path."""
    logits_TBC, lengths_B = recogniser.logits(recogniser.prepared(Clip(clip.clip_id, clip.features_TF)))
    scale = len(clip.features_TF) / int(lengths_B[0])
    probabilities_TC = ops.penalized_log_softmax(logits_TBC, recogniser.trained.shift)[:, 0].exp()
    found = []
    for token, (start, end) in zip(clip.reference or (), spans, strict=True):
        first = int(start / scale)
        column = probabilities_TC[first : max(round(end / scale), first + 1), recogniser.tokens.index(token)]
        at = (first + int(column.argmax())) * scale
        found.append((at, at + scale))
    return found


def measure(recogniser: Recogniser, known: list[Known], correction: float) -> dict[str, np.ndarray[Any, Any]]:
    """Signed errors [tokens, start and end] in frames of each way to segment."""
    clips = [one.clip for one in known]
    segments: dict[str, list[list[tuple[float, float]]]] = {}
    for name in ("path", "starts", "durations"):
        moved = correction if name == "starts" else 0.0
        found = align_transcripts(recogniser, clips, [], segments=name, correction=moved)  # type: ignore[arg-type]
        segments[name] = [list(zip(one.starts, one.ends, strict=True)) for one in found]
    segments = {
        "peak": [peaks(recogniser, *one) for one in zip(clips, segments["path"], strict=True)],
        **segments,
    }
    truth = np.array([span for one in known for span in one.spans], float)
    return {name: np.array([span for one in rows for span in one]) - truth for name, rows in segments.items()}


def write(labels: Path, out: Path, clips: int) -> None:
    for part, take in (("train", clips), ("dev", 200), ("test", 400)):
        with CorpusWriter(out / f"{part}.h5", MOUTHS + HANDS, overwrite=True) as writer:
            for one, _ in zip(phoenix(labels, part), range(take), strict=False):
                writer.add(one.clip.clip_id, one.clip.features_TF, one.clip.reference or (), {"signer": one.signer})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="digits, a folder of labels, or write")
    parser.add_argument("run", type=Path, help="of ctckit train; the folder of labels after write")
    parser.add_argument("out", type=Path, nargs="?", help="folder for the corpora, after write")
    parser.add_argument("--part", default="test", choices=["dev", "test"])
    parser.add_argument("--clips", type=int, default=200, help="to measure, or to write for training")
    parser.add_argument("--correction", type=float, default=0.0, help="of starts, frames")
    arguments = parser.parse_args()
    if arguments.source == "write":
        write(arguments.run, arguments.out, arguments.clips)
        return
    recogniser = load(arguments.run, "cpu")
    source = (
        digits(arguments.part) if arguments.source == "digits" else phoenix(Path(arguments.source), arguments.part)
    )
    usable = (
        one
        for one in source
        if len(one.spans) == len(one.clip.reference or ())
        and set(one.clip.reference or ()) <= set(recogniser.tokens)
    )
    known = [one for one, _ in zip(usable, range(arguments.clips), strict=False)]
    measured = measure(recogniser, known, arguments.correction)
    print(f"{len(known)} clips of {arguments.part}, {len(measured['path'])} tokens; mean error (bias) in frames")
    for name, errors in measured.items():
        (start, end), (late, early) = np.abs(errors).mean(0), errors.mean(0)
        print(f"{name:<10}  starts {start:6.2f} ({late:+.2f})  ends {end:6.2f} ({early:+.2f})")


if __name__ == "__main__":
    main()
