"""What every backend promises: registrations, determinism, errors that name the argument."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit import ops

from .enumeration import Grammar, guides, lexicon_of
from .problems import DTYPES, LAYOUTS, make

OPS = torch.ops.ctckit


def language_of(classes):
    return Grammar(random.Random(0), list(range(1, min(classes, 9)))).automaton()


def call_everything(problem, with_gradient=True):
    logits, targets, lengths, target_lengths, shift = problem
    stats = ops.frame_stats(logits, lengths)
    results = [*stats, *ops.greedy(logits, lengths, shift), *ops.align(*problem)]
    reading = ops.greedy_with_stats(logits, lengths, shift)
    results += [*reading.paths, *reading.stats, reading.label_entropy_TB]
    results += ops.sweep(stats, lengths, [0.0, -1.0])
    results += ops.beam_search(logits, lengths, shift, width=4, best=3, language=language_of(logits.shape[2]))
    log_probs, path = ops.penalized_log_softmax_with_path(logits, lengths, shift)
    results += [log_probs, *path]
    for domain in ("logit", "path"):
        leaf = logits.detach().requires_grad_()
        losses = ops.ctc_loss(leaf, targets, lengths, target_lengths, shift, domain)
        losses.masked_fill(losses == torch.inf, 0).sum().backward()
        results += [losses.detach(), leaf.grad]
        leaf = logits.detach().requires_grad_()
        losses, entropies = ops.ctc_loss_with_entropy(leaf, targets, lengths, target_lengths, shift, domain)
        (losses.masked_fill(losses == torch.inf, 0) - 2 * entropies).sum().backward()
        results += [losses.detach(), entropies.detach(), leaf.grad]
    results.append(ops.occupancies(*problem))
    return results


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype):
    ops.backend()
    logits, targets, lengths, target_lengths, shift = make(shape=(6, 2, 9), width=2, dtype=dtype, shift=-1.0)
    leaf = logits.clone().requires_grad_()
    stats = ops.frame_stats(logits, lengths)
    shifts = torch.tensor([0.0, -1.0], dtype=torch.float64)
    losses, norms, occupancy = OPS.ctc_loss(logits, targets, lengths, target_lengths, shift, False, True)
    with_entropy = OPS.ctc_loss_with_entropy(logits, targets, lengths, target_lengths, shift, False, True)
    losses_of_both, entropies, *saved = with_entropy
    log_probs = OPS.penalized_log_softmax(logits, shift)
    for op, arguments in (
        (OPS.frame_stats, (logits, lengths)),
        (OPS.greedy, (logits, lengths, shift)),
        (OPS.greedy_with_stats, (logits, lengths, shift)),
        (OPS.penalized_log_softmax, (leaf, shift)),
        (OPS.penalized_log_softmax_backward, (torch.ones_like(logits), log_probs)),
        (OPS.penalized_log_softmax_with_path, (leaf, lengths, shift)),
        (OPS.ctc_loss, (leaf, targets, lengths, target_lengths, shift, False, True)),
        (OPS.ctc_loss, (logits, targets, lengths, target_lengths, shift, True, False)),
        (
            OPS.ctc_loss_backward,
            (torch.ones_like(losses), logits, targets, lengths, target_lengths, losses, norms, occupancy, shift),
        ),
        (OPS.ctc_loss_with_entropy, (leaf, targets, lengths, target_lengths, shift, False, True)),
        (OPS.ctc_loss_with_entropy, (logits, targets, lengths, target_lengths, shift, True, False)),
        (
            OPS.ctc_loss_with_entropy_backward,
            (losses, entropies, logits, targets, lengths, target_lengths, losses_of_both, *saved, shift),
        ),
        (OPS.align, (logits, targets, lengths, target_lengths, shift)),
        (OPS.beam_search, (logits, lengths, shift, 4, 3, 2, *guides(0, 9))),
        (OPS.beam_search, (logits, lengths, shift, 4, 3, 2, 1.0, 0.0, [], 0, 0.0, [], 0, [], 0, 0.0)),
        (OPS.sweep, (stats.best_TB, stats.best_logit_TB, stats.blank_logit_TB, lengths, shifts)),
    ):
        torch.library.opcheck(op.default, arguments)


@pytest.mark.parametrize("domain", ["logit", "path"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradcheck(domain, layout):
    problem = make(shape=(7, 3, 5), width=3, dtype=torch.float64, layout=layout, shift=-0.8, seed=4)
    leaf = problem.logits.detach().requires_grad_()
    keep = ops.feasible(problem.targets, problem.lengths, problem.target_lengths)
    assert keep.any()
    rest = (problem.targets, problem.lengths, problem.target_lengths, problem.shift)
    assert torch.autograd.gradcheck(lambda x: ops.ctc_loss(x, *rest, domain)[keep], leaf)
    assert torch.autograd.gradcheck(lambda x: ops.ctc_loss_with_entropy(x, *rest, domain).losses_B[keep], leaf)
    assert torch.autograd.gradcheck(lambda x: ops.ctc_loss_with_entropy(x, *rest, domain).entropies_B, leaf)
    assert torch.autograd.gradcheck(lambda x: ops.penalized_log_softmax(x, -0.8), leaf)
    assert torch.autograd.gradcheck(
        lambda x: ops.penalized_log_softmax_with_path(x, problem.lengths, -0.8)[0], leaf
    )


@pytest.mark.parametrize("op", ["ctc_loss", "ctc_loss_with_entropy", "penalized_log_softmax"])
def test_second_derivatives_are_refused(op):
    problem = make(dtype=torch.float64)
    leaf = problem.logits.clone().requires_grad_()
    result = {
        "ctc_loss": lambda: ops.ctc_loss(leaf, *problem[1:4])[-1],
        "ctc_loss_with_entropy": lambda: ops.ctc_loss_with_entropy(leaf, *problem[1:4]).entropies_B[-1],
        "penalized_log_softmax": lambda: ops.penalized_log_softmax(leaf).pow(2).sum(),
    }[op]()
    (gradient,) = torch.autograd.grad(result, leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="cannot be differentiated again"):
        gradient.pow(2).sum().backward()


def test_no_loss_of_a_confident_clip_is_negative():
    """Row norms in float32 once made the loss of certain frames -4e-8 each, and their probability more than 1."""
    for label in (8.0, 17.0, 30.0):
        logits = torch.tensor([0.0, label]).expand(400, 1, 2)
        arguments = (logits, torch.tensor([[1]]), torch.tensor([400]), torch.tensor([1]))
        loss = ops.ctc_loss(*arguments)
        truth = ops.ctc_loss(logits.double(), *arguments[1:])
        assert float(loss) >= 0
        assert float(loss) == pytest.approx(float(truth), abs=400 * 2.0**-24)
        assert float(ops.greedy(logits, torch.tensor([400])).utterance_scores_B) <= 0


def test_scores_carry_no_gradient():
    problem = make()
    leaf = problem.logits.clone().requires_grad_()
    log_probs, path = ops.penalized_log_softmax_with_path(leaf, problem.lengths)
    assert log_probs.requires_grad
    reading = ops.greedy_with_stats(leaf, problem.lengths)
    assert not reading.label_entropy_TB.requires_grad
    for result in (path, ops.greedy(leaf, problem.lengths), ops.frame_stats(leaf, problem.lengths), *reading[:2]):
        assert not any(tensor.requires_grad for tensor in result)
    with torch.no_grad():
        assert not ops.ctc_loss(leaf, *problem[1:4]).requires_grad


def test_compile_without_graph_breaks():
    problem = make(shift=-1.0)

    def step(logits):
        log_probs, path = ops.penalized_log_softmax_with_path(logits, problem.lengths, -1.0)
        losses = ops.ctc_loss(logits, *problem[1:4], -1.0, "path")
        losses = losses - ops.ctc_loss_with_entropy(logits, *problem[1:4]).entropies_B
        keep = ops.feasible(problem.targets, problem.lengths, problem.target_lengths)
        return losses.masked_fill(~keep, 0.0).sum() + log_probs.mean() + path.scores_BS.sum()

    eager, compiled = (problem.logits.clone().requires_grad_() for _ in range(2))
    step(eager).backward()
    torch.compile(step, backend="aot_eager", fullgraph=True)(compiled).backward()
    torch.testing.assert_close(compiled.grad, eager.grad)


def test_autocast_leaves_reductions_alone_and_widens_log_probs():
    problem = make(dtype=torch.bfloat16, shift=-1.0)
    plain = ops.ctc_loss(problem.logits, *problem[1:4])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ops.ctc_loss(problem.logits, *problem[1:4]), plain)
        assert plain.dtype == torch.float32
        assert ops.penalized_log_softmax(problem.logits).dtype == torch.float32
    assert ops.penalized_log_softmax(problem.logits).dtype == torch.bfloat16


def test_bit_identical_over_thread_counts_and_runs():
    problem = make(shape=(120, 7, 530), width=6, shift=-1.0)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 3, 7, 1):
            torch.set_num_threads(threads)
            runs.append(call_everything(problem))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        for one, other in zip(runs[0], run, strict=True):
            assert torch.equal(one, other)


def test_a_clip_alone_and_the_same_clip_padded_agree_bit_for_bit():
    problem = make(shape=(20, 1, 33), shift=-1.0)
    longer = torch.full((29, 2, 33), float("nan"))
    longer[:20, 1:] = problem.logits
    longer[:5, :1] = problem.logits[:5]
    targets = torch.cat([torch.full((1, 5), 99), problem.targets])
    lengths, target_lengths = torch.tensor([5, 20]), torch.cat([torch.tensor([0]), problem.target_lengths])
    alone = ops.ctc_loss(*problem[:4], -1.0)
    both = ops.ctc_loss(longer, targets, lengths, target_lengths, -1.0)
    assert float(both[1]) == float(alone[0])
    path, padded = ops.greedy(problem.logits, problem.lengths), ops.greedy(longer, lengths)
    for one, other in zip(path, padded, strict=True):
        assert torch.equal(other[1:, :20] if one.dim() == 2 else other[1:], one)
    paths, beside = (ops.beam_search(*of, best=3) for of in ((problem.logits, problem.lengths), (longer, lengths)))
    for one, other in zip(paths, beside, strict=True):
        assert torch.equal(other[1:, :, :20] if one.dim() == 3 else other[1:], one)


def test_infeasible_is_infinite_without_gradient_and_feasible_knows():
    logits = torch.randn(6, 4, 5, requires_grad=True)
    targets = torch.tensor([[1, 1, 2], [1, 2, 3], [2, 2, 2], [4, -1, -1]])
    target_lengths, lengths = torch.tensor([3, 3, 3, 1]), torch.tensor([3, 3, 5, 0])
    assert ops.feasible(targets, lengths, target_lengths).tolist() == [False, True, True, False]
    losses = ops.ctc_loss(logits, targets, lengths, target_lengths)
    assert torch.isinf(losses).tolist() == [True, False, False, True]
    losses.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[:, 0].any()
    assert logits.grad[:, 1].any()
    both = ops.ctc_loss_with_entropy(logits, targets, lengths, target_lengths)
    assert torch.equal(both.losses_B, losses)
    assert both.entropies_B[0] == both.entropies_B[3] == 0
    (gradient,) = torch.autograd.grad(both.entropies_B.sum(), logits)
    assert not gradient[:, 0].any()
    assert float(gradient.abs().max()) < 1e-5  # the clips that have a path have one alone
    soft = ops.occupancies(logits, targets, lengths, target_lengths)
    assert not soft[0].any()
    torch.testing.assert_close(soft[1, :3].sum(-1), torch.ones(3))
    assert not soft[1, 3:].any()
    assert ops.align(logits, targets, lengths, target_lengths).utterance_scores_B[0] == -torch.inf


@pytest.mark.parametrize("gap", [1.0, 1e4])
def test_repeats_need_a_blank_between_them_however_far_apart_logits_are(gap):
    """Gaps of 1e4 nats take the numbers with an exponent each; a barred skip must not be a small weight there."""
    logits = gap * torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 1, 1], [1, 1, 2], [2, 2, -1]])
    losses = ops.ctc_loss(logits, targets, torch.tensor([4, 3, 2]), torch.tensor([3, 3, 2]))
    assert losses.tolist() == [torch.inf] * 3


@given(st.lists(st.integers(1, 3), max_size=6), st.integers(0, 10), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=60, deadline=None)
def test_feasible_is_exactly_a_finite_loss(labels, frames, dtype):
    logits = torch.zeros(10, 1, 4, dtype=dtype)
    targets = torch.tensor([labels], dtype=torch.int64).view(1, -1)
    sizes = torch.tensor([frames]), torch.tensor([len(labels)])
    finite = torch.isfinite(ops.ctc_loss(logits, targets, *sizes))
    assert torch.equal(ops.feasible(targets, *sizes), finite)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("column", [0, 1, 20, 32])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bad_logits_name_the_utterance(value, column, dtype):
    problem = make(dtype=dtype)
    logits = problem.logits.clone()
    lengths = torch.tensor([20, 20, 20])
    logits[7, 1, column] = logits[3, 2, column] = logits[9, 1, column] = value
    rest = (problem.targets, lengths, problem.target_lengths)
    for call in (
        lambda: ops.greedy(logits, lengths),
        lambda: ops.greedy_with_stats(logits, lengths),
        lambda: ops.frame_stats(logits, lengths),
        lambda: ops.penalized_log_softmax(logits),
        lambda: ops.penalized_log_softmax_with_path(logits, lengths),
        lambda: ops.ctc_loss(logits, *rest),
        lambda: ops.ctc_loss_with_entropy(logits, *rest),
        lambda: ops.occupancies(logits, *rest),
        lambda: ops.align(logits, *rest),
        lambda: ops.beam_search(logits, lengths),
    ):
        with pytest.raises(ValueError, match=r"logits: utterance 1 holds NaN or \+inf at frame 7"):
            call()


def hostile_calls():
    logits, targets, lengths, target_lengths, _ = make(shape=(6, 3, 9), width=2)
    rest = (targets, lengths, target_lengths)
    good = targets.clamp(min=1)
    full = torch.tensor([2, 2, 2])
    blanks, beyond = good.clone(), good.clone()
    blanks[1, 1], beyond[2, 0] = 0, 9
    stats = ops.frame_stats(logits, lengths)
    yield "logits", lambda: ops.greedy(logits.int(), lengths)
    yield "logits", lambda: ops.greedy(logits[0], lengths)
    yield "logits", lambda: ops.greedy(logits[..., :1], lengths)
    yield "logits", lambda: ops.greedy([1.0], lengths)
    yield "lengths", lambda: ops.greedy(logits, lengths.int())
    yield "lengths", lambda: ops.greedy(logits, lengths[:2])
    yield "lengths", lambda: ops.greedy(logits, lengths + 7)
    yield "lengths", lambda: ops.greedy(logits, lengths - 7)
    yield "lengths", lambda: ops.greedy(logits, lengths.to("meta"))
    yield "lengths", lambda: ops.ctc_loss(logits, targets, lengths - 9, target_lengths)
    yield "shift", lambda: ops.greedy(logits, lengths, float("nan"))
    yield "shift", lambda: ops.penalized_log_softmax(logits, -float("inf"))
    yield "targets", lambda: ops.ctc_loss(logits, targets.int(), lengths, target_lengths)
    yield "targets", lambda: ops.ctc_loss(logits, targets[0], lengths, target_lengths)
    yield "targets", lambda: ops.ctc_loss(logits, targets[:2], lengths, target_lengths)
    yield "targets: label 0 of utterance 1", lambda: ops.ctc_loss(logits, blanks, lengths, full)
    yield "targets: label 9 of utterance 2", lambda: ops.align(logits, beyond, lengths, full)
    yield "target_lengths", lambda: ops.ctc_loss(logits, targets, lengths, target_lengths + 3)
    yield "target_lengths", lambda: ops.align(logits, targets, lengths, target_lengths - 3)
    yield "domain", lambda: ops.ctc_loss(logits, *rest, 0.0, "paths")
    yield "domain", lambda: ops.ctc_loss_with_entropy(logits, *rest, 0.0, "paths")
    yield "targets: label 0 of utterance 1", lambda: ops.occupancies(logits, blanks, lengths, full)
    yield "logits", lambda: ops.occupancies([1.0], targets, lengths, target_lengths)
    yield "width", lambda: ops.beam_search(logits, lengths, width=0)
    yield "width", lambda: ops.beam_search(logits, lengths, width=2.0)
    yield "classes", lambda: ops.beam_search(logits, lengths, classes=-1)
    yield "best", lambda: ops.beam_search(logits, lengths, best=True)
    yield "weight", lambda: ops.beam_search(logits, lengths, weight=float("inf"))
    yield "bonus", lambda: ops.beam_search(logits, lengths, bonus=float("nan"))
    yield "shift", lambda: ops.beam_search(logits, lengths, float("nan"))
    yield "lengths", lambda: ops.beam_search(logits, lengths + 7)
    yield "language", lambda: ops.beam_search(logits, lengths, language=lexicon_of([(2, 3)], 1))
    yield "lexicon", lambda: ops.beam_search(logits, lengths, lexicon=language_of(9))
    yield "hotwords", lambda: ops.beam_search(logits, lengths, hotwords=[1])
    yield "shifts", lambda: ops.sweep(stats, lengths, [float("nan")])
    yield "lengths", lambda: ops.sweep(stats, lengths + 7, [0.0])
    yield "stats", lambda: ops.sweep(stats._replace(best_logit_TB=stats.best_logit_TB[:2]), lengths, [0.0])


def hostile_records():
    """Of a language over classes and of a lexicon: what is wrong, and with which field."""
    good = language_of(9)
    states, arcs = len(good.failures_N), len(good.labels_A)
    assert min(states, arcs) > 2
    cases = [("language", field, good._replace(**{field: value})) for field, value in {
        "starts_N1": good.starts_N1.flip(0),
        "labels_A": good.labels_A + 9,
        "targets_A": good.targets_A + states,
        "weights_A": good.weights_A * torch.nan,
        "failures_N": torch.full_like(good.failures_N, states),
        "failure_weights_N": good.failure_weights_N + torch.inf,
        "finals_N": good.finals_N - torch.inf,
        "initial": states,
        "unknown": float("nan"),
    }.items()]  # fmt: skip
    ring = torch.arange(1, states + 1, dtype=torch.int32) % states
    outside = torch.tensor([0, *[2**40] * states])
    for field, value in {
        "starts_N1": outside,
        "labels_A": good.labels_A * 0 + 1,
        "targets_A": good.targets_A - states,
        "failures_N": ring,
        "initial": -1,
    }.items():
        cases.append(("language", field, good._replace(**{field: value})))
    spelling = lexicon_of([(2, 3), (2, 4)], 1)
    for field, value in {
        "starts_N1": spelling.starts_N1 + 1,
        "labels_A": spelling.labels_A - 1,
        "targets_A": spelling.targets_A * 0,
        "words_N": spelling.words_N * 0,
        "separator": 9,
    }.items():
        cases.append(("lexicon", field, spelling._replace(**{field: value})))
    cases.append(("lexicon", "targets_A", spelling._replace(targets_A=spelling.targets_A + 100)))
    return cases


def test_hostile_records_are_refused_by_the_field():
    logits, lengths = make(shape=(6, 3, 9))[0], torch.tensor([6, 0, 3])
    for name, field, record in hostile_records():
        what = rf"{name}\.{field.rpartition('_')[0] or field}"
        with pytest.raises(ValueError, match=what):
            ops.beam_search(logits, lengths, **{name: record})
        if name == "language" and field != "labels_A":
            with pytest.raises(ValueError, match=what.replace(name, "hotwords")):
                ops.beam_search(logits, lengths, hotwords=record)
    good, spelling = language_of(9), lexicon_of([(2, 3)], 1)
    for record in (
        good._replace(labels_A=good.labels_A.long()),
        good._replace(finals_N=good.finals_N[1:]),
        good._replace(weights_A=good.weights_A.to("meta")),
        good._replace(targets_A=None),
    ):
        changed = next(field for field in good._fields if getattr(record, field) is not getattr(good, field))
        with pytest.raises(ValueError, match=rf"language\.{changed}: expected"):
            ops.beam_search(logits, lengths, language=record)
        tensors = [value for value in record[:7] if value is not None and value.is_cpu][:6]
        with pytest.raises((ValueError, RuntimeError)):
            OPS.beam_search(logits, lengths, 0.0, 4, 3, 2, 1.0, 0.0, tensors, 0, 0.0, [], 0, [], 0, 0.0)
    for record in (
        spelling._replace(words_N=spelling.words_N[:1]),
        spelling._replace(starts_N1=torch.tensor([]).long()),
    ):
        with pytest.raises(ValueError, match="lexicon"):
            ops.beam_search(logits, lengths, lexicon=record)


def test_hostile_callers_get_a_value_error_that_names_the_argument():
    for name, call in hostile_calls():
        with pytest.raises(ValueError, match=name):
            call()


def test_hostile_callers_of_the_bare_ops():
    """Past the Python checks: torch.ops.ctckit.* must refuse, not crash."""
    if ops.backend().name == "reference":
        pytest.skip("the reference indexes with torch, which checks for itself")
    logits, targets, lengths, target_lengths, _ = make(shape=(6, 3, 9), width=2)
    losses, norms, occupancy = OPS.ctc_loss(logits, targets, lengths, target_lengths, 0.0, False, True)
    saved = (logits, targets, lengths, target_lengths, losses, norms, occupancy)
    stats = OPS.frame_stats(logits, lengths)
    plain = (1.0, 0.0, [], 0, 0.0, [], 0, [], 0, 0.0)
    calls = [
        *(
            lambda numbers=numbers: OPS.beam_search(logits, lengths, *numbers, *plain)
            for numbers in (
                (0.0, 0, 3, 1),
                (0.0, 4, 0, 1),
                (0.0, 4, 3, 0),
                (0.0, 4, 3, 2**40),
                (float("nan"), 4, 3, 1),
            )
        ),
        lambda: OPS.beam_search(logits, lengths[:1], 0.0, 4, 3, 1, *plain),
        lambda: OPS.beam_search(logits, lengths, 0.0, 4, 3, 1, float("inf"), *plain[1:]),
        lambda: OPS.beam_search(logits, lengths, 0.0, 4, 3, 1, 1.0, 0.0, [logits], *plain[3:]),
        lambda: OPS.greedy(logits.long(), lengths, 0.0),
        lambda: OPS.greedy(logits[0], lengths, 0.0),
        lambda: OPS.greedy(logits, lengths[:1], 0.0),
        lambda: OPS.greedy(logits, lengths.float(), 0.0),
        lambda: OPS.ctc_loss_backward(losses[:1], *saved, 0.0),
        lambda: OPS.ctc_loss_backward(losses.double(), *saved, 0.0),
        lambda: OPS.ctc_loss_backward(losses, *saved[:4], losses, norms[:1], occupancy, 0.0),
        lambda: OPS.ctc_loss_backward(losses, *saved[:4], losses, norms, occupancy[:, :1], 0.0),
        lambda: OPS.ctc_loss_with_entropy_backward(losses, losses[:1], *saved, occupancy, 0.0),
        lambda: OPS.ctc_loss_with_entropy_backward(losses, losses, *saved, occupancy[:, :1], 0.0),
        lambda: OPS.penalized_log_softmax_backward(logits[:1], logits),
        lambda: OPS.penalized_log_softmax_backward(logits.double(), logits),
        lambda: OPS.sweep(stats[0].int(), stats[1], stats[3], lengths, torch.zeros(2).double()),
        lambda: OPS.sweep(stats[0], stats[1][:1], stats[3], lengths, torch.zeros(2).double()),
        lambda: OPS.sweep(stats[0], stats[1], stats[3], lengths, torch.zeros(2)),
    ]
    for call in calls:
        with pytest.raises((ValueError, RuntimeError)):
            call()


def test_forked_workers_may_use_the_ops():
    """As DataLoader workers do: threads of the parent do not survive a fork."""
    program = """
import os, torch
from ctckit import ops
torch.set_num_threads(2)
logits, lengths = torch.randn(200, 4, 64), torch.full((4,), 200)
want = ops.greedy(logits, lengths).tokens_BS
child = os.fork()
if child == 0:
    torch.set_num_threads(1)
    os._exit(0 if torch.equal(ops.greedy(logits, lengths).tokens_BS, want) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env=dict(os.environ))
