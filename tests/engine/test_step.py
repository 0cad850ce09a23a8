"""One optimiser step: what it measures, what it refuses, and how often it asks the device."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ctckit import Auxiliary, Batch, Emissions, Model, Progress, Regularizer, TrainingError, ctc_loss, ops
from ctckit.engine.augment import augment
from ctckit.engine.step import StepOutcome, train_step
from ctckit.loss import Objective
from ctckit.recipe import Component, Phase
from ctckit.testing import make_progress

WAITS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select")
"""What asks a device for a value, or for how many there are."""


class TwoHeads(Model):
    def __init__(self) -> None:
        super().__init__()
        self.main, self.frame = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        main_TBC, frame_TBC = (head(features_BTF).transpose(0, 1) for head in (self.main, self.frame))
        return Emissions(main_TBC, lengths_B, (Auxiliary("frame_head", frame_TBC, lengths_B, 0.5),))

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return lengths_B


class Waits(TorchDispatchMode):
    """Counts what a device would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        self.found[name] += name in WAITS
        return function(*args, **(kwargs or {}))


class Shifted(Regularizer):
    """Adds what it was given as losses once more."""

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        assert emissions.losses_B is not None
        heads = [head.losses_B for head in emissions.auxiliary]
        assert heads[0] is not None
        return (emissions.losses_B + heads[0]).sum() / batch.target_lengths_B.sum()


def batch_of(*targets: list[int]) -> Batch:
    longest = max(map(len, targets))
    return Batch(
        clip_ids=tuple(f"clip-{number}" for number in range(len(targets))),
        features_BTF=torch.randn(len(targets), 9, 4, generator=torch.Generator().manual_seed(1)),
        lengths_B=torch.tensor([9, 7, 4][: len(targets)]),
        targets_BS=torch.tensor([target + [-1] * (longest - len(target)) for target in targets]),
        target_lengths_B=torch.tensor([len(target) for target in targets]),
    )


def take(batch: Batch, objective: Objective, model: Model | None = None) -> StepOutcome:
    torch.manual_seed(0)
    model = model or TwoHeads()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # AdamW asks for its own step count, on the host
    return train_step(model, optimizer, batch, objective=objective, gradient_clip=5.0)


def term_of(regularizer: Regularizer) -> Any:
    return lambda emissions, batch: regularizer.term(emissions, batch, make_progress())


def test_a_step_waits_for_the_device_once() -> None:
    if ops.backend().name == "reference":
        pytest.skip("the reference looks into its arguments")
    objective = Objective(shift=-0.5, terms={"shifted": term_of(Shifted())})
    take(batch_of([1, 2], [2]), objective)  # loads the kernels
    with Waits() as waits:
        outcome = take(batch_of([1, 2], [2]), objective)
    # the one copy is Tensor.tolist, which asks for no single value
    assert {name: count for name, count in waits.found.items() if count} == {}
    assert outcome.terms["shifted"] == pytest.approx(outcome.loss + outcome.auxiliary["frame_head"])


@pytest.mark.parametrize("domain", ["logit", "path"])
def test_regularizers_are_given_the_losses_under_the_shift_with_gradient(domain: Any) -> None:
    batch, given = batch_of([1, 2], [2]), []

    def term(emissions: Emissions, batch: Batch) -> Tensor:
        given.append(emissions)
        return emissions.logits_TBC.new_zeros(())

    take(batch, Objective(shift=-0.7, domain=domain, terms={"look": term}))
    (emissions,) = given
    for head in (emissions, *emissions.auxiliary):
        targets = (batch.targets_BS, batch.lengths_B, batch.target_lengths_B)
        wanted_B = ctc_loss(head.logits_TBC, *targets, shift=-0.7, domain=domain)
        assert head.losses_B.requires_grad
        assert head.losses_B.tolist() == wanted_B.tolist()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("clip", r"main head: the CTC loss is not finite for clip clip-2 \(loss inf, 4 output frames for 4 labels"),
        (
            "term",
            "the term 'odd' of the loss is nan in the batch of clips clip-0, clip-1, clip-2; lower its weight",
        ),
        ("gradient", "the gradient of main.weight is not finite in the batch of clips clip-0, clip-1, clip-2"),
    ],
)
def test_what_is_not_finite_is_named_before_a_weight_changes(spoil: str, message: str) -> None:
    torch.manual_seed(0)
    model = TwoHeads()
    batch = batch_of([1, 2], [2], [1, 1, 1, 2] if spoil == "clip" else [1])
    terms = {"odd": lambda emissions, _: emissions.logits_TBC.sum() * math.nan} if spoil == "term" else {}
    if spoil == "gradient":
        model.main.weight.register_hook(lambda gradient: gradient * math.nan)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(TrainingError, match=message) as error:
        take(batch, Objective(terms=terms), model)
    assert "\n" not in str(error.value)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_masking_on_the_device_draws_what_it_draws_on_the_host() -> None:
    settings = Phase(epochs=1, schedule=Component(name="constant"), time_mask_prob=0.3, time_mask_frames=2)
    batch = batch_of([1, 2], [2])
    pinned = replace(batch, features_BTF=batch.features_BTF.pin_memory())
    masked = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(3)
        masked.append(augment(pinned.to(torch.device(device)), settings, views=2))
    assert masked[0].features_BTF.equal(masked[1].features_BTF.cpu())
    assert bool((masked[0].features_BTF == 0).any())


def test_a_batch_that_is_there_already_is_not_copied() -> None:
    batch = batch_of([1])
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert {moved.features_BTF.device.type, moved.targets_BS.device.type} == {"meta"}


def test_real_frames_of_every_head() -> None:
    emissions = TwoHeads()(torch.zeros(2, 3, 4), torch.tensor([3, 1]))
    wanted = [[True, True], [True, False], [True, False]]
    assert emissions.real_TB.tolist() == emissions.auxiliary[0].real_TB.tolist() == wanted
