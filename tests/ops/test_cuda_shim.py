"""The CUDA kernels, executed: every op against the reference in float64, under ASan and UBSan, for random warp
orders, with the bytes of global memory counted."""

from __future__ import annotations

import re
import shutil
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ctckit import ops
from ctckit.ops import build, reference

from .closeness import assert_right
from .problems import DTYPES, Problem, make, problems
from .shim import Shim, compile_shim

pytestmark = pytest.mark.csrc

# Shrinking a failure would take minutes, a process an attempt: what fails is printed as it was drawn.
EXAMPLES = settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
BATCH = 6  # problems a process


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Shim:
    try:
        build.find_compiler()
    except build.BuildError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("shim")
    return Shim(compile_shim(folder), folder / "problems")


def batches():
    return st.lists(st.tuples(problems(), st.integers(0, 2**20)), min_size=1, max_size=BATCH)


def ask(op, problem, seed, **more):
    logits, targets, lengths, target_lengths, shift = problem
    asked = {"op": op, "logits": logits, "lengths": lengths, "shift": shift, "seed": seed}
    return asked | {"targets": targets, "target_lengths": target_lengths} | more


def spread(logits):
    return float(logits.double().masked_fill(logits == -torch.inf, 0).abs().amax()) if logits.numel() else 0.0


def check_tuple(names, arrays, own, truth, scale):
    for name, mine, right in zip(names, own, truth, strict=True):
        assert_right(name, arrays[name].view(right.shape), mine, right, scale=scale)


def short(names):
    return [name.rsplit("_", 1)[0] for name in names]


@EXAMPLES
@given(batches())
def test_frame_stats_and_sweep(shim, batch):
    shifts = torch.tensor([0.0, -0.5, -3.0], dtype=torch.float64)
    asked = [ask("sweep", problem, seed, shifts=shifts, K=3) for problem, seed in batch]
    for (problem, _), outcome in zip(batch, shim.run(asked), strict=True):
        logits, lengths = problem.logits, problem.lengths
        truth = reference.frame_stats(logits.double(), lengths)
        names = short(ops.FrameStats._fields)
        check_tuple(names, outcome.arrays, reference.frame_stats(logits, lengths), truth, 1 + spread(logits))
        assert outcome.fault is None
        tokens, counts = reference.sweep(truth[0], truth[1], truth[3], lengths, shifts)
        assert torch.equal(outcome.arrays["tokens"].view(tokens.shape), tokens)
        assert torch.equal(outcome.arrays["counts"].view(counts.shape), counts)


OPS_OF_ROWS = ("greedy", "greedy_with_stats", "log_softmax")


@EXAMPLES
@given(batches())
def test_greedy_and_log_softmax(shim, batch):
    asked = [ask(op, problem, seed) for problem, seed in batch for op in OPS_OF_ROWS]
    outcomes = iter(shim.run(asked))
    names = short(ops.GreedyPaths._fields)
    for problem, _ in batch:
        logits, lengths, shift = problem.logits, problem.lengths, problem.shift
        greedy, reading, fused = (next(outcomes) for _ in OPS_OF_ROWS)
        truth = reference.greedy(logits.double(), lengths, shift)
        scale = (1 + logits.shape[0]) * (1 + spread(logits))
        check_tuple(names, greedy.arrays, reference.greedy(logits, lengths, shift), truth, scale)
        for name in names:
            assert torch.equal(greedy.arrays[name], fused.arrays[name])
            assert torch.equal(greedy.arrays[name], reading.arrays[name])
        read = [*short(ops.FrameStats._fields), "entropy"]
        own, exact = (reference.greedy_with_stats(x, lengths, shift)[-5:] for x in (logits, logits.double()))
        check_tuple(read, reading.arrays, own, exact, 1 + spread(logits))
        log_probs = reference.penalized_log_softmax(logits.double(), shift)
        own = reference.penalized_log_softmax(logits, shift)
        assert_right("log_probs", fused.arrays["out"], own, log_probs, scale=1 + spread(logits))


