"""Every row of the kernels' table of figures: correct first, then timed against its rivals, taking turns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rivals
import torch
from turns import interleaved

from ctckit import ops
from ctckit.ops import reference

SEED_SHAPE = (350, 16, 966, 8)
LONG_SHAPE = (500, 32, 966, 50)
SHAPES = {"T350 B16 U8": SEED_SHAPE, "T500 B32 U50": LONG_SHAPE}
# Few classes and long targets: next to nothing but the dynamic programme.
CHARACTERS = {"T500 B32 C32 U50": (500, 32, 32, 50), "T2000 B4 C32 U256": (2000, 4, 32, 256)}
SHIFT = -1.0


def problem(shape):
    frames, batch, classes, width = shape
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(frames, batch, classes, generator=generator)
    targets = torch.randint(1, classes, (batch, width), generator=generator)
    return logits, targets, torch.full((batch,), frames), torch.full((batch,), width)


@pytest.fixture(params=SHAPES, scope="module")
def case(request):
    return request.param, *problem(SHAPES[request.param])


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    if ops.backend().name == "reference":
        pytest.skip(ops.backend().reason)


def finish(benchmark, ours, times, moved):
    """Record ours with pytest-benchmark, and beside it the interleaved medians that the ratios come from."""
    benchmark.extra_info["interleaved_ms"] = times
    benchmark.extra_info["bytes"] = moved
    benchmark.extra_info["GB/s"] = moved / times["ours"] / 1e6
    benchmark.pedantic(ours, rounds=5, warmup_rounds=1)


def note(times):
    return ", ".join(f"{name} {value:.2f} ms" for name, value in times.items())


def test_greedy(case, table, benchmark):
    name, logits, _, lengths, _ = case
    path = ops.greedy(logits, lengths, SHIFT)
    mine = [row[:count].tolist() for row, count in zip(path.tokens_BS, path.counts_B, strict=True)]
    assert mine == rivals.greedy(logits, lengths, SHIFT)

    def ours():
        return ops.greedy(logits, lengths, SHIFT)

    times = interleaved({"ours": ours, "torch": lambda: rivals.greedy(logits, lengths, SHIFT)})
    table.add(
        f"greedy, {name}: vs torch's idiom", times["torch"] / times["ours"], goal=6, floor=3, note=note(times)
    )
    finish(benchmark, ours, times, logits.nbytes)


def test_reading_of_an_evaluation(case, table, benchmark):
    """Path, statistics and entropy of every frame in one pass, against one pass each, the entropy by torch."""
    name, logits, _, lengths, _ = case

    def ours():
        return ops.greedy_with_stats(logits, lengths, SHIFT).entropy(SHIFT)

    def apart():
        ops.greedy(logits, lengths, SHIFT)
        ops.frame_stats(logits, lengths)
        shifted = logits.clone()
        shifted[..., 0] += SHIFT
        return torch.special.entr(shifted.softmax(-1)).sum(-1)

    torch.testing.assert_close(ours(), apart(), rtol=1e-5, atol=1e-5)
    times = interleaved({"ours": ours, "apart": apart, "greedy": lambda: ops.greedy(logits, lengths, SHIFT)})
    table.add(
        f"path, statistics, entropy, {name}: vs apart", times["apart"] / times["ours"], goal=4, note=note(times)
    )
    finish(benchmark, ours, times, logits.nbytes)


def test_greedy_vs_fast_ctc_decode(table, benchmark):
    """Information, not a row of the table of goals: it decodes one utterance of probabilities at a time."""
    decode = pytest.importorskip("fast_ctc_decode", reason="fast-ctc-decode is not installed")
    logits, _, lengths, _ = problem(SEED_SHAPE)
    alphabet = "".join(chr(0x4E00 + c) for c in range(logits.shape[2]))

    def theirs():
        probabilities = logits.softmax(-1).transpose(0, 1).contiguous().numpy()
        return [decode.viterbi_search(one, alphabet)[0] for one in probabilities]

    def ours():
        return ops.greedy(logits, lengths)

    path = ours()
    for text, row, count in zip(theirs(), path.tokens_BS, path.counts_B, strict=True):
        assert [ord(letter) - 0x4E00 for letter in text] == row[:count].tolist()
    times = interleaved({"ours": ours, "fast-ctc-decode": theirs}, rounds=5)
    ratio = times["fast-ctc-decode"] / times["ours"]
    table.add("greedy, T350 B16 U8: vs fast-ctc-decode", ratio, goal=1, note=note(times))
    finish(benchmark, ours, times, logits.nbytes)


def test_log_softmax_with_path(case, table, benchmark):
    name, logits, _, lengths, _ = case
    log_probs, path = ops.penalized_log_softmax_with_path(logits, lengths, SHIFT)
    expected, _ = rivals.log_softmax_and_path(logits, SHIFT)
    torch.testing.assert_close(log_probs, expected, rtol=1e-5, atol=1e-5)
    for fused, alone in zip(path, ops.greedy(logits, lengths, SHIFT), strict=True):
        assert torch.equal(fused, alone)
    del log_probs, expected

    def ours():
        return ops.penalized_log_softmax_with_path(logits, lengths, SHIFT)

    times = interleaved({"ours": ours, "torch": lambda: rivals.log_softmax_and_path(logits, SHIFT)})
    ratio = times["torch"] / times["ours"]
    table.add(f"log-softmax + path, {name}: vs torch", ratio, goal=4, floor=2.5, note=note(times))
    finish(benchmark, ours, times, 2 * logits.nbytes)


def test_share_of_the_bandwidth_of_reading(case, table, benchmark):
    """Both start with the logits in memory, not in cache: a buffer of 128 MB is written in between."""
    name, logits, _, lengths, _ = case
    evicted = torch.empty(1 << 25)

    def ours():
        return ops.greedy(logits, lengths, SHIFT)

    times = interleaved({"ours": ours, "read": logits.sum}, before=lambda: evicted.fill_(1.0))
    share = times["read"] / times["ours"]
    table.add(f"greedy, {name}: share of a read loop", share, goal=0.7, floor=0.5, unit="", note=note(times))
    finish(benchmark, ours, times, logits.nbytes)


def test_sweep(case, table, benchmark):
    name, logits, _, lengths, _ = case
    shifts = torch.linspace(-5.0, 0.0, 20).tolist()

    def ours():
        return ops.sweep(ops.frame_stats(logits, lengths), lengths, shifts)

    tokens, counts = ours()
    for k, shift in enumerate(shifts):
        path = ops.greedy(logits, lengths, shift)
        assert torch.equal(tokens[k], path.tokens_BS)
        assert torch.equal(counts[k], path.counts_B)
    times = interleaved({"ours": ours, "one greedy": lambda: ops.greedy(logits, lengths, SHIFT)})
    ratio = times["ours"] / times["one greedy"]
    table.add(
        f"sweep of 20 shifts, {name}: vs one greedy",
        ratio,
        goal=1.2,
        floor=1.5,
        note=note(times),
        more_is_better=False,
    )
    finish(benchmark, ours, times, logits.nbytes)


def test_loss_and_gradient(case, table, benchmark):
    """Each has a leaf of its own: a step frees the gradient of its own step before, not that of its rival."""
    name, logits, *rest = case
    leaf, rivals_leaf = (logits.clone().requires_grad_() for _ in range(2))

    def ours():
        leaf.grad = None
        losses = ops.ctc_loss(leaf, *rest)
        losses.sum().backward()
        return losses

    def torchs():
        return rivals.ctc_loss_and_gradient(rivals_leaf, *rest)

    torch.testing.assert_close(ours().detach(), torchs().detach(), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(leaf.grad, rivals_leaf.grad, rtol=0, atol=0.05)  # torch's is that far off

    times = interleaved({"ours": ours, "torch": torchs}, rounds=7)
    ratio = times["torch"] / times["ours"]
    table.add(f"loss + gradient, {name}: vs torch", ratio, goal=15, floor=8, note=note(times))
    finish(benchmark, ours, times, 3 * logits.nbytes)


def loss_and_gradient(leaf, rest):
    leaf.grad = None
    ops.ctc_loss(leaf, *rest).sum().backward()


@pytest.mark.parametrize("name", CHARACTERS)
def test_loss_and_gradient_of_few_classes(name, table, benchmark):
    """The targets are planted: logits as a trained model has them, not noise that no path fits."""
    logits, *rest = problem(CHARACTERS[name])
    frames, _, _, width = CHARACTERS[name]
    logits[..., 0] += 12
    utterances = torch.arange(logits.shape[1])
    for u in range(width):
        for frame in (u * frames // width, u * frames // width + 1):
            logits[frame, utterances, rest[0][:, u]] += 20
    leaf, rivals_leaf = (logits.clone().requires_grad_() for _ in range(2))
    loss_and_gradient(leaf, rest)
    theirs = rivals.ctc_loss_and_gradient(rivals_leaf, *rest)
    torch.testing.assert_close(ops.ctc_loss(logits, *rest), theirs.detach(), rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(leaf.grad, rivals_leaf.grad, rtol=0, atol=0.05)  # torch's is that far off

    def ours():
        loss_and_gradient(leaf, rest)

    times = interleaved({"ours": ours, "torch": lambda: rivals.ctc_loss_and_gradient(rivals_leaf, *rest)}, rounds=7)
    ratio = times["torch"] / times["ours"]
    table.add(f"loss + gradient, {name}: vs torch", ratio, goal=6, floor=3, note=note(times))
    finish(benchmark, ours, times, 3 * logits.nbytes)


@pytest.mark.parametrize("what", ["greedy", "loss + gradient"])
@pytest.mark.parametrize("kind", ["class-strided", "bfloat16"])
def test_other_inputs(kind, what, table, benchmark):
    """The seed shape as a [B, C, T] tensor seen as [T, B, C], and in bfloat16, against contiguous float32."""
    logits, *rest = problem(SEED_SHAPE)
    other = logits.bfloat16() if kind == "bfloat16" else logits.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    if kind == "class-strided":
        for one, same in zip(ops.greedy(logits, rest[1]), ops.greedy(other, rest[1]), strict=True):
            assert torch.equal(one, same)

    def runs(logits):
        leaf = logits.detach().requires_grad_()
        return {
            "greedy": lambda: ops.greedy(logits, rest[1]),
            "loss + gradient": lambda: loss_and_gradient(leaf, rest),
        }

    ours = runs(other)[what]
    times = interleaved({"ours": ours, "contiguous float32": runs(logits)[what]}, rounds=15)
    ratio = times["ours"] / times["contiguous float32"]
    goal = 1.5 if kind == "class-strided" else 1.0
    name = f"{what}, {kind}: vs contiguous float32"
    table.add(name, ratio, goal=goal, note=note(times), more_is_better=False)
    finish(benchmark, ours, times, other.nbytes)


@pytest.mark.parametrize("name", [*SHAPES, "T500 B32 C32 U50"])
def test_path_entropy(name, table, benchmark):
    """Entropy and gradient in one pass, against a central difference over three losses (as was done before)."""
    logits, *rest = problem({**SHAPES, **CHARACTERS}[name])
    leaf = logits.requires_grad_()

    def log_total(power):
        raised = power * leaf
        normaliser = raised.logsumexp(-1) - power * leaf.logsumexp(-1)
        return normaliser.sum(0) - ops.ctc_loss(raised, *rest)

    def difference(step=0.05):
        return log_total(1.0) - (log_total(1.0 + step) - log_total(1.0 - step)) / (2 * step)

    def gradient(entropies):
        leaf.grad = None
        entropies().sum().backward()

    def entropies():
        return ops.ctc_loss_with_entropy(leaf, *rest).entropies_B

    torch.testing.assert_close(entropies().detach(), difference().detach(), rtol=0.05, atol=0.5)
    times = interleaved(
        {"ours": lambda: gradient(entropies), "three losses": lambda: gradient(difference)}, rounds=5
    )
    ratio = times["three losses"] / times["ours"]
    table.add(f"path entropy + gradient, {name}: vs three losses", ratio, goal=2.5, note=note(times))
    finish(benchmark, lambda: gradient(entropies), times, 3 * logits.nbytes)


def test_gradient_error(case, table):
    name, logits, *rest = case
    leaf = logits[:, :4].clone().requires_grad_()
    few = [tensor[:4] for tensor in rest]
    ops.ctc_loss(leaf, *few, SHIFT).sum().backward()
    truth = reference.ctc_loss(leaf.detach().double(), *few, SHIFT, False, True)
    weights = torch.ones(4, dtype=torch.float64)
    expected = reference.ctc_loss_backward(weights, leaf.detach().double(), *few, *truth, SHIFT)
    error = float((leaf.grad.double() - expected).norm() / expected.norm())
    table.add(f"gradient, {name}: relative L2 error", error, goal=2e-6, floor=1e-5, unit="", more_is_better=False)


def test_extra_memory(table):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read from Linux's /proc")
    program = [sys.executable, str(Path(__file__).with_name("memory.py"))]

    def peak(who):
        arguments = [*program, who, *map(str, SEED_SHAPE)]
        environment = {**os.environ, "PYTHONPATH": str(Path(ops.__file__).parents[2])}
        return int(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)

    ours, torchs = peak("ours"), peak("torch")
    gradient = 4 * SEED_SHAPE[0] * SEED_SHAPE[1] * SEED_SHAPE[2]
    detail = f"ours {ours / 1e6:.1f} MB, torch {torchs / 1e6:.1f} MB, of which the gradient {gradient / 1e6:.1f} MB"
    table.add(
        "loss, T350 B16 U8: extra memory vs torch",
        ours / torchs,
        goal=1 / 3,
        floor=1 / 2,
        unit="",
        note=detail,
        more_is_better=False,
    )


def test_align(case, table, benchmark):
    name, logits, *rest = case
    targets, lengths, target_lengths = rest

    def loop():
        """As torchaudio's forced_align is used: an utterance at a time, here by the reference."""
        return [
            reference.align(
                logits[:, b : b + 1], targets[b : b + 1], lengths[b : b + 1], target_lengths[b : b + 1], 0.0
            )
            for b in range(logits.shape[1])
        ]

    def ours():
        return ops.align(logits, *rest)

    aligned = ours()
    for b, (paths, *_) in enumerate(loop()):
        assert torch.equal(aligned.paths_BT[b], paths[0])
    contenders = {"ours": ours, "loop of the reference": loop}
    theirs = "loop of the reference"
    try:
        from torchaudio.functional import forced_align
    except (ImportError, OSError):  # absent, or built for another torch
        pass
    else:
        theirs = "loop of torchaudio"
        contenders[theirs] = lambda: [
            forced_align(logits[:, b : b + 1].log_softmax(-1).transpose(0, 1), targets[b : b + 1])
            for b in range(logits.shape[1])
        ]
    times = interleaved(contenders, rounds=3)
    ratio = times[theirs] / times["ours"]
    table.add(f"alignment, {name}: vs {theirs}", ratio, goal=8, floor=4, note=note(times))
    finish(benchmark, ours, times, logits.nbytes)


