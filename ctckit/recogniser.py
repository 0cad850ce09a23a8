"""Recognition with a trained run: arrays in, tokens with times and confidences out. No transcript is needed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ctckit import ops
from ctckit.data import BatchPlan
from ctckit.decode import hypotheses
from ctckit.devices import choose_device
from ctckit.errors import ConfigError, DataError
from ctckit.guidance import Wanted, guide
from ctckit.lm import LanguageModel
from ctckit.loss import naming_diverged
from ctckit.search import Search, decode_logits
from ctckit.trained import Trained, load_trained
from ctckit.types import Batch, Hypothesis

Features = npt.NDArray[Any] | Tensor
"""Features of one clip as they come out of the extractor, [T, F]."""

AHEAD = 12
"""Batches whose clips are sorted by length together where clips come as a stream."""


class Clip(NamedTuple):
    """A clip to recognise."""

    clip_id: str
    features_TF: Features


class Recogniser:
    """A trained model that decodes, as ``ctckit evaluate`` does, with its feature preparation.

    Nothing in it changes after loading, so threads may share it. A clip gives the same tokens alone and in any
    batch.

    Args:
        trained: the model and what belongs to it, on ``device``, in evaluation mode.
        device: where the model is.
        frame_rate: input frames a second; None takes the run's ``data.frame_rate``, which may be unknown.
        search: how to decode; None takes the best class of each frame.

    Raises:
        ConfigError: the frame rate is none.
    """

    def __init__(
        self,
        trained: Trained,
        device: torch.device,
        *,
        frame_rate: float | None = None,
        search: Search | None = None,
    ) -> None:
        if frame_rate is not None and not 0 < frame_rate < math.inf:
            raise ConfigError(f"the frame rate is {frame_rate}; it is above 0, in frames a second")
        self.trained = trained
        self.device = device
        self.search = search
        self.frame_rate = trained.config.data.frame_rate if frame_rate is None else frame_rate

    @property
    def tokens(self) -> tuple[str, ...]:
        """Label of every class, blank first."""
        return self.trained.tokens

    @property
    def feature_size(self) -> int:
        """F, columns of the features that a clip must have."""
        return self.trained.pipeline.feature_size

    def searching(self, wanted: Wanted) -> Recogniser:
        """Return the same model with a beam search; what binds a language model to its alphabet is done once, here.

        Raises:
            ConfigError: see ``guidance.guide``, as for the next.
            DataError: a file cannot be used.
        """
        unit = self.trained.config.data.unit
        guided = guide(wanted, self.tokens, unit, self.trained.tuned)
        for note in guided.notes:
            warnings.warn(note, stacklevel=3)
        return Recogniser(self.trained, self.device, frame_rate=self.frame_rate, search=guided.search)

    def __call__(
        self,
        clips: Features | Sequence[Features] | Batch,
        *,
        clip_ids: Sequence[str] | None = None,
        beam: int | None = None,
        lm: LanguageModel | str | Path | None = None,
        lm_weight: float | None = None,
        insertion_bonus: float | None = None,
        hotwords: Mapping[str, float] | None = None,
        best: int | None = None,
    ) -> list[Hypothesis]:
        """Recognise one clip or several.

        Args:
            clips: features [T, F] of one clip, numbers of any type, as in the training corpus (neither normalised
                nor with deltas: that is done here); or a sequence of such arrays, of any lengths; or a ``Batch`` as
                ctckit's loaders yield it, which is prepared already.
            clip_ids: names for messages and for ``Hypothesis.clip_id``; by default "0", "1", ...
            beam: width of a beam search; greedy where neither it nor anything below is given. Who decodes more than
                once prepares the search once, by ``searching``.
            lm: language model, or its file.
            lm_weight: of its log-probabilities; as tuned, or 0.5.
            insertion_bonus: for each token or word, nats; as tuned, or 0.
            hotwords: phrases to favour, with the boost of each of their tokens, nats.
            best: hypotheses in ``Hypothesis.alternatives``, at most.

        Returns:
            One hypothesis a clip, in the order given.

        Raises:
            DataError: names the clips that cannot be used, up to five: shape, values that are not finite, too
                few frames.
            TrainingError: the model gives logits that are not numbers.
        """
        wanted = Wanted(beam, None, best, lm, lm_weight, insertion_bonus, hotwords=hotwords or {})
        if wanted.anything:
            return self.searching(wanted)(clips, clip_ids=clip_ids)
        if isinstance(clips, Batch):
            return self._decode(clips)
        if isinstance(clips, np.ndarray | Tensor):
            clips = [clips]
        names = [str(number) for number in range(len(clips))] if clip_ids is None else list(clip_ids)
        if len(names) != len(clips):
            raise DataError(f"{len(names)} clip ids are given for {len(clips)} clips")
        faults: list[DataError] = []
        found = list(self.stream(map(Clip, names, clips), faults))
        if faults:
            shown = "; ".join(str(fault) for fault in faults[:5])
            raise DataError(shown + (f"; so have {len(faults) - 5} more" if len(faults) > 5 else ""))
        return found

    def stream(self, clips: Iterable[Clip], faults: list[DataError]) -> Iterator[Hypothesis]:
        """Recognise clips as they come, in bounded memory.

        Args:
            clips: any number; a few batches of them are held at a time.
            faults: gets what is wrong with each clip that cannot be used, which is then left out.

        Yields:
            One hypothesis for each other clip, in the order given.
        """
        usable = self._usable(clips, faults)
        config = self.trained.config
        while window := list(islice(usable, AHEAD * config.batch_size)):
            frames = np.array([len(features) for _, features in window])
            plan = BatchPlan(
                frames,
                batch_size=config.batch_size,
                max_batch_frames=config.max_batch_frames,
                shuffle=False,
                seed=0,
            )
            found: dict[int, Hypothesis] = {}
            for numbers in plan.batches(0):
                batch = _padded([window[number] for number in numbers])
                found.update(zip(numbers.tolist(), self._decode(batch), strict=True))
            yield from (found[number] for number in range(len(window)))

    def _usable(
        self, clips: Iterable[Clip], faults: list[DataError]
    ) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        for clip_id, features in clips:
            try:
                checked = _checked(features, self.feature_size, f"clip {clip_id!r}")
                if int(self.trained.model.output_lengths(torch.tensor([len(checked)]))) < 1:
                    raise DataError(
                        f"clip {clip_id!r}: {len(checked)} frames are too few for the model's subsampling"
                    )
            except DataError as error:
                faults.append(error)
                continue
            yield clip_id, self.trained.pipeline(checked)

    def prepared(self, clip: Clip) -> Batch:
        """Return the clip as a batch of one, normalised and with deltas as in training.

        Raises:
            DataError: the clip cannot be used; see ``__call__``.
        """
        faults: list[DataError] = []
        usable = list(self._usable([clip], faults))
        if faults:
            raise faults[0]
        return _padded(usable)

    @torch.inference_mode()
    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the main head's logits, [T, B, C], and the output frames of each clip, on the model's device."""
        width = self.trained.pipeline.output_size
        if batch.features_BTF.shape[2] != width:
            raise DataError(
                f"the batch's features are {batch.features_BTF.shape[2]} wide, the model takes {width} "
                "after normalisation and deltas; give arrays of stored features instead"
            )
        there = batch.to(self.device)
        emissions = self.trained.model(there.features_BTF, there.lengths_B)
        return emissions.logits_TBC, emissions.lengths_B

    @torch.inference_mode()
    def decode(
        self,
        batch: Batch,
        logits_TBC: Tensor,
        lengths_B: Tensor,
        references: Mapping[str, tuple[str, ...]] | None = None,
    ) -> list[Hypothesis]:
        """Return the hypotheses of a batch whose ``logits`` are known.

        Args:
            batch: gives ids and input lengths.
            logits_TBC: of the main head.
            lengths_B: output frames of each clip.
            references: transcripts by clip id, of all clips or of none.

        Raises:
            TrainingError: logits that are not numbers; names the clips.
        """
        shift = self.trained.shift + (self.search.shift if self.search is not None else 0.0)
        with naming_diverged("main", logits_TBC, lengths_B, batch):
            found = decode_logits(logits_TBC, lengths_B, self.trained.shift, self.tokens, self.search)
        paths = found.paths
        tokens_BS = paths.tokens_BS[:, : int(paths.counts_B.max())].contiguous()
        losses_B = ops.ctc_loss(logits_TBC, tokens_BS, lengths_B, paths.counts_B, shift)
        return hypotheses(
            found,
            batch,
            lengths_B.tolist(),
            self.tokens,
            references or {},
            self.frame_rate,
            (-losses_B).tolist(),
            self.trained.calibration,
        )

    def _decode(self, batch: Batch) -> list[Hypothesis]:
        return self.decode(batch, *self.logits(batch))


