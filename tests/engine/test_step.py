"""One optimiser step: what it measures, what it refuses, its terms, and how often it asks the device."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from planted import Watching, epochs, swap
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import ctckit
from ctckit import (
    Auxiliary,
    Batch,
    ConfigError,
    Emissions,
    Model,
    Penalty,
    PluginError,
    Progress,
    Regularizer,
    TrainingError,
    ctc_loss,
    ops,
)
from ctckit.components import build_components
from ctckit.config import nest, resolve
from ctckit.engine.augment import augment
from ctckit.engine.loop import fit
from ctckit.engine.step import StepOutcome, mean_blank_mass, parts_of, train_step
from ctckit.loss import Objective
from ctckit.plugin_host import load_plugins
from ctckit.recipe import Component, Phase
from ctckit.record.history import read_rows
from ctckit.testing import make_progress
from ctckit_hierarchical.fixed import RECIPE

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


class Severed(ctckit.Model):
    """A model whose front end no gradient reaches, with a bias of its own beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(4, 6)
        self.back = nn.Linear(6, 3)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Emissions:
        return Emissions((self.back(self.front(features_BTF).detach()) + self.bias).transpose(0, 1), lengths_B)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        return lengths_B


def test_gradient_norms_by_module_make_up_the_whole() -> None:
    torch.manual_seed(0)
    model = Severed()
    batch = Batch(
        ("a", "b"),
        torch.randn(2, 9, 4),
        torch.tensor([9, 7]),
        torch.tensor([[1, 2], [2, -1]]),
        torch.tensor([2, 1]),
    )
    objective = Objective()
    outcome = train_step(
        model, torch.optim.SGD(model.parameters(), lr=0.0), batch, objective=objective, gradient_clip=1e9
    )
    assert set(parts_of(model)) == {"front", "back", "bias"}
    assert set(outcome.module_gradients) == {"back", "bias"}
    assert outcome.gradient_norm == pytest.approx(math.hypot(*outcome.module_gradients.values()))
    assert model.back.weight.grad is not None
    assert model.back.bias.grad is not None
    back = math.hypot(float(model.back.weight.grad.norm()), float(model.back.bias.grad.norm()))
    assert outcome.module_gradients["back"] == pytest.approx(back)


def test_a_part_that_a_stage_leaves_out_has_no_gradient(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.*.epochs": 1, "phases.warmup.stage": 1})
    fit(run, silent)
    first, second, *_ = (row for row in read_rows(run.history.path) if row["kind"] == "epoch")
    assert first["module_gradients"]["sequence_lstm"] is None
    assert first["module_gradients"]["frame_lstm"] > 0.0
    assert second["module_gradients"]["sequence_lstm"] > 0.0


def test_blank_mass_is_the_mean_over_real_frames_whatever_the_padding_holds() -> None:
    logits_TBC = 3.0 * torch.randn(6, 3, 4, generator=torch.manual_seed(1))
    lengths_B = torch.tensor([6, 2, 3])
    expected = torch.cat([logits_TBC[:length, b].softmax(-1)[:, 0] for b, length in enumerate(lengths_B.tolist())])
    logits_TBC[2:, 1] = math.nan
    logits_TBC[3:, 2] = 1e30
    assert mean_blank_mass(Emissions(logits_TBC, lengths_B)).item() == pytest.approx(
        float(expected.mean()), abs=1e-6
    )


class ThreeViews(Watching):
    views: ClassVar[int] = 3


class NoView(Watching):
    views: ClassVar[int] = 0


@pytest.mark.parametrize("classes", [(Watching, ThreeViews), (NoView,)], ids=["two and three", "none"])
def test_views_that_do_not_go_together_are_refused(make_run: Any, classes: tuple[type[Watching], ...]) -> None:
    registry, _ = load_plugins(["hierarchical_fixed"])
    for cls in classes:
        registry.regularizer(cls.__name__, cls)
    names = [{"name": cls.__name__} for cls in classes]
    config = resolve(RECIPE, [("test", nest({"phases.warmup.regularizers": names}))])
    with pytest.raises(ConfigError, match=r"phases\.warmup\.regularizers: they want different numbers of views"):
        build_components(config, registry)


def test_two_views_are_the_same_clips_masked_each_in_its_own_way(make_run: Any, silent: Any) -> None:
    run = make_run({"phases.*.epochs": 1, "phases.warmup.time_mask_prob": 0.3})
    watching = Watching()
    swap(run, regularizers={"watching": watching})
    fit(run, silent)
    frames = [row["frames"] for row in epochs(run)]
    assert frames[1] == 2 * frames[0]  # counted once, although seen twice
    for batch in watching.seen:
        clips = len(batch.clip_ids) // 2
        assert batch.clip_ids[:clips] == batch.clip_ids[clips:]
        assert batch.targets_BS[:clips].equal(batch.targets_BS[clips:])
        assert batch.lengths_B[:clips].equal(batch.lengths_B[clips:])
    assert not all(
        b.features_BTF[: len(b.clip_ids) // 2].equal(b.features_BTF[len(b.clip_ids) // 2 :]) for b in watching.seen
    )


@dataclass
class Failing(Regularizer):
    value: float = field(default=float("nan"))

    def term(self, emissions: Emissions, batch: Batch, at: Progress) -> Tensor:
        if self.value:
            return torch.tensor(self.value)
        raise ZeroDivisionError("planted")


def test_a_failing_regularizer_is_named_and_nobody_else(make_run: Any, silent: Any) -> None:
    run = make_run()
    swap(run, regularizers={"failing": Failing(0.0)})
    with pytest.raises(ZeroDivisionError) as error:
        fit(run, silent)
    notes = [note for note in error.value.__notes__ if note.startswith("while ")]
    assert len(notes) == 1
    assert notes[0].startswith("while regularizer 'failing' (")
    assert notes[0].endswith("was at work, epoch 1 (warmup), batch 1 of 6, update 0")


def test_a_term_that_is_no_number_names_itself_and_the_clips(make_run: Any, silent: Any) -> None:
    run = make_run()
    swap(run, regularizers={"failing": Failing()})
    with pytest.raises(Exception, match=r"the term 'failing' of the loss is nan in the batch of clips \w"):
        fit(run, silent)


@dataclass
class Shifting(Penalty):
    classes: int = 3
    domain = "path"

    def shift(self, at: Progress) -> float:
        return 0.0

    def class_shifts(self, at: Progress) -> Tensor:
        return torch.zeros(self.classes)


def test_class_shifts_of_another_alphabet_are_refused(make_run: Any, silent: Any) -> None:
    run = make_run()
    swap(run, penalty=Shifting())
    with pytest.raises(PluginError, match=r"class_shifts returned a path shift of shape \(3,\)"):
        fit(run, silent)
