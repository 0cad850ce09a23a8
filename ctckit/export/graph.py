"""A trained model as one module, from features as they are stored to log-probabilities or labels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctckit.data.features import DELTA_WINDOW, FeaturePipeline
from ctckit.trained import Trained
from ctckit.types import BLANK, real_frames

Output = Literal["log-probs", "labels"]


class Graph(nn.Module):
    """Feature preparation, network, shift of the blank, and log-softmax or greedy path; batched and padded.

    Args:
        trained: on the CPU, in evaluation mode.
        output: ``log-probs``, or ``labels`` of the greedy path.
    """

    def __init__(self, trained: Trained, output: Output) -> None:
        super().__init__()
        self.preparation = Preparation(trained.pipeline)
        self.model = trained.model
        self.output = output
        shift_C = torch.zeros(len(trained.tokens))
        shift_C[BLANK] = trained.shift
        self.register_buffer("shift_C", shift_C)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Recognise.

        Args:
            features_BTF: float32, as stored: neither normalised nor with deltas; whatever stands in the padding.
            lengths_B: int64, frames of each clip, at least 1.

        Returns:
            Log-probabilities ``[B, T_out, C]``, blank at 0; or labels ``[B, T_out]`` (int64), where a frame has the
            label that begins there and else 0, so that a clip's tokens are its labels that are not 0. Then int64
            output frames of each clip, beyond which nothing means anything (labels are 0 there).
        """
        emissions = self.model(self.preparation(features_BTF, lengths_B), lengths_B)
        logits_BTC = emissions.logits_TBC.transpose(0, 1) + self.shift_C
        if self.output == "log-probs":
            return logits_BTC.log_softmax(-1), emissions.lengths_B
        best_BT = logits_BTC.argmax(-1)
        before_BT = F.pad(best_BT, (1, 0))[:, :-1]
        real_BT = real_frames(emissions.lengths_B, best_BT.shape[1]).t()
        return best_BT * ((best_BT != before_BT) & real_BT), emissions.lengths_B


class Preparation(nn.Module):
    """What a ``FeaturePipeline`` does to one clip, for a padded batch; float32, with means in float64."""

    def __init__(self, pipeline: FeaturePipeline) -> None:
        super().__init__()
        state = pipeline.state_dict()
        self.deltas: int = state["deltas"]
        self.clip_mean = state["normalize"] == "clip_mean"
        self.mean_F: Tensor
        self.scale_F: Tensor
        width = pipeline.output_size
        self.register_buffer("mean_F", torch.zeros(width) if state["mean"] is None else state["mean"])
        self.register_buffer("scale_F", torch.ones(width) if state["scale"] is None else state["scale"])

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Map ``[B, T, F]`` to ``[B, T, output size]``, zero in the padding."""
        padding_BT1 = ~real_frames(lengths_B, features_BTF.shape[1]).t()[:, :, None]
        static_BTF = features_BTF.masked_fill(padding_BT1, 0.0)
        if self.clip_mean:
            sum_B1F = static_BTF.to(torch.float64).sum(1, keepdim=True)
            static_BTF = static_BTF - (sum_B1F / lengths_B[:, None, None]).to(torch.float32)
        orders = [static_BTF]
        for _ in range(self.deltas):
            orders.append(_delta(orders[-1], lengths_B))
        prepared_BTF = torch.cat(orders, -1)
        return ((prepared_BTF - self.mean_F) * self.scale_F).masked_fill(padding_BT1, 0.0)


def _delta(features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
    """Regression slope over ``DELTA_WINDOW`` frames on either side, each clip's ends repeated."""
    frames_1T = torch.arange(features_BTF.shape[1], device=lengths_B.device)[None, :]
    last_B1 = lengths_B[:, None] - 1
    slope_BTF = torch.zeros_like(features_BTF)
    for n in range(1, DELTA_WINDOW + 1):
        ahead_BTF = _picked(features_BTF, torch.minimum(frames_1T + n, last_B1))
        behind_BTF = _picked(features_BTF, torch.minimum((frames_1T - n).clamp(min=0), last_B1))
        slope_BTF = slope_BTF + n * (ahead_BTF - behind_BTF)
    return slope_BTF / (2 * sum(n * n for n in range(1, DELTA_WINDOW + 1)))


def _picked(features_BTF: Tensor, frames_BT: Tensor) -> Tensor:
    return features_BTF.gather(1, frames_BT[:, :, None].expand(-1, -1, features_BTF.shape[-1]))
