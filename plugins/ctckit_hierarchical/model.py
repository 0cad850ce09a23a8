"""The hierarchical BiLSTM: temporal convolution, frame-level BiLSTM, sequence-level BiLSTM, one projection."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

import ctckit
from ctckit import Auxiliary, ConfigError, Emissions, Remedy

FULL_STAGE = 2

FEWEST_FRAMES = 4
"""Input frames to an output frame, at most, that the model offers."""

MEASURED = "docs/founding-document.md C1 (AN4 words)"
CURES = "docs/cures.md (AN4 words, two seeds)"

AUXILIARY_HELPS = (
    "a CTC loss below the second recurrent layer took word errors from 22.7 to 12.9 % in 50 epochs alike"
)


class HierarchicalBiLSTM(ctckit.Model):
    """Temporal convolution, two BiLSTMs, and one projection that serves both levels.

    The layout of continuous sign-language recognition (K5-P2-K5-P2, then BiLSTMs, as in VAC, ICCV 2021) and of
    the founding document (docs/founding-document.md 4.2). In stage 1 the projection sits on the frame level, in
    stage 2 on the sequence level; with ``auxiliary_weight`` it also sits on the frame level as a CTC head of its
    own, with shared weights as in SMKD (ICCV 2021).

    Args:
        input_size: features of a frame.
        num_classes: classes with blank.
        hidden_size: units of each LSTM in each direction, and channels of the convolution.
        temporal_conv: whether there is a convolution at all.
        stacking: input frames whose features are joined into one output frame, where there is no convolution.
        subsampling: input frames to an output frame; each of the two convolutions is followed by a pooling over
            2 frames as far as this needs.
        auxiliary_weight: weight of the frame level's CTC loss in stage 2; 0 leaves the head out.
        dropout: probability after the convolution and after each LSTM; a phase may change it.

    Raises:
        ValueError: subsampling without convolution, or stacking with it.
    """

    def __init__(
        self,
        input_size: int,
        num_classes: int,
        hidden_size: Annotated[int, Field(ge=1, le=65536)] = 512,
        temporal_conv: bool = True,
        stacking: Annotated[int, Field(ge=1, le=64)] = 1,
        subsampling: Literal[1, 2, 4] = 1,
        auxiliary_weight: float = 0.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if subsampling > 1 and not temporal_conv:
            raise ValueError(f"subsampling {subsampling} happens in the convolution; set temporal_conv = true")
        if stacking > 1 and temporal_conv:
            raise ValueError(f"stacking {stacking} stands in for the convolution; set temporal_conv = false")
        if auxiliary_weight < 0:
            raise ValueError(f"auxiliary_weight is {auxiliary_weight}; it must not be negative")
        pooled = (subsampling >= 2, subsampling == 4)
        self.poolings = sum(pooled)
        widths = (input_size, hidden_size) if temporal_conv else ()
        self.input_size = input_size
        self.convolutions = nn.ModuleList(
            TemporalConvolution(width, hidden_size, pool=pool) for width, pool in zip(widths, pooled, strict=False)
        )
        self.stacking = stacking
        self.frame_lstm = BiLSTM(hidden_size if temporal_conv else stacking * input_size, hidden_size)
        self.sequence_lstm = BiLSTM(2 * hidden_size, hidden_size)
        self.projection = nn.Linear(2 * hidden_size, num_classes)
        self.dropout = nn.Dropout(dropout)
        self.auxiliary_weight = auxiliary_weight
        self.stage = FULL_STAGE

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        """Compute logits, ``[T_out, B, C]``.

        Raises:
            ValueError: the features have another width than the model.
        """
        if features_BTF.shape[-1] != self.input_size:
            raise ValueError(f"features have {features_BTF.shape[-1]} columns, the model takes {self.input_size}")
        hidden_BTH = zero_padding(features_BTF, lengths_B)
        if self.stacking > 1:
            hidden_BTH, lengths_B = stacked(hidden_BTH, self.stacking), self.output_lengths(lengths_B)
        for convolution in self.convolutions:
            hidden_BTH, lengths_B = convolution(hidden_BTH, lengths_B)
        frame_BTH = self.dropout(self.frame_lstm(self.dropout(hidden_BTH), lengths_B))
        if self.stage < FULL_STAGE:
            return Emissions(self._logits(frame_BTH), lengths_B)
        sequence_BTH = self.dropout(self.sequence_lstm(frame_BTH, lengths_B))
        auxiliary: tuple[Auxiliary, ...] = ()
        if self.auxiliary_weight and self.training:
            auxiliary = (Auxiliary("frame_head", self._logits(frame_BTH), lengths_B, self.auxiliary_weight),)
        return Emissions(self._logits(sequence_BTH), lengths_B, auxiliary)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Halve the lengths at each pooling, or divide them by the stacking, rounding up."""
        lengths_B = (lengths_B + self.stacking - 1) // self.stacking
        for _ in range(self.poolings):
            lengths_B = halved(lengths_B)
        return lengths_B

    def blank_bias(self) -> Tensor:
        """Return the projection's bias of the blank."""
        return self.projection.bias[:1]

    def set_stage(self, stage: int) -> None:
        """Put the projection on the frame level (1) or on the sequence level (2)."""
        if stage not in (1, FULL_STAGE):
            raise ConfigError(f"hierarchical_bilstm has stages 1 (frame level) and 2 (full), not {stage}")
        self.stage = stage

    def remedies(self, frames_per_label: float) -> list[Remedy]:
        """Propose what the model lacks of the layout that works: convolutions, auxiliary head, subsampling."""
        found = []
        convolve = "--set model.temporal_conv=true" + (" --set model.stacking=1" if self.stacking > 1 else "")
        if not self.convolutions:
            why = "stacked or raw frames kept a BiLSTM at 95 % word errors where convolutions reached 80 %"
            found.append(Remedy("plateau", convolve, why, MEASURED))
        if not self.auxiliary_weight:
            found.append(Remedy("plateau", "--set model.auxiliary_weight=1", AUXILIARY_HELPS, CURES))
        reduced = self.stacking * 2**self.poolings
        if reduced < FEWEST_FRAMES and frames_per_label * reduced >= 6.0 * FEWEST_FRAMES:
            subsample = "--set model.subsampling=4"
            why = (
                "fewer frames to align, and epochs several times as fast; "
                f"{frames_per_label:.0f} output frames a label are more than needed"
            )
            change = subsample if self.convolutions else f"{convolve} {subsample}"
            found.append(Remedy("plateau", change, why, MEASURED))
        return found

    def _logits(self, hidden_BTH: Tensor) -> Tensor:
        logits_BTC: Tensor = self.projection(hidden_BTH)
        return logits_BTC.transpose(0, 1)


