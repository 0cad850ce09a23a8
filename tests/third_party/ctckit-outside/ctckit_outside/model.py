"""A convolutional network whose stride shortens the clips."""

import torch
from torch import Tensor, nn

import ctckit


class SeparableConvolutions(ctckit.Model):
    """A strided convolution and depthwise-separable ones, each with a residual connection and layer norm.

    Args:
        input_size: features of a frame.
        num_classes: classes with blank.
        channels: width of the network.
        blocks: separable convolutions.
        kernel: frames that each of them sees; odd.
        dropout: probability after each block.
    """

    def __init__(
        self,
        input_size: int,
        num_classes: int,
        channels: int = 128,
        blocks: int = 3,
        kernel: int = 9,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; it must be odd")
        self.input_size = input_size
        self.stem = nn.Conv1d(input_size, channels, 3, stride=2, padding=1)
        self.depthwise = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels) for _ in range(blocks)
        )
        self.pointwise = nn.ModuleList(nn.Linear(channels, channels) for _ in range(blocks))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(blocks))
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(channels, num_classes)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> ctckit.Emissions:
        """Compute logits; padding is silenced before each convolution."""
        if features_BTF.shape[-1] != self.input_size:
            raise ValueError(f"features have {features_BTF.shape[-1]} columns, the model takes {self.input_size}")
        hidden_BTH = self.stem(silenced(features_BTF, lengths_B).transpose(1, 2)).transpose(1, 2)
        lengths_B = self.output_lengths(lengths_B)
        for depthwise, pointwise, norm in zip(self.depthwise, self.pointwise, self.norms, strict=True):
            mixed_BTH = depthwise(silenced(hidden_BTH, lengths_B).transpose(1, 2)).transpose(1, 2)
            hidden_BTH = norm(hidden_BTH + self.dropout(pointwise(torch.relu(mixed_BTH))))
        return ctckit.Emissions(self.projection(hidden_BTH).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Halve the lengths, rounding up."""
        return (lengths_B + 1) // 2

    def blank_bias(self) -> Tensor:
        """Return the projection's bias of the blank."""
        return self.projection.bias[:1]


def silenced(features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
    """Set frames beyond each clip's length to zero."""
    frames = torch.arange(features_BTF.shape[1], device=lengths_B.device)
    return features_BTF.masked_fill((frames >= lengths_B[:, None])[:, :, None], 0.0)
