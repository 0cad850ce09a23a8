"""The loss in torch's place: torch's own tests of it, restated, and both side by side on random problems."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch.nn import functional as theirs

import ctckit.nn
from ctckit.nn import functional as ours

PROBLEMS = 1000


def problem(seed: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """Logits and arguments in one of the forms that torch takes; in one problem of eight a clip has no path."""
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    frames, clips, classes = draw.randint(1, 12), draw.randint(1, 4), draw.randint(2, 7)
    blank = draw.randrange(classes)
    one = draw.random() < 0.15
    clips = 1 if one else clips
    labels = [label for label in range(classes) if label != blank]
    lengths = [draw.randint(1, frames) for _ in range(clips)]
    targets = []
    for length in lengths:
        target = [draw.choice(labels) for _ in range(draw.randint(0, length))]
        while len(target) + sum(a == b for a, b in itertools.pairwise(target)) > length:
            target.pop()
        targets.append(target)
    if draw.random() < 0.125:
        targets[0] = [labels[0]] * (lengths[0] + 1)
    target_lengths = [len(target) for target in targets]
    integer = draw.choice([torch.int32, torch.int64])
    if one or draw.random() < 0.5:
        width = max(target_lengths) + (0 if one else draw.randint(0, 2))
        rows = [target + [draw.randrange(classes)] * (width - len(target)) for target in targets]
        given = torch.tensor(rows, dtype=integer).reshape(clips, width)
        given = given[0] if one else given
    else:
        given = torch.tensor([label for target in targets for label in target], dtype=integer)
    form = draw.choice([tuple, list, torch.tensor, lambda values: torch.tensor(values, dtype=torch.int32)])
    dtype = draw.choice([torch.float32, torch.float64])
    logits = torch.randn(frames, clips, classes, generator=generator, dtype=dtype) * draw.choice([0.1, 1, 5])
    arguments = {
        "targets": given,
        "input_lengths": form(lengths),
        "target_lengths": form(target_lengths),
        "blank": blank,
        "reduction": draw.choice(["none", "mean", "sum"]),
        "zero_infinity": draw.random() < 0.5,
    }
    return logits[:, 0] if one else logits, arguments


def both(logits: torch.Tensor, arguments: dict[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    found = []
    for loss_of in (theirs.ctc_loss, ours.ctc_loss):
        leaf = logits.clone().requires_grad_()
        loss = loss_of(leaf.log_softmax(-1), **arguments)
        (gradient,) = torch.autograd.grad(
            (loss * torch.arange(1, loss.numel() + 1).reshape(loss.shape)).sum(), leaf
        )
        found.append((loss.detach(), gradient))
    return found


@pytest.mark.parametrize("slice_", range(4))
def test_values_and_gradients_are_torchs_on_random_problems(slice_: int) -> None:
    infinite = 0
    for seed in range(slice_, PROBLEMS, 4):
        logits, arguments = problem(seed)
        (wanted, slope), (found, own) = both(logits, arguments)
        tolerance = {"rtol": 1e-9, "atol": 1e-9} if logits.dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-5}
        assert found.shape == wanted.shape, arguments
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, **tolerance, msg=str((seed, arguments)))
        infinite += bool(wanted.isinf().any())
        # without a path torch's gradient is NaN, and 0 here
        torch.testing.assert_close(own, slope.nan_to_num(0.0), **tolerance, msg=str((seed, arguments)))
    assert infinite > 3


LOG_PROBS = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
GOOD = {"targets": torch.tensor([[1, 2], [3, 1]]), "input_lengths": [5, 5], "target_lengths": [2, 2]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_lengths": [6, 5]},
        {"input_lengths": [5, -1]},
        {"input_lengths": [5]},
        {"input_lengths": [5, 5, 5]},
        {"input_lengths": [5.0, 5.0]},
        {"input_lengths": torch.tensor([5.0, 5.0]), "target_lengths": torch.tensor([2, 2])},
        {"input_lengths": torch.tensor([True, True]), "target_lengths": torch.tensor([2, 2])},
        {"target_lengths": [2, -2]},
        {"target_lengths": [2, 3]},
        {"target_lengths": [2]},
        {"targets": torch.tensor([1, 2, 3, 1, 1])},
        {"targets": torch.tensor([1, 2, 3])},
        {"targets": torch.tensor([[1, 2]])},
        {"targets": torch.tensor([[[1, 2], [3, 1]]])},
        {"targets": [[1, 2], [3, 1]]},
        {"blank": 4},
        {"blank": -1},
        {"reduction": "median"},
        {"log_probs": LOG_PROBS.long()},
        {"log_probs": LOG_PROBS[None]},
        {"log_probs": LOG_PROBS[:0], "input_lengths": [0, 0], "target_lengths": [0, 0]},
        {
            "log_probs": LOG_PROBS[:, :0],
            "targets": torch.zeros(0, 2, dtype=torch.int64),
            "input_lengths": [],
            "target_lengths": [],
        },
    ],
)
def test_what_torch_refuses_is_refused_alike(wrong: dict[str, Any]) -> None:
    arguments = {"log_probs": LOG_PROBS, **GOOD, **wrong}
    with pytest.raises(Exception) as caught:
        theirs.ctc_loss(**arguments)
    with pytest.raises(type(caught.value)):
        ours.ctc_loss(**arguments)


@pytest.mark.parametrize("label", [0, 4, -1])
def test_targets_that_torch_would_read_astray_are_refused(label: int) -> None:
    with pytest.raises(RuntimeError, match=f"label {label} of clip 1, place 0"):
        ours.ctc_loss(LOG_PROBS, torch.tensor([[1, 2], [label, 1]]), [5, 5], [2, 2])
    padded = ours.ctc_loss(LOG_PROBS, torch.tensor([[1, 2], [label, label]]), [5, 5], [2, 0])
    assert padded.isfinite()


def test_logits_are_taken_as_well() -> None:
    logits = 3 * torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean = theirs.ctc_loss(logits.log_softmax(-1), **GOOD)
    torch.testing.assert_close(ours.ctc_loss(logits, **GOOD), mean)


@pytest.mark.parametrize("blank", [0, 2, 3])
def test_a_shift_of_the_blank_is_one_of_its_logit(blank: int) -> None:
    logits = torch.randn(6, 1, 4, dtype=torch.float64)
    target = torch.tensor([[label for label in (1, 0, 2) if label != blank]])
    moved = logits.clone()
    moved[..., blank] -= 1.5
    lengths = ([6], [target.shape[1]])
    wanted = theirs.ctc_loss(moved.log_softmax(-1), target, *lengths, blank=blank)
    torch.testing.assert_close(ours.ctc_loss(logits, target, *lengths, blank=blank, shift=-1.5), wanted)
    on_path = ours.ctc_loss(logits, target, *lengths, blank=blank, shift=-1.5, domain="path")
    assert on_path != pytest.approx(float(wanted))
    with pytest.raises(ValueError, match="domain"):
        ours.ctc_loss(logits, target, *lengths, blank=blank, domain="frame")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shift"):
        ours.ctc_loss(logits, target, *lengths, blank=blank, shift=float("nan"))


def test_empty_targets_and_clips_without_frames() -> None:
    for lengths in ([5, 3], [0, 0]):
        arguments = {"input_lengths": lengths, "target_lengths": [0, 0], "reduction": "none"}
        for targets in (torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), GOOD["targets"]):
            wanted = theirs.ctc_loss(LOG_PROBS, targets, **arguments)
            torch.testing.assert_close(ours.ctc_loss(LOG_PROBS, targets, **arguments), wanted)
    nothing = ours.ctc_loss(LOG_PROBS, GOOD["targets"], [0, 5], [1, 2], reduction="none")
    assert nothing[0] == torch.inf
    assert nothing[1].isfinite()
    only_blank = ours.ctc_loss(LOG_PROBS[..., :1], GOOD["targets"], [5, 5], [0, 0])
    assert float(only_blank) == pytest.approx(0.0)  # one class is certain


def test_spoilt_clips_are_nan_and_spoil_no_other() -> None:
    spoilt = LOG_PROBS.clone()
    spoilt[1, 0, 2] = torch.nan
    spoilt.requires_grad_()
    found = ours.ctc_loss(spoilt, **GOOD, reduction="none", blank=0)
    wanted = theirs.ctc_loss(LOG_PROBS, **GOOD, reduction="none")
    assert found[0].isnan()
    torch.testing.assert_close(found[1].detach(), wanted[1])
    (slope,) = torch.autograd.grad(found.sum(), spoilt)
    assert slope[:, 0].isnan().any()
    assert slope[:, 1].isfinite().all()
    padding = LOG_PROBS.clone()
    padding[4, 0] = torch.nan  # beyond the length
    assert ours.ctc_loss(padding, GOOD["targets"], [4, 5], [2, 2]).isfinite()


def test_a_second_derivative_is_refused() -> None:
    logits = LOG_PROBS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ours.ctc_loss(logits, **GOOD), logits, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(slope.sum(), logits)


def test_gradients_agree_with_differences() -> None:
    logits = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, 1, 2], [3, 2, 1], [2, 0, 0]])
    for reduction in ("none", "mean", "sum"):
        assert torch.autograd.gradcheck(
            lambda x, how=reduction: ours.ctc_loss(x, targets, [6, 5, 3], [3, 3, 1], reduction=how), (logits,)
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_works(dtype: torch.dtype) -> None:
    logits = LOG_PROBS.to(dtype).requires_grad_()
    loss = ours.ctc_loss(logits, **GOOD)
    wanted = theirs.ctc_loss(logits.detach().float().log_softmax(-1), **GOOD)
    torch.testing.assert_close(loss.detach().float(), wanted, rtol=1e-4, atol=1e-4)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.dtype == dtype


def test_the_module_has_torchs_arguments() -> None:
    for arguments in [(), (2,), (0, "sum"), (3, "none", True)]:
        targets = torch.tensor([[1, 1], [1, 1]])
        wanted = torch.nn.CTCLoss(*arguments)(LOG_PROBS, targets, (5, 5), (2, 2))
        torch.testing.assert_close(ctckit.nn.CTCLoss(*arguments)(LOG_PROBS, targets, (5, 5), (2, 2)), wanted)
    module = ctckit.nn.CTCLoss(blank=3, shift=-1.0, domain="path")
    assert "blank=3" in repr(module)
    assert "shift=-1.0" in repr(module)
    shifted = ours.ctc_loss(LOG_PROBS, targets, [5, 5], [2, 2], 3, shift=-1.0, domain="path")
    torch.testing.assert_close(module(LOG_PROBS, targets, [5, 5], [2, 2]), shifted)
