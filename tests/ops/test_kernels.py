"""The compiled kernels against the reference in float64, on random problems; for this machine's best instruction
set, and (through test_backends.py) for the others."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctckit import ops
from ctckit.ops import reference, reference_search

from .closeness import assert_right, magnitude_of
from .enumeration import difference, found_by, guides, problem_of, search
from .problems import DTYPES, LAYOUTS, make, problems, with_layout

OPS = torch.ops.ctckit
EXAMPLES = settings(max_examples=100, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    if ops.backend().name == "reference":
        pytest.skip(ops.backend().reason)


def wide(logits):
    return logits.double()


@EXAMPLES
@given(problems())
def test_frame_stats(problem):
    logits, lengths = problem.logits, problem.lengths
    got, own = OPS.frame_stats(logits, lengths), reference.frame_stats(logits, lengths)
    truth = reference.frame_stats(wide(logits), lengths)
    for name, *values in zip(ops.FrameStats._fields, got, own, truth, strict=True):
        assert_right(name, *values, magnitude=magnitude_of(logits))


@EXAMPLES
@given(problems())
def test_greedy(problem):
    logits, lengths, shift = problem.logits, problem.lengths, problem.shift
    got, own = OPS.greedy(logits, lengths, shift), reference.greedy(logits, lengths, shift)
    truth = reference.greedy(wide(logits), lengths, shift)
    frames = len(logits)
    for name, *values in zip(ops.GreedyPaths._fields, got, own, truth, strict=True):
        assert_right(name, *values, scale=1.0 + frames, magnitude=frames * magnitude_of(logits, shift))


@EXAMPLES
@given(problems())
def test_greedy_with_stats(problem):
    logits, lengths, shift = problem.logits, problem.lengths, problem.shift
    *alone, entropy = OPS.greedy_with_stats(logits, lengths, shift)
    for got, want in zip(
        alone, [*OPS.greedy(logits, lengths, shift), *OPS.frame_stats(logits, lengths)], strict=True
    ):
        assert torch.equal(got, want)
    own = reference.greedy_with_stats(logits, lengths, shift)[-1]
    assert_right("entropy", entropy, own, reference.greedy_with_stats(wide(logits), lengths, shift)[-1])
    assert torch.all(entropy >= 0)


@EXAMPLES
@given(problems())
def test_log_softmax_with_path(problem):
    logits, lengths, shift = problem.logits, problem.lengths, problem.shift
    log_probs, *path = OPS.penalized_log_softmax_with_path(logits, lengths, shift)
    own = reference.penalized_log_softmax(logits, shift)
    truth = reference.penalized_log_softmax(wide(logits), shift)
    assert_right("log_probs", log_probs, own, truth, magnitude=magnitude_of(logits, shift))
    assert log_probs.stride() == torch.empty_like(logits).stride()
    assert torch.equal(log_probs, OPS.penalized_log_softmax(logits, shift))
    for alone, fused in zip(OPS.greedy(logits, lengths, shift), path, strict=True):
        assert torch.equal(alone, fused)


@EXAMPLES
@given(problems(), st.booleans())
def test_log_softmax_backward(problem, expanded):
    log_probs = reference.penalized_log_softmax(problem.logits, problem.shift)
    grad = torch.ones((), dtype=log_probs.dtype).expand(log_probs.shape)
    if not expanded:
        grad = torch.randn(log_probs.shape, generator=torch.Generator().manual_seed(1)).to(log_probs.dtype)
    got = OPS.penalized_log_softmax_backward(grad, log_probs)
    own = reference.penalized_log_softmax_backward(grad, log_probs)
    truth = reference.penalized_log_softmax_backward(grad.double(), log_probs.double())
    assert_right("grad", got, own, truth, scale=float(log_probs.shape[2]))


@EXAMPLES
@given(problems(), st.booleans())
def test_ctc_loss(problem, path_domain):
    logits, targets, lengths, target_lengths, shift = problem
    rest = (targets, lengths, target_lengths, shift, path_domain, True)
    got, own = OPS.ctc_loss(logits, *rest), reference.ctc_loss(logits, *rest)
    truth = reference.ctc_loss(wide(logits), *rest)
    frames, magnitude = len(logits), magnitude_of(logits, shift)
    assert_right("losses", got[0], own[0], truth[0], scale=1.0 + frames, magnitude=frames * magnitude)
    finite = truth[0] < torch.inf
    # Occupancies come from float64 alone, and from no row norm. The truth's log-alphas and log-betas are as large
    # as frames times the logits, and each frame rounds them once more; an error of theirs is a relative one here.
    summed = frames**2 * magnitude
    assert_right("occupancy", got[2][finite], own[2][finite], truth[2][finite], summed=summed)
    without = OPS.ctc_loss(logits, *rest[:-1], False)
    assert torch.equal(without[0], got[0])
    assert without[1].numel() == without[2].numel() == 0

    weights = torch.rand(logits.shape[1], generator=torch.Generator().manual_seed(2)).to(got[0].dtype)
    arguments = (targets, lengths, target_lengths)
    norm_shift = 0.0 if path_domain else shift
    gradient = OPS.ctc_loss_backward(weights, logits, *arguments, *got, norm_shift)
    own_gradient = reference.ctc_loss_backward(weights, logits, *arguments, *own, norm_shift)
    true_gradient = reference.ctc_loss_backward(weights.double(), wide(logits), *arguments, *truth, norm_shift)
    # An error in a softmax's exponent, which is as large as the logits, is a relative one of the softmax.
    assert_right("gradient", gradient, own_gradient, true_gradient, magnitude=magnitude, summed=summed)
    assert gradient.stride() == torch.empty_like(logits).stride()
    assert not gradient[:, ~finite].any()


@EXAMPLES
@given(problems(), st.booleans())
def test_ctc_loss_with_entropy(problem, path_domain):
    logits, targets, lengths, target_lengths, shift = problem
    rest = (targets, lengths, target_lengths, shift, path_domain, True)
    got, own = OPS.ctc_loss_with_entropy(logits, *rest), reference.ctc_loss_with_entropy(logits, *rest)
    truth = reference.ctc_loss_with_entropy(wide(logits), *rest)
    for one, other in zip(OPS.ctc_loss(logits, *rest), (got[0], got[2], got[3]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    # An entropy is a difference of numbers as large as the frames times the logits; covariances as the occupancies.
    frames, magnitude = len(logits), magnitude_of(logits, shift)
    summed = frames**2 * magnitude
    assert_right("entropies", got[1], own[1], truth[1], scale=1.0 + frames, summed=summed)
    finite = truth[0] < torch.inf
    # Costs around their mean are nats of entropy, a few a frame.
    assert_right("covariance", got[4][finite], own[4][finite], truth[4][finite], scale=1.0 + frames, summed=summed)
    assert not got[4][~finite].any()
    assert torch.equal(OPS.ctc_loss_with_entropy(logits, *rest[:-1], False)[1], got[1])

    weights = torch.rand(2, logits.shape[1], generator=torch.Generator().manual_seed(2)).to(got[0].dtype)
    weights[0] *= torch.arange(logits.shape[1]) % 2  # some utterances for their entropy alone
    arguments = (targets, lengths, target_lengths)
    norm_shift = 0.0 if path_domain else shift
    gradient, own_gradient, true_gradient = (
        op(*weights.to(saved[0].dtype), x, *arguments, saved[0], *saved[2:], norm_shift)
        for op, x, saved in (
            (OPS.ctc_loss_with_entropy_backward, logits, got),
            (reference.ctc_loss_with_entropy_backward, logits, own),
            (reference.ctc_loss_with_entropy_backward, wide(logits), truth),
        )
    )
    assert_right(
        "gradient", gradient, own_gradient, true_gradient, scale=1.0 + frames, magnitude=magnitude, summed=summed
    )


def test_the_programme_survives_what_plain_doubles_do_not():
    """Labels that come late and then at once: the mass is in states that were below 2^-1022 of the largest."""
    frames, width = 400, 60
    logits = torch.zeros(frames, 2, width + 1, dtype=torch.float64)
    logits[: frames // 2, :, 0] = 30.0
    logits[frames // 2 :, :, 1:] = 30.0
    logits[:, 1] += torch.randn(frames, width + 1, generator=torch.Generator().manual_seed(0)).double() * 40
    targets = torch.arange(1, width + 1).expand(2, width)
    rest = (targets, torch.tensor([frames, frames]), torch.tensor([width, width]))
    got, truth = (
        op(logits, *rest, 0.0, False, True) for op in (OPS.ctc_loss_with_entropy, reference.ctc_loss_with_entropy)
    )
    for one, other in zip(got, truth, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@EXAMPLES
@given(problems())
def test_align(problem):
    logits, *rest = problem
    got, own, truth = (
        op(x, *rest) for op, x in ((OPS.align, logits), (reference.align, logits), (reference.align, wide(logits)))
    )
    frames, magnitude = len(logits), magnitude_of(logits, problem.shift)
    for name, *values in zip(ops.Alignment._fields, got, own, truth, strict=True):
        assert_right(name, *values, scale=1.0 + frames, magnitude=frames * magnitude)


@EXAMPLES
@given(problems(), st.lists(st.sampled_from([0.0, -0.5, -1.0, -3.0, -20.0, 2.0]), max_size=6))
def test_sweep_is_greedy_for_each_shift(problem, shifts):
    stats = ops.frame_stats(problem.logits, problem.lengths)
    tokens, counts = ops.sweep(stats, problem.lengths, shifts)
    assert tokens.shape == (len(shifts), problem.logits.shape[1], problem.logits.shape[0])
    for k, shift in enumerate(shifts):
        path = ops.greedy(problem.logits, problem.lengths, shift)
        assert torch.equal(tokens[k], path.tokens_BS)
        assert torch.equal(counts[k], path.counts_B)


def test_beam_search_finds_every_hypothesis():
    for seed in range(400):
        problem = problem_of(seed)
        assert difference(found_by(search(problem)), problem) < 1e-9, seed


@EXAMPLES
@given(
    problems(kinds=("normal", "huge", "minus infinity", "peaked", "dead frames")),  # ties at the edge are rounding
    st.sampled_from([1, 2, 5, 16]),
    st.sampled_from([1, 3, 200]),
    st.integers(0, 2**20),
)
def test_beam_search(problem, width, classes, seed):
    logits, lengths, shift = problem.logits, problem.lengths, problem.shift
    rest = (lengths, shift, width, min(classes, logits.shape[2] - 1), 3, *guides(seed, logits.shape[2]))
    got, own, truth = (
        op(x, *rest)
        for op, x in (
            (OPS.beam_search, logits),
            (reference_search.beam_search, logits),
            (reference_search.beam_search, wide(logits)),
        )
    )
    frames, magnitude = 1 + len(logits), magnitude_of(logits, shift)
    for name, *values in zip(ops.BeamPaths._fields, got, own, truth, strict=True):
        assert_right(name, *values, scale=float(frames), magnitude=frames * magnitude, summed=frames**2 * magnitude)


def test_beam_search_breaks_ties_by_labels():
    logits, lengths = torch.zeros(2, 1, 4), torch.tensor([1])
    paths = ops.beam_search(logits, lengths, width=3, best=5)
    assert paths.counts_BN.tolist() == [[0, 1, 1, -1, -1]]
    assert paths.tokens_BNS[0, :, 0].tolist() == [-1, 1, 2, -1, -1]
    assert paths.totals_BN[0, 3:].tolist() == paths.acoustic_BN[0, 3:].tolist() == [-torch.inf] * 2
    two = ops.beam_search(logits.double(), torch.tensor([2]), width=50, classes=None, best=50)
    found = found_by(two)
    for (labels, one), (behind, other) in itertools.pairwise(found.items()):
        assert one.total > other.total or (one.total == other.total and labels < behind)
    assert len(found) == 1 + 3 + 6
    assert len({scores.total for scores in found.values()}) == 2  # three paths for one label, one for none or two


def test_a_prefix_of_the_beam_misses_nothing_that_leads_to_it():
    """In the last frame class 3 alone extends prefixes, and yet 1 2 gets what 1 has for class 2."""
    logits = torch.tensor([[0.0, 3.0, -9.0, -9.0], [0.0, -9.0, 3.0, -9.0], [0.0, -9.0, 2.0, 3.0]]).double()
    problem = problem_of(0)._replace(
        logits=logits, shift=0.0, weight=0.0, bonus=0.0, language=None, words=None, hotwords=None
    )
    exact = found_by(search(problem))
    pruned = found_by(ops.beam_search(logits.unsqueeze(1), torch.tensor([3]), width=4, classes=1, best=4))
    assert pruned[1, 2].acoustic == pytest.approx(exact[1, 2].acoustic, abs=1e-3)
    assert (1, 2, 3) in pruned


def test_beam_search_at_length():
    """Prefixes come, go and come again over some hundred frames; a planted target is found as greedy finds it."""
    logits, targets, lengths, target_lengths, _ = make(shape=(300, 4, 40), width=9, seed=3)
    for dtype in DTYPES:
        planted = logits.clone()
        planted[..., 0] += 40
        for b in range(4):
            for u in range(int(target_lengths[b])):
                planted[int(lengths[b]) * u // 10, b, targets[b, u]] += 90
        planted = planted.to(dtype)
        path = ops.greedy(planted, lengths)
        paths = ops.beam_search(planted, lengths, best=2)
        for b, count in enumerate(path.counts_B.tolist()):
            assert paths.counts_BN[b, 0] == count
            assert torch.equal(paths.tokens_BNS[b, 0], path.tokens_BS[b])
    rest = (lengths, -1.0, 8, 20, 4, *guides(7, 40))
    got = OPS.beam_search(wide(logits), *rest)
    for name, one, other in zip(
        ops.BeamPaths._fields, got, reference_search.beam_search(wide(logits), *rest), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-9, msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(40, 5, 966), (33, 2, 1031), (500, 1, 40), (2, 70, 129)])
def test_large_shapes(dtype, shape):
    problem = make(shape=shape, width=17, dtype=dtype, shift=-0.7)
    logits, *rest = problem
    for path_domain in (False, True):
        got, truth = (
            op(x, *rest, path_domain, True)
            for op, x in ((OPS.ctc_loss, logits), (reference.ctc_loss, wide(logits)))
        )
        finite = truth[0] < torch.inf
        torch.testing.assert_close(got[0].double(), truth[0], rtol=2e-6, atol=1e-4)
        torch.testing.assert_close(got[2][finite].double(), truth[2][finite], rtol=1e-6, atol=1e-6)
    for got, truth in zip(
        OPS.greedy(logits, rest[1], -0.7), reference.greedy(wide(logits), rest[1], -0.7), strict=True
    ):
        torch.testing.assert_close(got.double(), truth.double(), rtol=2e-6, atol=1e-5)
    for got, truth in zip(OPS.align(logits, *rest), reference.align(wide(logits), *rest), strict=True):
        torch.testing.assert_close(got.double(), truth.double(), rtol=2e-6, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(150, 3, 45), (64, 2, 66), (33, 70, 17)])
def test_strides_change_no_bit(shape, dtype):
    """Tiles of strided rows, whole and cut by the ends of utterances and chunks, hold the rows."""
    logits, *rest = make(shape=shape, width=6, dtype=dtype, shift=-0.7)
    weights = torch.ones(shape[1], dtype=torch.float64 if dtype == torch.float64 else torch.float32)

    def results(logits):
        log_probs, *path = OPS.penalized_log_softmax_with_path(logits, rest[1], -0.7)
        loss = OPS.ctc_loss(logits, *rest, False, True)
        gradient = OPS.ctc_loss_backward(weights, logits, *rest[:-1], *loss, -0.7)
        back = OPS.penalized_log_softmax_backward(logits, log_probs)
        return [
            log_probs,
            *path,
            *loss,
            gradient,
            back,
            *OPS.frame_stats(logits, rest[1]),
            *OPS.align(logits, *rest),
            *ops.beam_search(logits, rest[1], -0.7, width=6, classes=9, best=3),
        ]

    plain = results(logits)
    for layout in LAYOUTS[1:]:
        for one, other in zip(plain, results(with_layout(logits, layout)), strict=True):
            assert torch.equal(one, other), layout


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_results_are_rounded_once_and_to_nearest(dtype):
    """All but those that float32 puts on the other side of a midpoint are the float64 result, rounded."""
    problem = make(shape=(40, 4, 130), width=6, dtype=dtype, shift=-0.7)
    logits, *rest = problem
    log_probs = OPS.penalized_log_softmax(logits, -0.7)
    exact = reference.penalized_log_softmax(wide(logits), -0.7).to(dtype)
    assert float((log_probs == exact).float().mean()) > 0.98
    got, truth = (
        op(x, *rest, False, True) for op, x in ((OPS.ctc_loss, logits), (reference.ctc_loss, wide(logits)))
    )
    gradient = OPS.ctc_loss_backward(torch.ones(4), logits, *rest[:-1], *got, -0.7)
    weights = torch.ones(4, dtype=torch.float64)
    exact = reference.ctc_loss_backward(weights, wide(logits), *rest[:-1], *truth, -0.7).to(dtype)
    assert float((gradient == exact).float().mean()) > 0.98


def test_gradient_meets_the_figure_at_the_seed_shape():
    """Relative L2 error against float64 of at most 2e-6; torch's own is a thousand times that."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(350, 4, 966, generator=generator)
    targets = torch.randint(1, 966, (4, 8), generator=generator)
    rest = (targets, torch.full((4,), 350), torch.full((4,), 8))
    for shift, path_domain in ((0.0, False), (-1.0, False), (-1.0, True)):
        got = OPS.ctc_loss(logits, *rest, shift, path_domain, True)
        truth = reference.ctc_loss(wide(logits), *rest, shift, path_domain, True)
        norm_shift = 0.0 if path_domain else shift
        ours = OPS.ctc_loss_backward(torch.ones(4), logits, *rest, *got, norm_shift).double()
        want = reference.ctc_loss_backward(torch.ones(4).double(), wide(logits), *rest, *truth, norm_shift)
        assert float((ours - want).norm() / want.norm()) < 2e-6