def load(
    run: str | Path,
    device: str = "auto",
    *,
    frame_rate: float | None = None,
    plugins: Sequence[str] = (),
) -> Recogniser:
    """Load what a run has trained, ready to recognise.

    Args:
        run: the folder of a run (its best checkpoint), a checkpoint file, or what ``ctckit export`` wrote as
            safetensors.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        frame_rate: feature frames a second, for times in seconds; None takes what the run says.
        plugins: files of plugins that the run was trained with. Their code runs only if they are named here, and
            only if they are the same as in training.

    Raises:
        CheckpointError: nothing usable there.
        ConfigError: no such device, or a frame rate that is none.
        PluginError: a plugin of the run is not installed, not named, or another than the run's.
    """
    chosen = choose_device(device)
    return Recogniser(load_trained(Path(run), chosen, plugins), chosen, frame_rate=frame_rate)


def _checked(features: Features, width: int, where: str) -> npt.NDArray[np.float32]:
    if isinstance(features, Tensor):
        features = features.detach().cpu()
        features = (features.float() if features.is_floating_point() else features).numpy()
    array = np.asarray(features)
    if array.dtype.kind not in "fiub" or array.ndim != 2:
        raise DataError(
            f"{where}: expected numbers of shape [T, {width}], found {array.dtype} {list(array.shape)}"
            + ("; give a list of clips, each without its padding" if array.ndim == 3 else "")
        )
    if array.shape[1] != width:
        turned = "; it looks transposed, [F, T]" if array.shape[0] == width else ""
        raise DataError(f"{where}: features are {array.shape[1]} wide, the model was trained with {width}{turned}")
    if not len(array):
        raise DataError(f"{where}: has no frames")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which is reported below
        out = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(out).all():
        frame, column = (int(place) for place in np.argwhere(~np.isfinite(out))[0])
        kind = "NaN" if np.isnan(out[frame, column]) else "infinite"
        raise DataError(f"{where}: {kind} feature at frame {frame}, column {column}")
    return out


def _padded(clips: Sequence[tuple[str, npt.NDArray[np.float32]]]) -> Batch:
    lengths = [len(features) for _, features in clips]
    features_BTF = torch.zeros(len(clips), max(lengths), clips[0][1].shape[1])
    for row, (_, features) in enumerate(clips):
        features_BTF[row, : len(features)] = torch.from_numpy(features)
    return Batch(
        clip_ids=tuple(clip_id for clip_id, _ in clips),
        features_BTF=features_BTF,
        lengths_B=torch.tensor(lengths),
        targets_BS=torch.zeros(len(clips), 0, dtype=torch.int64),
        target_lengths_B=torch.zeros(len(clips), dtype=torch.int64),
    )
