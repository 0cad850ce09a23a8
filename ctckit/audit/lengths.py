"""Frames against labels: which clips have a path, how much room there is, and where the loss will stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from ctckit.data import Corpus, Targets
from ctckit.data.statistics import QUANTILES
from ctckit.feasibility import infeasible_clips
from ctckit.interfaces import Model
from ctckit.plateau import uniform_loss, unigram_plateau
from ctckit.types import Finding, Severity

IDS = 20
"""Clip ids that a finding lists at most."""

CROWDED = 2.0
"""Output frames per needed frame, at the median, below which labels crowd one another."""


def check_lengths(
    name: str, corpus: Corpus, targets: Targets, model: Model, *, infeasible: Severity, plateau: int | None
) -> Iterator[Finding]:
    """Check the lengths of a corpus by the model's own length map.

    Args:
        name: of the corpus.
        corpus: the clips.
        targets: of the corpus.
        model: whose ``output_lengths`` counts.
        infeasible: how grave a clip without a path is.
        plateau: classes of the alphabet, to compute the losses at the start; None leaves them out.
    """
    prefix = "" if name == "train" else f"{name}: "
    labels = [targets[index].tolist() for index in range(len(targets))]
    found = infeasible_clips(model, corpus, targets)
    if found:
        tokens = int(targets.lengths.sum())
        lost = sum(clip.labels for clip in found.values())
        first = next(iter(found.values()))
        ids = ", ".join(clip.clip_id for clip in list(found.values())[:IDS])
        yield Finding(
            "infeasible_clips",
            infeasible,
            f"{prefix}{len(found)} of {len(corpus)} clips have no CTC path ({100.0 * lost / tokens:.2f} % of the "
            f"tokens, whose loss is infinite): {first}",
            {
                "clips": len(found),
                "share": 100.0 * len(found) / len(corpus),
                "loss_share": 100.0 * lost / tokens,
                "ids": ids,
            },
            "reduce the subsampling, mend the clips, or leave them out with --set data.infeasible=drop",
            "docs/founding-document.md C3, C5 (T_out >= U + repeats)",
        )
    # a clip whose labels are all unknown to the alphabet has none left
    kept = [index for index in range(len(corpus)) if index not in found and labels[index]]
    if not kept:
        return
    out = model.output_lengths(torch.from_numpy(corpus.frame_counts[kept])).numpy()
    yield from _room(prefix, out, targets.lengths[kept], targets.needed_frames[kept])
    if plateau is not None:
        yield from _losses(out.tolist(), [labels[index] for index in kept], plateau)


def _room(
    prefix: str, out: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], needed: npt.NDArray[np.int64]
) -> Iterator[Finding]:
    ratios = np.quantile(out / lengths, QUANTILES)
    frames_per_label = float(out.sum() / lengths.sum())
    reference = 100.0 * (1.0 - 1.0 / frames_per_label)
    least, *_, most = ratios
    crowded = float(np.median(out / needed)) < CROWDED
    names = [f"q{round(100 * q):02d}" for q in QUANTILES]
    yield Finding(
        "frames_per_label",
        "warning" if crowded else "info",
        f"{prefix}T/U is {frames_per_label:.1f} output frames a label ({least:.1f} to {most:.1f} in a clip); "
        f"perfect one-frame spikes have {reference:.1f} % blanks (1 - U/T)",
        {
            "frames_per_label": frames_per_label,
            "blank_reference": reference,
            **{name: float(value) for name, value in zip(names, ratios, strict=True)},
            "median_of_needed": float(np.median(out / needed)),
        },
        "labels crowd one another: reduce the subsampling" if crowded else "",
        "docs/founding-document.md C2",
    )


def _losses(frames: Sequence[int], labels: Sequence[Sequence[int]], classes: int) -> Iterator[Finding]:
    plateau = unigram_plateau(frames, labels, classes)
    start = uniform_loss(frames, labels, classes)
    yield Finding(
        "unigram_plateau",
        "info",
        f"a network that ignores its input reaches {plateau:.2f} nats per token; within 3 % nothing is learnt",
        {"plateau_loss": plateau, "classes": classes},
        "",
        "docs/founding-document.md C2",
    )
    yield Finding(
        "initial_loss",
        "info",
        f"uniform output costs {start:.1f} nats per token, {start / max(plateau, 1e-9):.0f} times the plateau",
        {"uniform_loss": start, "plateau_loss": plateau},
        "a first loss far above it means features out of scale; far below, a model that is not untrained",
        "docs/founding-document.md C2",
    )