@pytest.mark.parametrize("scale", [1e6, 1e12, 1e20, 1e37])
def test_numbers_at_the_edge_of_float32(scale):
    problem = make(shape=(9, 2, 20), width=2)
    logits = problem.logits * scale
    losses, _, occupancy = OPS.ctc_loss(logits, *problem[1:4], 0.0, False, True)
    truth = reference.ctc_loss(wide(logits), *problem[1:4], 0.0, False, True)
    if scale < 2.0**49:
        torch.testing.assert_close(occupancy.double(), truth[2], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(losses.double(), truth[0], rtol=1e-6, atol=1e-6)
    else:  # larger gaps between logits all count as 2^49 nats: still a distribution over paths
        alive = torch.arange(9) < problem.lengths.unsqueeze(1)
        torch.testing.assert_close(occupancy.sum(2), alive.float(), rtol=1e-6, atol=1e-6)
    got = OPS.greedy(logits, problem.lengths, 0.0)
    assert torch.equal(got[0], reference.greedy(wide(logits), problem.lengths, 0.0)[0])


@pytest.mark.parametrize("with_entropy", [False, True])
def test_what_plain_doubles_lose_is_missed_although_something_is_left(with_entropy):
    """The likelier path begins 800 nats below what dies later on; the other, of 900, pays when that is dead."""
    logits = torch.full((14, 1, 4), -torch.inf)
    logits[:10, 0, 0] = 0.0  # the blank, which cannot last
    logits[0, 0, 1], logits[1, 0, 2], logits[2:, 0, 3] = -800.0, 0.0, 0.0
    logits[10, 0, 1], logits[11, 0, 2] = -400.0, -500.0
    arguments = (torch.tensor([[1, 2, 3]]), torch.tensor([14]), torch.tensor([3]))
    op = ops.ctc_loss_with_entropy if with_entropy else ops.ctc_loss
    loss, truth = (op(x, *arguments) for x in (logits, logits.double()))
    loss, truth = (loss[0], truth[0]) if with_entropy else (loss, truth)
    own = reference.ctc_loss(logits.double(), *arguments, 0.0, False, False)[0]
    assert 800.0 < float(own) < 810.0
    assert float(loss) == pytest.approx(float(own), rel=1e-6)
    assert float(truth) == pytest.approx(float(own), rel=1e-12)
