"""Components that keep their contract, and for each check one that breaks just that."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

import ctckit
from ctckit import Action, Batch, Emissions, EpochResult, Finding, Progress, Remedy, StepResult

WHY = Finding(rule="planted", severity="warning", message="because", evidence={"x": 1.5})


# --- what keeps its contract -------------------------------------------------------------------------------


@dataclass
class GoodSchedule(ctckit.Schedule):
    lr: float = 0.1
    scale: float = field(default=1.0, init=False, repr=False)
    STATE: ClassVar[tuple[str, ...]] = ("scale",)

    def learning_rate(self, at: Progress) -> float:
        return self.lr * self.scale * (1.0 - at.phase_fraction)

    def observe(self, epoch: EpochResult) -> None:
        self.scale *= 0.9


@dataclass
class GoodPenalty(ctckit.Penalty):
    """A controller: the more blank, the stronger."""

    value: float = -1.0
    offset: float = field(default=0.0, init=False, repr=False)
    STATE: ClassVar[tuple[str, ...]] = ("offset",)

    def shift(self, at: Progress) -> float:
        return min(self.value + self.offset, 0.0)

    def observe_step(self, step: StepResult) -> None:
        self.offset -= 0.01 * step.blank_mass


@dataclass
class GoodRegularizer(ctckit.Regularizer):
    """Wants certainty, less so after every epoch."""

    weight: float = 0.1
    scale: float = field(default=1.0, init=False, repr=False)
    STATE: ClassVar[tuple[str, ...]] = ("scale",)

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        real_TB = torch.arange(len(emissions.logits_TBC))[:, None] < emissions.lengths_B[None]
        log_probs_TBC = emissions.logits_TBC.log_softmax(-1)
        entropy_TB = -(log_probs_TBC.exp() * log_probs_TBC).sum(-1)
        return self.weight * self.scale * entropy_TB[real_TB].sum() / batch.target_lengths_B.sum()

    def observe(self, epoch: EpochResult) -> None:
        self.scale *= 0.9


@dataclass
class GoodMonitor(ctckit.Monitor):
    every: int = 2
    seen: int = field(default=0, init=False, repr=False)
    STATE: ClassVar[tuple[str, ...]] = ("seen",)

    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        self.seen += 1
        return [WHY, ctckit.ShiftPenalty(WHY, -0.1)] if self.seen % self.every == 0 else []


class GoodModel(ctckit.Model):
    """A masked convolution with batch norm over real frames, dropout, and every second frame."""

    def __init__(self, input_size: int, num_classes: int, hidden_size: int = 8) -> None:
        super().__init__()
        self.input_size = input_size
        self.convolution = nn.Conv1d(input_size, hidden_size, 3, padding=1)
        self.norm = nn.BatchNorm1d(hidden_size)
        self.dropout = nn.Dropout(0.3)
        self.projection = nn.Linear(hidden_size, num_classes)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        if features_BTF.shape[-1] != self.input_size:
            raise ValueError(f"features have {features_BTF.shape[-1]} columns, the model takes {self.input_size}")
        real_BT = torch.arange(features_BTF.shape[1])[None] < lengths_B[:, None]
        clean_BTF = self.silenced(features_BTF, real_BT)
        hidden_BTH = self.convolution(clean_BTF.transpose(1, 2)).transpose(1, 2)
        hidden_BTH = self.dropout(self.normed(hidden_BTH, real_BT))[:, ::2]
        return self.emit(self.projection(hidden_BTH).transpose(0, 1), self.output_lengths(lengths_B))

    def silenced(self, features_BTF: Tensor, real_BT: Tensor) -> Tensor:
        return features_BTF.masked_fill(~real_BT[:, :, None], 0.0)

    def normed(self, hidden_BTH: Tensor, real_BT: Tensor) -> Tensor:
        normed_BTH = torch.zeros_like(hidden_BTH)
        normed_BTH[real_BT] = self.norm(hidden_BTH[real_BT])
        return normed_BTH

    def emit(self, logits_TBC: Tensor, lengths_B: Tensor) -> Emissions:
        return Emissions(logits_TBC, lengths_B)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return (lengths_B + 1) // 2

    def blank_bias(self) -> Tensor:
        return self.projection.bias[:1]

    def remedies(self, frames_per_label: float) -> list[Remedy]:
        smaller = Remedy("overfit", "--set model.hidden_size=4, and more dropout", "it has less to remember")
        return [smaller] if type(self) is GoodModel and frames_per_label > 1.0 else []


@dataclass
class GoodLossTerm(ctckit.Regularizer):
    """Weighs the losses that it is given once more, hard clips above all."""

    weight: float = 0.1

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        assert emissions.losses_B is not None
        return self.weight * emissions.losses_B.square().sum() / batch.target_lengths_B.sum()


# --- every component: shown on penalties -------------------------------------------------------------------


class Untyped(ctckit.Penalty):
    def __init__(self, value=-1.0) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Untyped(value={self.value})"

    def shift(self, at: Progress) -> float:
        return self.value


@dataclass
class WrongDefault(ctckit.Penalty):
    value: int = -0.5  # type: ignore[assignment]

    def shift(self, at: Progress) -> float:
        return self.value


class NoText(ctckit.Penalty):
    def __init__(self, value: float = -1.0) -> None:
        self.value = value

    def shift(self, at: Progress) -> float:
        return self.value


class TextLeavesOut(ctckit.Penalty):
    def __init__(self, value: float = -1.0) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "TextLeavesOut()"

    def shift(self, at: Progress) -> float:
        return self.value


@dataclass
class Misspelt(GoodPenalty):
    def observe_steps(self, step: StepResult) -> None:
        self.offset = 0.0


@dataclass
class NotPicklable(GoodPenalty):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("planted")

    def __deepcopy__(self, memo: Any) -> NotPicklable:
        return NotPicklable(self.value)


@dataclass
class RandomPenalty(GoodPenalty):
    def shift(self, at: Progress) -> float:
        random.random()
        return super().shift(at)


@dataclass
class OddState(ctckit.Penalty):
    seen: Any = field(default_factory=dict, init=False, repr=False)
    STATE: ClassVar[tuple[str, ...]] = ("seen",)

    def shift(self, at: Progress) -> float:
        return -0.1 * len(self.seen)

    def observe(self, epoch: EpochResult) -> None:
        self.seen = {**self.seen, epoch.at.epoch: 1.0}  # keys are numbers


@dataclass
class LenientState(GoodPenalty):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.offset = state.get("offset", 0.0)


@dataclass
class HiddenState(ctckit.Penalty):
    """Learns, and does not say so."""

    offset: float = field(default=0.0, init=False, repr=False)

    def shift(self, at: Progress) -> float:
        return min(self.offset, 0.0)

    def observe(self, epoch: EpochResult) -> None:
        self.offset -= 0.1


# --- schedules ---------------------------------------------------------------------------------------------


@dataclass
class NegativeRate(ctckit.Schedule):
    def learning_rate(self, at: Progress) -> float:
        return 0.5 - at.phase_fraction


@dataclass
class CountingSchedule(ctckit.Schedule):
    """Takes its own calls for time."""

    calls: int = field(default=0, init=False, repr=False)
    STATE: ClassVar[tuple[str, ...]] = ("calls",)

    def learning_rate(self, at: Progress) -> float:
        self.calls += 1
        return 0.1 / self.calls


@dataclass
class RandomSchedule(GoodSchedule):
    def learning_rate(self, at: Progress) -> float:
        torch.rand(1)
        return super().learning_rate(at)


# --- penalties ---------------------------------------------------------------------------------------------


@dataclass
class PositiveShift(ctckit.Penalty):
    def shift(self, at: Progress) -> float:
        return 0.1 if at.phase_epoch == at.phase_epochs else -0.1


@dataclass
class NoNumber(ctckit.Penalty):
    def shift(self, at: Progress) -> float:
        return torch.tensor(-1.0)  # type: ignore[return-value]


@dataclass
class CountingPenalty(ctckit.Penalty):
    """Remembers in secret how often it was asked."""

    calls: int = field(default=0, init=False, repr=False)

    def shift(self, at: Progress) -> float:
        self.calls += 1
        return -1.0


@dataclass
class ThirdDomain(GoodPenalty):
    domain: str = "blank"  # type: ignore[assignment]


@dataclass
class LogitClassShifts(ctckit.Penalty):
    """Shifts classes, and says that it shifts logits."""

    def shift(self, at: Progress) -> float:
        return 0.0

    def class_shifts(self, at: Progress) -> Tensor | None:
        return torch.tensor([-1.0, 0.0, 0.0, 0.0, 0.0])


# --- regularizers ------------------------------------------------------------------------------------------


@dataclass
class InfiniteTerm(GoodRegularizer):
    """Takes the logarithm of a probability that may be nothing."""

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        real_TB = torch.arange(len(emissions.logits_TBC))[:, None] < emissions.lengths_B[None]
        probs_TBC = emissions.logits_TBC.softmax(-1)
        return -(probs_TBC * probs_TBC.log()).sum(-1)[real_TB].sum()


@dataclass
class TermOfPadding(GoodRegularizer):
    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        return self.weight * emissions.logits_TBC.logsumexp(-1).mean()


@dataclass
class LearningTerm(GoodRegularizer):
    STATE: ClassVar[tuple[str, ...]] = ("scale", "calls")
    calls: int = field(default=0, init=False, repr=False)

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        self.calls += 1
        return super().term(emissions, batch, at)


# --- monitors ----------------------------------------------------------------------------------------------


@dataclass
class ReturnsNothing(ctckit.Monitor):
    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        return None  # type: ignore[return-value]


@dataclass
class ReturnsText(ctckit.Monitor):
    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        return ["the blank share is high"]  # type: ignore[list-item]


@dataclass
class ImpossibleAction(ctckit.Monitor):
    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        return [ctckit.ScaleLearningRate(WHY, -1.0)]


@dataclass
class MutatingMonitor(ctckit.Monitor):
    def observe(self, epoch: EpochResult) -> Sequence[Finding | Action]:
        epoch.auxiliary_losses.pop("frame_head", None)  # type: ignore[attr-defined]
        return []


# --- models ------------------------------------------------------------------------------------------------


class UntypedModel(GoodModel):
    def __init__(self, input_size: int, num_classes: int, hidden_size=8) -> None:
        super().__init__(input_size, num_classes, hidden_size)


class ObjectParameter(GoodModel):
    def __init__(self, input_size: int, num_classes: int, activation: type = nn.ReLU) -> None:
        super().__init__(input_size, num_classes)


class MisspeltModel(GoodModel):
    def output_length(self, lengths_B: Tensor) -> Tensor:
        return lengths_B


class NotPicklableModel(GoodModel):
    def __init__(self, input_size: int, num_classes: int) -> None:
        super().__init__(input_size, num_classes)
        self.activation = lambda value: value


class BatchFirst(GoodModel):
    """Gives ``[B, T, C]``, and hides it where there is but one clip."""

    def emit(self, logits_TBC: Tensor, lengths_B: Tensor) -> Emissions:
        return Emissions(logits_TBC.to(torch.float64).long(), lengths_B)


class OffByOne(GoodModel):
    """Says floor where the network does ceil; for even lengths both agree."""

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return lengths_B // 2

    def emit(self, logits_TBC: Tensor, lengths_B: Tensor) -> Emissions:
        return Emissions(logits_TBC, lengths_B)


class IgnoresLengths(GoodModel):
    """A backward LSTM that starts in the padding."""

    def __init__(self, input_size: int, num_classes: int) -> None:
        super().__init__(input_size, num_classes)
        self.lstm = nn.LSTM(input_size, input_size, batch_first=True, bidirectional=True)
        self.narrow = nn.Linear(2 * input_size, input_size)

    def silenced(self, features_BTF: Tensor, real_BT: Tensor) -> Tensor:
        return self.narrow(self.lstm(features_BTF)[0])


class DependsOnNeighbours(GoodModel):
    """Adds the length of the longest clip in the batch."""

    def emit(self, logits_TBC: Tensor, lengths_B: Tensor) -> Emissions:
        return Emissions(logits_TBC + lengths_B.max(), lengths_B)


class HearsPadding(GoodModel):
    def silenced(self, features_BTF: Tensor, real_BT: Tensor) -> Tensor:
        return features_BTF


class PaddedStatistics(GoodModel):
    def normed(self, hidden_BTH: Tensor, real_BT: Tensor) -> Tensor:
        return self.norm(hidden_BTH.transpose(1, 2)).transpose(1, 2)


class DeadParameter(GoodModel):
    def __init__(self, input_size: int, num_classes: int) -> None:
        super().__init__(input_size, num_classes)
        self.unused = nn.Linear(2, 2)


class AnyWidth(GoodModel):
    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        return super().forward(features_BTF[..., : self.input_size], lengths_B)


class TorchNamesTheWidth(GoodModel):
    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        self.input_size = features_BTF.shape[-1]
        return super().forward(features_BTF, lengths_B)


class WritesIntoFeatures(GoodModel):
    def silenced(self, features_BTF: Tensor, real_BT: Tensor) -> Tensor:
        return features_BTF.masked_fill_(~real_BT[:, :, None], 0.0)


class RandomModel(GoodModel):
    def silenced(self, features_BTF: Tensor, real_BT: Tensor) -> Tensor:
        torch.rand(1)
        return super().silenced(features_BTF, real_BT)


class StuckDropout(GoodModel):
    def set_dropout(self, probability: float) -> None:
        return None

    def normed(self, hidden_BTH: Tensor, real_BT: Tensor) -> Tensor:
        # the same mask for every amount of padding, so that only its being there shows
        mask_H = nn.functional.dropout(torch.ones(hidden_BTH.shape[-1]), 0.3, self.training)
        return super().normed(hidden_BTH, real_BT) * (mask_H + 0.1)

    def __init__(self, input_size: int, num_classes: int) -> None:
        super().__init__(input_size, num_classes)
        self.dropout = nn.Dropout(0.0)


class ForgetfulModel(GoodModel):
    """Learns a mean from its first batch and keeps it in a plain attribute."""

    def __init__(self, input_size: int, num_classes: int) -> None:
        super().__init__(input_size, num_classes)
        self.level = 0.0

    def silenced(self, features_BTF: Tensor, real_BT: Tensor) -> Tensor:
        if self.training:
            self.level = 1.0
        return super().silenced(features_BTF + self.level, real_BT)


class ImpossibleRemedy(GoodModel):
    def remedies(self, frames_per_label: float) -> list[Remedy]:
        return [Remedy("plateau", "--set model.hiden_size=4", "smaller learns faster")]


class SpokenRemedy(GoodModel):
    def remedies(self, frames_per_label: float) -> list[Remedy]:
        return ["make it smaller"]  # type: ignore[list-item]


class CopiedBias(GoodModel):
    def blank_bias(self) -> Tensor:
        return self.projection.bias[:1].clone()


FAULTS: tuple[tuple[str, Any, Literal["alone", "among others"]], ...] = (
    ("parameters_are_typed", Untyped, "alone"),
    ("parameters_are_typed", WrongDefault, "alone"),
    ("parameters_survive_repr", NoText, "alone"),
    ("parameters_survive_repr", TextLeavesOut, "alone"),
    ("methods_are_not_misspelt", Misspelt, "alone"),
    ("picklable", NotPicklable, "alone"),
    ("global_rng_is_untouched", RandomPenalty, "alone"),
    ("state_is_json_or_tensors", OddState, "alone"),
    ("state_is_strict", LenientState, "alone"),
    ("resumed_equals_unresumed", HiddenState, "alone"),
    ("learning_rate_is_finite_and_not_negative", NegativeRate, "alone"),
    ("same_time_gives_same_learning_rate", CountingSchedule, "alone"),
    ("global_rng_is_untouched", RandomSchedule, "alone"),
    ("shift_is_finite_and_not_positive", PositiveShift, "alone"),
    ("shift_is_finite_and_not_positive", NoNumber, "alone"),
    ("shift_has_no_side_effects", CountingPenalty, "alone"),
    ("domain_is_logit_or_path", ThirdDomain, "alone"),
    ("returns_findings_and_actions_only", ReturnsText, "alone"),
    ("returns_findings_and_actions_only", ImpossibleAction, "alone"),
    ("returns_findings_and_actions_only", ReturnsNothing, "among others"),  # nothing can be played to it
    ("input_is_unchanged", MutatingMonitor, "alone"),
    ("parameters_are_typed", UntypedModel, "alone"),
    ("parameters_survive_repr", ObjectParameter, "alone"),
    ("methods_are_not_misspelt", MisspeltModel, "alone"),
    ("picklable", NotPicklableModel, "alone"),
    ("emissions_have_their_shape", BatchFirst, "among others"),  # no gradient flows through whole numbers
    ("output_lengths_are_exact", OffByOne, "alone"),
    ("clip_alone_equals_clip_padded", DependsOnNeighbours, "alone"),
    ("clip_alone_equals_clip_padded", IgnoresLengths, "among others"),
    ("padding_content_has_no_influence", IgnoresLengths, "among others"),
    ("padding_content_has_no_influence", HearsPadding, "alone"),
    ("batch_statistics_leave_padding_out", PaddedStatistics, "alone"),
    ("every_parameter_gets_a_gradient", DeadParameter, "alone"),
    ("wrong_width_is_named", AnyWidth, "alone"),
    ("wrong_width_is_named", TorchNamesTheWidth, "alone"),
    ("input_is_unchanged", WritesIntoFeatures, "alone"),
    ("global_rng_is_untouched", RandomModel, "alone"),
    ("dropout_can_be_set", StuckDropout, "alone"),
    ("state_goes_into_a_fresh_twin", ForgetfulModel, "alone"),
    ("blank_bias_moves_the_blank_alone", CopiedBias, "alone"),
    ("remedies_can_be_followed", ImpossibleRemedy, "alone"),
    ("remedies_can_be_followed", SpokenRemedy, "alone"),
    ("class_shifts_are_a_path_shift_each", LogitClassShifts, "alone"),
    ("term_is_a_finite_scalar", InfiniteTerm, "alone"),
    ("term_ignores_padding", TermOfPadding, "alone"),
    ("term_has_no_side_effects", LearningTerm, "alone"),
)
"""Check, component that breaks it, and whether it breaks nothing else."""
