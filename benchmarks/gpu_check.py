"""The whole oracle on a CUDA device, then times: `gpu_check.py OUTPUT.json [--small]`, through gpu_check.sh.

Every fault is listed, not only the first; the exit status is 1 if there is one. `--small` leaves the times and the
large problems out, for a run under compute-sanitizer.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rivals import ctc_loss_and_gradient, greedy, log_softmax_and_path
from torch import Tensor

from ctckit import ops
from ctckit.ops import reference

# T, B, C, U. The second line of the small ones has widths around warps and around what shared memory holds.
FULL = [(350, 16, 966, 8), (500, 32, 966, 50)]
SMALL = [(7, 3, 2, 2), (40, 5, 33, 0), (3, 2, 5, 1), (70, 3, 40, 31), (70, 3, 40, 32), (70, 3, 40, 33)]
LONG = [(400, 2, 60, 159), (400, 2, 60, 169), (400, 2, 60, 170), (600, 2, 60, 255), (600, 2, 60, 256)]
LONGER = [(1300, 2, 60, 600), (4300, 1, 60, 2000)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
SHIFT = -1.0

Shape = tuple[int, int, int, int]
Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def problem(shape: Shape, dtype: torch.dtype, whole: bool = False) -> Problem:
    """Random logits, targets, lengths (some shorter than T, unless whole) and target lengths."""
    frames, batch, classes, width = shape
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(frames, batch, classes, generator=generator)).to(dtype)
    targets = torch.randint(1, classes, (batch, width), generator=generator)
    shortest = frames if whole else max(frames // 2, min(frames, 2 * width))
    lengths = torch.randint(shortest, frames + 1, (batch,), generator=generator)
    return logits, targets, lengths, torch.full((batch,), width)


def close(got: Tensor, want: Tensor, atol: float) -> None:
    torch.testing.assert_close(got.cpu().double(), want.double(), rtol=1e-5, atol=atol)


def check_decoding(shape: Shape, dtype: torch.dtype) -> None:
    logits, _, lengths, _ = problem(shape, dtype)
    logits_, lengths_ = logits.cuda(), lengths.cuda()
    want = reference.greedy(logits.double(), lengths, SHIFT)
    got = ops.greedy(logits_, lengths_, SHIFT)
    log_probs, path = ops.penalized_log_softmax_with_path(logits_, lengths_, SHIFT)
    for mine, other, truth in zip(got, path, want, strict=True):
        close(mine, truth, 1e-3)
        close(other, truth, 1e-3)
    close(log_probs, reference.penalized_log_softmax(logits.double(), SHIFT), 0.1 if dtype.itemsize == 2 else 1e-3)
    tokens, _ = ops.sweep(ops.frame_stats(logits_, lengths_), lengths_, [SHIFT, 0.0])
    assert torch.equal(tokens[0], got.tokens_BS), "sweep and greedy differ"


def check_alignment(shape: Shape, dtype: torch.dtype) -> None:
    logits, *rest = problem(shape, dtype)
    got = ops.align(*(tensor.cuda() for tensor in (logits, *rest)), SHIFT)
    for mine, truth in zip(got, reference.align(logits.double(), *rest, SHIFT), strict=True):
        close(mine, truth, 1e-2)


def check_loss(shape: Shape, dtype: torch.dtype) -> float:
    """Returns the gradient's relative L2 error against float64."""
    logits, *rest = problem(shape, dtype)
    leaf = logits.cuda().requires_grad_()
    losses = ops.ctc_loss(leaf, *(tensor.cuda() for tensor in rest), SHIFT)
    wide = logits.double()
    truth = reference.ctc_loss(wide, *rest, SHIFT, False, True)
    close(losses.detach(), truth[0], 1e-2)
    losses.masked_fill(losses == torch.inf, 0).sum().backward()
    assert leaf.grad is not None
    want = reference.ctc_loss_backward(torch.ones_like(truth[0]), wide, *rest, *truth, SHIFT)
    error = float((leaf.grad.detach().cpu().double() - want).norm() / want.norm().clamp(min=1e-30))
    allowed = 1e-5 if dtype.itemsize >= 4 else 1e-2
    assert error <= allowed, f"gradient error {error:.2e}, allowed {allowed:.0e}"
    return error


def refusal_of(call: Callable[[], object]) -> str:
    try:
        call()
    except (ValueError, RuntimeError) as refusal:
        return str(refusal)
    return "nothing"


def check_refusals(shape: Shape, dtype: torch.dtype) -> None:
    """A NaN names its utterance, on any stream; lengths and labels are checked."""
    logits, targets, lengths, target_lengths = (tensor.cuda() for tensor in problem(shape, dtype))
    rest = targets, lengths, target_lengths
    bad = logits.clone()
    bad[0, 1, 0] = torch.nan
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            said = refusal_of(lambda: ops.ctc_loss(bad, *rest))
        assert "utterance 1" in said, f"a NaN in utterance 1: the op said {said}"
    stats = ops.frame_stats(logits, lengths)
    long, wide, beyond = lengths.clone(), target_lengths.clone(), targets.clone()
    long[2], wide[2], beyond[2, 0] = 1 << 40, -3, 1 << 40
    wrong = (targets, long, target_lengths), (targets, lengths, wide), (beyond, lengths, target_lengths)
    names = "lengths: 1099511627776", "target_lengths: -3", "targets: label 1099511627776"
    for name, arguments in zip(names, wrong, strict=True):
        for op in (ops.ctc_loss, ops.align):
            said = refusal_of(lambda op=op, arguments=arguments: op(logits, *arguments))
            assert said.startswith(f"{name} of utterance 2"), f"{name}: {op.__name__} said {said}"
    for call in (
        lambda: ops.greedy(logits, long),
        lambda: ops.frame_stats(logits, long),
        lambda: ops.sweep(stats, long, [0.0]),
        lambda: ops.penalized_log_softmax_with_path(logits, long),
    ):
        said = refusal_of(call)
        assert said.startswith("lengths: 1099511627776 of utterance 2"), f"lengths: an op said {said}"