@EXAMPLES
@given(batches())
def test_log_softmax_backward(shim, batch):
    asked, wanted = [], []
    for problem, seed in batch:
        log_probs = reference.penalized_log_softmax(problem.logits, problem.shift)
        grad = torch.randn(log_probs.shape, generator=torch.Generator().manual_seed(seed)).to(log_probs.dtype)
        asked.append({"op": "log_softmax_backward", "logits": log_probs, "grad": grad, "seed": seed})
        own = reference.penalized_log_softmax_backward(grad, log_probs)
        wanted.append((own, reference.penalized_log_softmax_backward(grad.double(), log_probs.double())))
    for outcome, (own, truth) in zip(shim.run(asked), wanted, strict=True):
        assert_right("grad", outcome.arrays["out"], own, truth, scale=float(truth.shape[2]))


@EXAMPLES
@given(batches(), st.booleans())
def test_ctc_loss(shim, batch, path_domain):
    def weights(problem):
        generator = torch.Generator().manual_seed(2)
        working = torch.float64 if problem.logits.dtype == torch.float64 else torch.float32
        return torch.rand(problem.logits.shape[1], generator=generator).to(working)

    asked = [
        ask(
            "ctc_loss", problem, seed, path_domain=path_domain, with_gradient=gradient, grad_losses=weights(problem)
        )
        for problem, seed in batch
        for gradient in (True, False)
    ]
    outcomes = iter(shim.run(asked))
    for problem, _ in batch:
        logits, *rest, shift = problem
        outcome, without = next(outcomes), next(outcomes)
        norm_shift = 0.0 if path_domain else shift
        own = reference.ctc_loss(logits, *rest, shift, path_domain, True)
        truth = reference.ctc_loss(logits.double(), *rest, shift, path_domain, True)
        scale = 1 + (1 + logits.shape[0]) * (1 + spread(logits))
        assert_right("losses", outcome.arrays["losses"], own[0], truth[0], scale=scale)
        assert torch.equal(outcome.arrays["losses"], without.arrays["losses"])
        finite = truth[0] < torch.inf
        occupancy = outcome.arrays["occupancy"].view(truth[2].shape)
        assert_right("occupancy", occupancy[finite], own[2][finite], truth[2][finite])
        weight = weights(problem)
        own_grad = reference.ctc_loss_backward(weight, logits, *rest, *own, norm_shift)
        true_grad = reference.ctc_loss_backward(weight.double(), logits.double(), *rest, *truth, norm_shift)
        tolerance = 1.0 if logits.dtype == torch.float64 else 1 + spread(logits) / 4
        assert_right("gradient", outcome.arrays["out"], own_grad, true_grad, scale=tolerance)


@EXAMPLES
@given(batches())
def test_align(shim, batch):
    outcomes = shim.run([ask("align", problem, seed) for problem, seed in batch])
    for (problem, _), outcome in zip(batch, outcomes, strict=True):
        logits, *rest = problem
        truth, own = reference.align(logits.double(), *rest), reference.align(logits, *rest)
        scale = (1 + logits.shape[0]) * (1 + spread(logits))
        check_tuple(short(ops.Alignment._fields), outcome.arrays, own, truth, scale)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_states_and_many_classes(shim, dtype):
    """More states than threads in a warp, classes off every boundary, repeats across warps."""
    wide = [make(shape=(40, 2, 71), width=width, dtype=dtype, shift=-0.4, seed=width) for width in (15, 16, 17, 40)]
    wide.append(make("peaked", (6, 2, 966), 3, dtype=dtype))
    wide = [problem._replace(lengths=torch.full_like(problem.lengths, problem.logits.shape[0])) for problem in wide]
    grads = {"grad_losses": torch.ones(2, dtype=torch.float64 if dtype == torch.float64 else torch.float32)}
    asked = [ask("ctc_loss", problem, 7, path_domain=0, with_gradient=1, **grads) for problem in wide]
    for problem, outcome in zip(wide, shim.run(asked), strict=True):
        truth = reference.ctc_loss(problem.logits.double(), *problem[1:], False, True)
        torch.testing.assert_close(outcome.arrays["losses"].double(), truth[0], rtol=2e-6, atol=1e-4)
        occupancy = outcome.arrays["occupancy"].view(truth[2].shape).double()
        torch.testing.assert_close(occupancy, truth[2], rtol=1e-6, atol=1e-6)


WIDTHS = [1, 2, 31, 32, 33, 63, 64, 127, 128, 169, 170, 255, 256, 600, 2000]