def spikes(frames, batch, classes):
    """Logits as trained networks give them: blanks, and now and then a label for two frames."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(frames, batch, classes, generator=generator)
    logits[..., 0] += 9
    for clip in range(batch):
        for spike in range(frames // 35):
            logits[17 + 35 * spike :, clip, 1 + (97 * spike + clip) % (classes - 1)][:2] += 11
    return logits, torch.full((batch,), frames)


@pytest.mark.parametrize("classes", [32, 966])
def test_beam_search(classes, table, benchmark):
    """The same beam by fast-ctc-decode, on ready posteriors, in one thread and under its own threshold."""
    theirs = pytest.importorskip("fast_ctc_decode", reason="fast-ctc-decode is not installed")
    logits, lengths = spikes(350, 8, classes)
    posteriors = [clip.contiguous().numpy() for clip in logits.softmax(-1).transpose(0, 1)]
    alphabet = "".join(chr(0x4E00 + label) for label in range(classes))

    def ours():
        return ops.beam_search(logits, lengths, width=16)

    def rival():
        return [
            theirs.beam_search(clip, alphabet, beam_size=16, beam_cut_threshold=0.001)[0] for clip in posteriors
        ]

    found = ours()
    paths = [row[0, : counts[0]].tolist() for row, counts in zip(found.tokens_BNS, found.counts_BN, strict=True)]
    assert ["".join(alphabet[label] for label in path) for path in paths] == rival()
    times = interleaved({"ours": ours, "fast-ctc-decode": rival}, rounds=3)
    table.add(
        f"beam search, T350 B8 C{classes} beam 16: vs fast-ctc-decode",
        times["fast-ctc-decode"] / times["ours"],
        goal=5,
        floor=3,
        note=note(times),
    )
    finish(benchmark, ours, times, logits.nbytes)