def oracle(report: dict[str, object], small: bool) -> Iterator[str]:
    """Run all checks; yields a line a failure."""
    grid = [(shape, dtype) for dtype in DTYPES for shape in (SMALL if small else FULL + SMALL)]
    grid += [
        (shape, dtype) for dtype in (torch.float32, torch.float64) for shape in ([] if small else LONG + LONGER)
    ]
    for shape, dtype in grid:
        for check in (check_decoding, check_alignment, check_loss):
            name = f"{check.__name__.removeprefix('check_')} {dtype} {shape}"
            try:
                error = check(shape, dtype)
            except Exception as failure:  # noqa: BLE001 every fault is listed, whatever its type
                print("".join(traceback.format_exception(failure, limit=-1)), file=sys.stderr)
                yield f"{name}: {str(failure).strip().splitlines()[0]}"
            else:
                report[name] = "ok" if error is None else error
    try:
        check_refusals(FULL[0], torch.float32)
    except Exception as failure:  # noqa: BLE001 as above
        yield f"refusals: {failure}"


def milliseconds(call: Callable[[], object], rounds: int = 30) -> float:
    """Median over rounds, by events on the device; the host's part counts where the device waits for it."""
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


def kernels_of(call: Callable[[], object], rounds: int = 10) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds a call of each kernel, and how often a call makes the host wait or copies."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(rounds):
            call()
    times, waits = {}, {}
    for event in profile.key_averages():
        if event.device_type == torch.profiler.DeviceType.CUDA:
            times[event.key[:90]] = round(event.self_device_time_total / rounds, 2)
        elif "Synchronize" in event.key or "Memcpy" in event.key:
            waits[event.key] = event.count / rounds
    waits.pop("cudaDeviceSynchronize", None)  # the profiler's own
    return times, waits


def speeds(shape: Shape, dtype: torch.dtype, report: dict[str, object]) -> None:
    logits, targets, lengths, target_lengths = (tensor.cuda() for tensor in problem(shape, dtype, whole=True))
    copy = torch.empty_like(logits)
    host = targets.flatten().int().cpu(), lengths.int().cpu(), target_lengths.int().cpu()

    def ours() -> None:
        ops.ctc_loss(logits.detach().requires_grad_(), targets, lengths, target_lengths).sum().backward()

    def native() -> None:
        with torch.backends.cudnn.flags(enabled=False):
            ctc_loss_and_gradient(logits.detach().requires_grad_(), targets, lengths, target_lengths)

    def cudnn() -> None:
        ctc_loss_and_gradient(logits.detach().requires_grad_(), *host)

    stats = ops.frame_stats(logits, lengths)
    # passes over the logits' bytes, for GB/s
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "copy": (lambda: copy.copy_(logits), 2),
        "greedy": (lambda: ops.greedy(logits, lengths, SHIFT), 1),
        "greedy, torch's idiom": (lambda: greedy(logits, lengths, SHIFT), 1),
        "log-softmax and path": (lambda: ops.penalized_log_softmax_with_path(logits, lengths, SHIFT), 2),
        "log-softmax and path, torch": (lambda: log_softmax_and_path(logits, SHIFT), 2),
        "frame_stats": (lambda: ops.frame_stats(logits, lengths), 1),
        "sweep of 20": (lambda: ops.sweep(stats, lengths, [-0.25 * i for i in range(20)]), 0),
        "alignment": (lambda: ops.align(logits, targets, lengths, target_lengths), 1),
        "loss and gradient": (ours, 3),
    }
    if dtype == torch.float32:
        calls["loss and gradient, torch native"] = (native, 3)
        calls["loss and gradient, cuDNN"] = (cudnn, 3)
    for name, (call, passes) in calls.items():
        ms = milliseconds(call)
        times, waits = kernels_of(call)
        report[f"{name} {dtype} {shape}"] = {
            "ms": round(ms, 4),
            "GB/s": round(passes * logits.nbytes / ms / 1e6),
            "device us": round(sum(times.values()), 1),
            "kernels us": dict(sorted(times.items(), key=lambda item: -item[1])[:6]),
            "waits": waits,
        }


def main() -> int:
    report: dict[str, object] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "backend": ops.backend()._asdict(),
    }
    small = "--small" in sys.argv
    failures = report["failures"] = list(oracle(report, small))
    if not small:
        for dtype in DTYPES[:3]:
            for shape in FULL:
                speeds(shape, dtype, report)
    Path(sys.argv[1]).write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=1))
    print(f"{len(failures)} failures", *failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