@pytest.mark.parametrize("width", WIDTHS)
def test_targets_of_any_width(shim, width):
    """One, two and four pairs of states a lane; states in shared memory; states in global memory."""
    frames = width + max(8, width // 20)
    generator = torch.Generator().manual_seed(width)
    logits = 3 * torch.randn(frames, 1, 60, generator=generator)
    targets = torch.randint(1, 60, (1, width), generator=generator)
    problem = Problem(logits, targets, torch.tensor([frames]), torch.tensor([width]), -0.5)
    loss, aligned = shim.run(
        [
            ask("ctc_loss", problem, 1, path_domain=0, with_gradient=1, grad_losses=torch.ones(1)),
            ask("align", problem, 2),
        ]
    )
    wide = logits.double()
    truth = reference.ctc_loss(wide, *problem[1:], False, True)
    assert truth[0].isfinite().all()
    torch.testing.assert_close(loss.arrays["losses"].double(), truth[0], rtol=2e-7, atol=2e-5)
    gradient = reference.ctc_loss_backward(torch.ones(1).double(), wide, *problem[1:4], *truth, -0.5)
    assert (loss.arrays["out"].double() - gradient).norm() <= 5e-7 * gradient.norm()
    path = reference.align(wide, *problem[1:])
    for name, right in zip(short(ops.Alignment._fields), path, strict=True):
        torch.testing.assert_close(
            aligned.arrays[name].view(right.shape).double(), right.double(), rtol=1e-6, atol=1e-5
        )


def test_short_targets_in_wide_padding(shim):
    """The padded width decides which kernel runs, the labels that are there what it does."""
    for width in (40, 130, 700):
        problem = make(shape=(30, 3, 9), width=width, seed=width)
        problem = problem._replace(lengths=torch.tensor([30, 1, 0]), target_lengths=torch.tensor([4, 0, 0]))
        problem = problem._replace(targets=problem.targets.clamp(min=1))
        narrow = problem._replace(targets=problem.targets[:, :4].contiguous())
        grads = {"path_domain": 0, "with_gradient": 1, "grad_losses": torch.ones(3)}
        wide, alone = shim.run([ask("ctc_loss", one, 5, **grads) for one in (problem, narrow)])
        truth = reference.ctc_loss(problem.logits.double(), *problem[1:], False, True)
        torch.testing.assert_close(wide.arrays["losses"].double(), truth[0], rtol=1e-6, atol=1e-6)
        occupancy = wide.arrays["occupancy"].view(truth[2].shape).double()
        torch.testing.assert_close(occupancy, truth[2], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(wide.arrays["out"], alone.arrays["out"], rtol=1e-5, atol=1e-6)


def test_a_loss_of_nothing_is_not_negative(shim):
    """Confident logits: rounding alone must not bring the loss below zero."""
    logits = torch.zeros(500, 1, 3)
    logits[:, :, 0] = 17.0
    problem = Problem(logits, torch.zeros(1, 0).long(), torch.tensor([500]), torch.tensor([0]), 0.0)
    (outcome,) = shim.run([ask("ctc_loss", problem, 1, path_domain=0, with_gradient=0, grad_losses=torch.ones(1))])
    assert 0.0 <= float(outcome.arrays["losses"]) < 1e-3


def test_tokens_over_many_rounds_of_a_warp(shim):
    """A warp decodes 32 frames a round: tokens that cross rounds, and rounds without any."""
    problem = make("peaked", (131, 2, 5), 3, shift=-1.0, seed=9)
    logits = problem.logits.clone()
    logits[28:37] = logits[28]
    logits[64:100, 0, 0] = 90.0
    problem = problem._replace(logits=logits, lengths=torch.tensor([131, 97]))
    shifts = torch.tensor([-1.0, 0.0], dtype=torch.float64)
    greedy, swept = shim.run([ask("greedy", problem, 1), ask("sweep", problem, 1, shifts=shifts, K=2)])
    truth = reference.greedy(logits.double(), problem.lengths, -1.0)
    own = reference.greedy(logits, problem.lengths, -1.0)
    check_tuple(short(ops.GreedyPaths._fields), greedy.arrays, own, truth, 200.0)
    assert torch.equal(swept.arrays["tokens"].view(2, 2, 131)[0], truth[0])
    assert torch.equal(swept.arrays["counts"].view(2, 2)[0], truth[1])


def test_results_do_not_depend_on_the_order_of_warps(shim):
    problem = make(shape=(23, 3, 97), width=20, shift=-1.0)
    grads = {"grad_losses": torch.ones(3)}
    for op, more in (
        ("ctc_loss", {"path_domain": 0, "with_gradient": 1, **grads}),
        ("align", {}),
        ("log_softmax", {}),
    ):
        first, *others = shim.run([ask(op, problem, seed, **more) for seed in range(8)])
        for other in others:
            for name, array in first.arrays.items():
                assert torch.equal(array.nan_to_num(), other.arrays[name].nan_to_num()), (op, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_logits_are_noted(shim, dtype, value):
    problem = make(dtype=dtype)
    lengths = torch.tensor([20, 20, 5])
    logits = problem.logits.clone()
    logits[9, 1, 0] = logits[7, 1, 30] = logits[11, 1, 5] = logits[8, 2, 3] = value
    bad = problem._replace(logits=logits, lengths=lengths)
    working = torch.float64 if dtype == torch.float64 else torch.float32
    asked = [ask(op, bad, 3) for op in ("frame_stats", "greedy", "greedy_with_stats", "log_softmax", "align")]
    asked.append(ask("ctc_loss", bad, 3, path_domain=1, with_gradient=1, grad_losses=torch.ones(3, dtype=working)))
    for outcome in shim.run(asked):
        assert outcome.fault == ("logits", 1 * 20 + 7)


WRONG = {
    "lengths": [(1, 21), (0, -1), (2, 2**62), (1, -(2**62))],
    "target_lengths": [(1, 6), (2, -1), (0, 2**62), (1, -(2**62))],
    "targets": [((1, 0), 0), ((2, 3), 33), ((0, 4), 2**62), ((1, 2), -(2**62))],
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("width", [5, 140])
def test_wrong_values_are_noted_and_lead_nowhere(shim, name, width):
    """The kernels check lengths and labels themselves: nothing leaves its array, and the first fault is named."""
    for place, value in WRONG[name]:
        problem = make(width=width, seed=3)
        problem = problem._replace(
            targets=problem.targets.clamp(min=1), target_lengths=torch.full((3,), 5), lengths=torch.full((3,), 20)
        )
        value = width + 1 if (name, value) == ("target_lengths", 6) else value
        wrong = getattr(problem, name).clone()
        wrong[place] = value
        problem = problem._replace(**{name: wrong})
        grads = {"path_domain": 0, "with_gradient": 1, "grad_losses": torch.ones(3)}
        asked = [ask("ctc_loss", problem, 3, **grads), ask("align", problem, 3)]
        if name == "lengths":
            shifts = {"shifts": torch.zeros(1).double(), "K": 1}
            asked += [ask("greedy", problem, 3), ask("log_softmax", problem, 3), ask("sweep", problem, 3, **shifts)]
            asked += [ask("frame_stats", problem, 3)]
        fault = ("labels", place[0] * width + place[1]) if name == "targets" else (name, place)
        for outcome in shim.run(asked):
            assert outcome.fault == fault
    nothing = make(shape=(0, 2, 3), width=0)._replace(lengths=torch.tensor([0, 1]))
    for outcome in shim.run([ask(op, nothing, 1) for op in ("frame_stats", "greedy", "align")]):
        assert outcome.fault == ("lengths", 1)


# --- traffic: what must cross the memory bus, counted in sectors of 32 bytes ----------------------------------


def seed_rows(dtype, layout="TBC"):
    """The seed shape's rows and labels (C=966, U=8), over fewer frames than it has."""
    problem = make(shape=(12, 4, 966), width=8, dtype=dtype, layout=layout, seed=5)
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(1, 966, (4, 8), generator=generator)
    return problem._replace(targets=targets, lengths=torch.full((4,), 12), target_lengths=torch.full((4,), 8))


def bytes_per_element(outcome, problem):
    return sum(entry.sector_bytes for entry in outcome.traffic) / problem.logits.numel()


@pytest.mark.parametrize("op", ["greedy", "greedy_with_stats"])
@pytest.mark.parametrize(("dtype", "goal"), [(torch.float32, 4.2), (torch.bfloat16, 2.2)])
def test_greedy_moves_each_logit_once(shim, dtype, goal, op, record_property):
    problem = seed_rows(dtype)
    (outcome,) = shim.run([ask(op, problem, 1)])
    measured = bytes_per_element(outcome, problem)
    record_property("bytes_per_element", measured)
    assert measured <= goal
    # 16-byte loads for all of a row but the elements before and behind the boundary.
    rows, size = 12 * 4, problem.logits.element_size()
    assert outcome.traffic[0].vector_loads * 16 >= problem.logits.numel() * size - rows * 2 * (16 - size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_exponential_an_element(shim, dtype):
    """And a few more a row: ten a lane where the warp joins its sums, one whenever a vector raises the maximum."""
    problem = seed_rows(dtype)
    (outcome,) = shim.run([ask("greedy", problem, 1)])
    rows = 12 * 4
    assert outcome.traffic[0].exponentials <= problem.logits.numel() + rows * 32 * (10 + 5)


@pytest.mark.parametrize(("dtype", "goal"), [(torch.float32, 12.5), (torch.bfloat16, 6.5)])
def test_loss_and_gradient_move_each_logit_three_times(shim, dtype, goal, record_property):
    problem = seed_rows(dtype)
    (outcome,) = shim.run([ask("ctc_loss", problem, 1, path_domain=0, with_gradient=1, grad_losses=torch.ones(4))])
    measured = bytes_per_element(outcome, problem)
    record_property("bytes_per_element", measured)
    assert measured <= goal


# --- the shim itself: what it is for, it must notice --------------------------------------------------------


class Broken(NamedTuple):
    """An edit of the kernels, and the widest target of the problem that shows it."""

    before: str
    after: str
    width: int = 20


BROKEN = {
    "a missing barrier at the seam": Broken("__syncthreads();\n\n  // The total", "// The total"),
    "a missing barrier between rounds": Broken(
        "    __syncthreads();\n  }\n\n  Scaled sum{1.0, kDead};", "  }\n\n  Scaled sum{1.0, kDead};", 140
    ),
    "lanes that do not wait for a tile": Broken(
        "__syncwarp();\n    if (begin + lane < end)", "if (begin + lane < end)"
    ),
    "a mask that names too few": Broken(
        "__shfl_xor_sync(kAll, top, offset)", "__shfl_xor_sync(kAll >> 1, top, offset)"
    ),
    "a read beyond a row": Broken("if (c < C) one(widen(get(row + c)), c);", "one(widen(get(row + c)), c);"),
    "more shared memory than is granted": Broken("kSharedBytes = 48 * 1024", "kSharedBytes = 64 * 1024", 500),
    "more threads than a block holds": Broken("kWideWarps = 8;", "kWideWarps = 32;", 140),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_shim_notices(name, tmp_path, monkeypatch):
    broken = tmp_path / "csrc"
    shutil.copytree(build.sources_folder(), broken)
    before, after, width = BROKEN[name]
    changed = 0
    for path in (broken / "cuda").iterdir():
        # compiled for float32 alone, in half the time
        text = re.sub(r" *case Type::k(BFloat16|Float16|Float64): return f.*\n", "", path.read_text())
        changed += text.count(before)
        path.write_text(text.replace(before, after))
    assert changed == 1
    monkeypatch.setattr(build, "sources_folder", lambda: broken)
    shim = Shim(compile_shim(tmp_path), tmp_path / "problems")
    problem = make(shape=(9, 1, 70), width=width, seed=2)
    problem = problem._replace(lengths=torch.tensor([9]), target_lengths=torch.tensor([5]))
    problem = problem._replace(targets=problem.targets.clamp(min=1))
    truth = reference.ctc_loss(problem.logits.double(), *problem[1:], False, True)
    asked = [
        ask("ctc_loss", problem, seed, path_domain=0, with_gradient=1, grad_losses=torch.ones(1))
        for seed in range(12)
    ]
    try:
        outcomes = shim.run(asked)
    except AssertionError:
        return  # the shim or a sanitizer stopped it
    occupancy = truth[2].flatten()
    right = [
        torch.allclose(outcome.arrays["losses"].double(), truth[0], rtol=1e-5)
        and torch.allclose(outcome.arrays["occupancy"].double(), occupancy, atol=1e-5)
        for outcome in outcomes
    ]
    assert not all(right)
