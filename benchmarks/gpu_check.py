"""The whole oracle on a CUDA device, then bandwidths: `python gpu_check.py OUTPUT.json`, through gpu_check.sh."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from ctckit import ops
from ctckit.ops import reference

SHAPES = [(350, 16, 966, 8), (500, 32, 966, 50), (7, 3, 2, 2), (40, 5, 33, 0)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
SHIFT = -1.0


def problem(shape: tuple[int, int, int, int], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    frames, batch, classes, width = shape
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(frames, batch, classes, generator=generator)).to(dtype)
    targets = torch.randint(1, classes, (batch, width), generator=generator)
    lengths = torch.randint(frames // 2, frames + 1, (batch,), generator=generator)
    return logits, targets, lengths, torch.full((batch,), width)


def check(shape: tuple[int, int, int, int], dtype: torch.dtype) -> float:
    """Compare every op with the reference in float64; returns the gradient's relative L2 error."""
    logits, *rest = problem(shape, dtype)
    device = [tensor.cuda() for tensor in (logits, *rest)]
    wide = logits.double()
    for got, want in zip(
        ops.greedy(device[0], device[2], SHIFT), reference.greedy(wide, rest[1], SHIFT), strict=True
    ):
        torch.testing.assert_close(got.cpu().double(), want.double(), rtol=1e-5, atol=1e-3)
    for got, want in zip(ops.align(*device, SHIFT), reference.align(wide, *rest, SHIFT), strict=True):
        torch.testing.assert_close(got.cpu().double(), want.double(), rtol=1e-5, atol=1e-2)
    stats = ops.frame_stats(device[0], device[2])
    tokens, _ = ops.sweep(stats, device[2], [SHIFT, 0.0])
    assert torch.equal(tokens[0], ops.greedy(device[0], device[2], SHIFT).tokens_BS)
    leaf = device[0].clone().requires_grad_()
    losses = ops.ctc_loss(leaf, *device[1:], SHIFT)
    truth = reference.ctc_loss(wide, *rest, SHIFT, False, True)
    torch.testing.assert_close(losses.detach().cpu().double(), truth[0], rtol=1e-5, atol=1e-2)
    losses.masked_fill(losses == torch.inf, 0).sum().backward()
    want = reference.ctc_loss_backward(torch.ones_like(truth[0]), wide, *rest, *truth, SHIFT)
    return float((leaf.grad.cpu().double() - want).norm() / want.norm().clamp(min=1e-30))


def milliseconds(call: Callable[[], object], rounds: int = 30) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[rounds // 2]


def speeds(shape: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, float]:
    logits, *rest = (tensor.cuda() for tensor in problem(shape, dtype))
    copy = torch.empty_like(logits)

    def loss() -> None:
        leaf = logits.detach().requires_grad_()
        ops.ctc_loss(leaf, *rest).sum().backward()

    calls: dict[str, tuple[Callable[[], object], int]] = {
        "copy": (lambda: copy.copy_(logits), 2),
        "greedy": (lambda: ops.greedy(logits, rest[1]), 1),
        "log_softmax_with_path": (lambda: ops.penalized_log_softmax_with_path(logits, rest[1]), 2),
        "loss_and_gradient": (loss, 3),
    }
    return {name: passes * logits.nbytes / milliseconds(call) / 1e6 for name, (call, passes) in calls.items()}


def main() -> None:
    report: dict[str, object] = {"device": torch.cuda.get_device_name(), "backend": ops.backend()._asdict()}
    for dtype in DTYPES:
        for shape in SHAPES:
            key = f"{dtype} {shape}"
            report[f"{key} gradient error"] = check(shape, dtype)
    for dtype in DTYPES[:3]:
        for shape in SHAPES[:2]:
            report[f"{dtype} {shape} GB/s"] = speeds(shape, dtype)
    text = json.dumps(report, indent=2)
    Path(sys.argv[1]).write_text(text + "\n")
    print(text)


main()