class TemporalConvolution(nn.Module):
    """Convolution over 5 frames, batch norm, ReLU, and a maximum over 2 frames where ``pool`` is set.

    Padding has no influence: frames beyond a clip's length must be zero, come out zero, and are left out of the
    batch statistics.
    """

    KERNEL = 5

    def __init__(self, width: int, channels: int, *, pool: bool) -> None:
        super().__init__()
        # without a bias: batch norm has its own
        self.convolution = nn.Conv1d(width, channels, self.KERNEL, padding=self.KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.pool = nn.MaxPool1d(2) if pool else None

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``[B, T, F]`` to ``[B, T_out, H]`` and the lengths with it."""
        real_BT = ctckit.real_frames(lengths_B, features_BTF.shape[1]).t()
        hidden_BTH = self.convolution(features_BTF.transpose(1, 2)).transpose(1, 2)
        if self.norm.training:
            normed_BTH = torch.zeros_like(hidden_BTH)
            normed_BTH[real_BT] = torch.relu(self._normed(hidden_BTH[real_BT]))
        else:  # the same without picking frames, whose number a traced or exported graph cannot know
            normed_BTH = torch.relu(self._normed(hidden_BTH.flatten(0, 1))).view_as(hidden_BTH)
            normed_BTH = normed_BTH.masked_fill(~real_BT[:, :, None], 0.0)
        if self.pool is None:
            return normed_BTH, lengths_B
        # a zero, neutral after a ReLU, keeps the last frame of an odd clip; ceil_mode would fix the length of an
        # exported graph
        even_BHT = F.pad(normed_BTH.transpose(1, 2), (0, normed_BTH.shape[1] % 2))
        return self.pool(even_BHT).transpose(1, 2), halved(lengths_B)

    def _normed(self, hidden_NH: Tensor) -> Tensor:
        """Normalise all real frames of the batch; a single one has no variance and goes by what was learnt."""
        norm = self.norm
        return F.batch_norm(
            hidden_NH,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            training=norm.training and len(hidden_NH) > 1,
            momentum=norm.momentum or 0.0,
            eps=norm.eps,
        )


class BiLSTM(nn.Module):
    """One bidirectional LSTM layer whose backward direction starts at each clip's own end.

    It computes what torch computes on packed sequences, in another way: one LSTM reads the clips, another reads
    them reversed within their lengths. torch's packed LSTM takes, on the CPU, a time in the backward pass that
    is quadratic in the frames, and leaves oneDNN's fused layer unused.
    """

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.onward = nn.LSTM(width, hidden_size, batch_first=True)
        self.reverse = nn.LSTM(width, hidden_size, batch_first=True)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Map ``[B, T, F]`` to ``[B, T, 2H]``; beyond a clip's length the output means nothing."""
        mirror_BT = mirrored_frames(lengths_B, features_BTF.shape[1])
        onward_BTH, _ = self.onward(features_BTF)
        backward_BTH, _ = self.reverse(reorder(features_BTF, mirror_BT))
        return torch.cat([onward_BTH, reorder(backward_BTH, mirror_BT)], dim=-1)


def mirrored_frames(lengths_B: Tensor, frames: int) -> Tensor:
    """Return ``[B, T]``, the frame indices that reverse each clip within its length and leave padding in place."""
    frames_BT = torch.arange(frames, device=lengths_B.device).expand(lengths_B.shape[0], frames)
    return torch.where(frames_BT < lengths_B[:, None], lengths_B[:, None] - 1 - frames_BT, frames_BT)


def reorder(features_BTF: Tensor, frames_BT: Tensor) -> Tensor:
    """Pick frames of each clip by index."""
    return features_BTF.gather(1, frames_BT[:, :, None].expand(-1, -1, features_BTF.shape[-1]))


def stacked(features_BTF: Tensor, frames: int) -> Tensor:
    """Join each ``frames`` frames into one, ``[B, T/frames, frames*F]``, rounding up with zeros."""
    batch, length, size = features_BTF.shape
    padded_BTF = F.pad(features_BTF, (0, 0, 0, -length % frames))
    return padded_BTF.reshape(batch, -1, frames * size)


def halved(lengths_B: Tensor) -> Tensor:
    """Return the lengths after pooling over 2 frames."""
    return (lengths_B + 1) // 2


def zero_padding(features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
    """Set frames beyond each clip's length to zero."""
    real_BT = ctckit.real_frames(lengths_B, features_BTF.shape[1]).t()
    return features_BTF.masked_fill(~real_BT[:, :, None], 0.0)
