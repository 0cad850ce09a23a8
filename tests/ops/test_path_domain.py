"""The gradient of the path domain, p - gamma, against autograd through a plain dynamic programme in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ctckit import ops


def plain_loss(logits_TC: Tensor, target: list[int], shift: float) -> Tensor:
    """``-log sum over paths of p(path) exp(shift * blanks)``, by the textbook recursion and nothing else."""
    weights_TC = logits_TC.log_softmax(-1)
    weights_TC = torch.cat([weights_TC[:, :1] + shift, weights_TC[:, 1:]], dim=1)
    states = [0]
    for label in target:
        states += [label, 0]
    never = logits_TC.new_tensor(-torch.inf)
    alphas = [weights_TC[0, state] if number < 2 else never for number, state in enumerate(states)]
    for frame_C in weights_TC[1:]:
        following = []
        for number, state in enumerate(states):
            before = [alphas[number]]
            if number >= 1:
                before.append(alphas[number - 1])
            if number >= 2 and state != 0 and state != states[number - 2]:
                before.append(alphas[number - 2])
            reachable = [alpha for alpha in before if alpha > -torch.inf]
            following.append(torch.stack(reachable).logsumexp(0) + frame_C[state] if reachable else never)
        alphas = following
    return -torch.stack(alphas[-2:]).logsumexp(0)


@pytest.mark.parametrize("shift", [-0.3, -1.5, -3.0])
@pytest.mark.parametrize(("frames", "target"), [(6, [1, 2]), (9, [3, 3, 1]), (25, [2, 1, 4, 4, 2])])
def test_the_gradient_is_that_of_a_plain_recursion(frames: int, target: list[int], shift: float) -> None:
    generator = torch.Generator().manual_seed(frames)
    logits_TC = 2.0 * torch.randn(frames, 6, generator=generator, dtype=torch.float64)
    plain_TC = logits_TC.clone().requires_grad_()
    wanted = plain_loss(plain_TC, target, shift)
    wanted.backward()
    ours_TBC = logits_TC[:, None].clone().requires_grad_()
    lengths = (torch.tensor([target]), torch.tensor([frames]), torch.tensor([len(target)]))
    losses_B = ops.ctc_loss(ours_TBC, *lengths, shift=shift, domain="path")
    losses_B.sum().backward()
    assert plain_TC.grad is not None
    assert ours_TBC.grad is not None
    assert losses_B.item() == pytest.approx(wanted.item(), abs=1e-10)
    assert float((ours_TBC.grad[:, 0] - plain_TC.grad).abs().max()) < 1e-10
