"""CTC ops on raw logits: greedy decoding, beam search, penalised log-softmax, loss, alignment, penalty sweeps.

All take ``logits_TBC``, [T frames, B utterances, C classes] of any strides (transpose a batch-first tensor,
do not copy it) in float32, bfloat16, float16 or float64; lengths are int64 [B] on the same device, at most T.
Class 0 is the blank; ties go to the lowest class. ``shift`` is added to the blank logit, in nats; a penalty
is negative. Scores and losses are float32 (float64 for float64 logits).

-inf logits are legal. NaN or +inf within an utterance's length is a ValueError that names the utterance, and
so is any argument of the wrong type, shape, device or range. Frames beyond a length and targets beyond a
target length may hold anything. Results are deterministic and do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ctckit.ops import checks, loader
from ctckit.ops.automata import Automaton, Lexicon
from ctckit.ops.results import Alignment, Backend, BeamPaths, FrameReading, FrameStats, GreedyPaths, LossWithEntropy
from ctckit.types import Domain, real_frames

__all__ = [
    "Alignment",
    "Automaton",
    "Backend",
    "BeamPaths",
    "Domain",
    "FrameReading",
    "FrameStats",
    "GreedyPaths",
    "Lexicon",
    "LossWithEntropy",
    "align",
    "backend",
    "beam_search",
    "ctc_loss",
    "ctc_loss_with_entropy",
    "feasible",
    "frame_stats",
    "greedy",
    "greedy_with_stats",
    "occupancies",
    "penalized_log_softmax",
    "penalized_log_softmax_with_path",
    "read_arpa",
    "real_frames",
    "sweep",
]


def backend() -> Backend:
    """What CTCKIT_OPS (auto, cpu, cuda or reference) resolved to; builds or loads the kernels if need be.

    Raises:
        ctckit.errors.ConfigError: A backend was asked for by name and cannot be had.
    """
    return loader.load()


def frame_stats(logits_TBC: Tensor, lengths_B: Tensor) -> FrameStats:
    """Reduce each frame to what decoding under any blank shift needs: 16 bytes (24 in float64) a frame.

    Under a shift b the frame is blank iff ``blank_logit + b >= best_logit``, and its log-normaliser is
    ``logaddexp(logsumexp, blank_logit + b)``.

    Returns:
        FrameStats: Four tensors [T, B].

    Raises:
        ValueError: An argument is malformed, or an utterance holds NaN or +inf.
    """
    _check(logits_TBC, lengths_B)
    return FrameStats(*_run("frame_stats", logits_TBC.detach(), lengths_B))


def greedy(logits_TBC: Tensor, lengths_B: Tensor, shift: float = 0.0) -> GreedyPaths:
    """Decode the best path under a blank shift: equal neighbours merge, then blanks go; ``A blank A`` is two.

    Returns:
        GreedyPaths: Tokens, frame spans, scores; [B, T] padded.

    Raises:
        ValueError: An argument is malformed, or an utterance holds NaN or +inf.
    """
    _check(logits_TBC, lengths_B)
    return GreedyPaths(*_run("greedy", logits_TBC.detach(), lengths_B, checks.check_shift(shift)))


def greedy_with_stats(logits_TBC: Tensor, lengths_B: Tensor, shift: float = 0.0) -> FrameReading:
    """`greedy` and `frame_stats` and the entropies of the frames, from one pass over the logits.

    An evaluation reads the logits twice: here, and in the loss.

    Returns:
        FrameReading: The paths under ``shift``, the statistics without it, and the entropies under any.

    Raises:
        ValueError: An argument is malformed, or an utterance holds NaN or +inf.
    """
    _check(logits_TBC, lengths_B)
    results = _run("greedy_with_stats", logits_TBC.detach(), lengths_B, checks.check_shift(shift))
    paths = len(GreedyPaths._fields)
    return FrameReading(GreedyPaths(*results[:paths]), FrameStats(*results[paths:-1]), results[-1])


def penalized_log_softmax(logits_TBC: Tensor, shift: float = 0.0) -> Tensor:
    """Normalise over C, in log space, the logits with ``shift`` added to the blank; differentiable.

    Returns:
        Tensor: [T, B, C] in nats, with the type and strides of the logits (float32 under autocast).

    Raises:
        ValueError: An argument is malformed, or any frame, padding included, holds NaN or +inf.
    """
    checks.check_logits(logits_TBC)
    log_probs: Tensor = _run("penalized_log_softmax", logits_TBC, checks.check_shift(shift))
    return log_probs


def penalized_log_softmax_with_path(
    logits_TBC: Tensor, lengths_B: Tensor, shift: float = 0.0
) -> tuple[Tensor, GreedyPaths]:
    """`penalized_log_softmax` of all frames and `greedy` within the lengths, from one pass over the logits.

    Raises:
        ValueError: An argument is malformed, or an utterance holds NaN or +inf.
    """
    _check(logits_TBC, lengths_B)
    log_probs, *path = _run("penalized_log_softmax_with_path", logits_TBC, lengths_B, checks.check_shift(shift))
    return log_probs, GreedyPaths(*path)


def ctc_loss(
    logits_TBC: Tensor,
    targets_BS: Tensor,
    lengths_B: Tensor,
    target_lengths_B: Tensor,
    shift: float = 0.0,
    domain: Domain = "logit",
) -> Tensor:
    """CTC loss per utterance, in nats, not normalised; differentiable (once) with respect to the logits.

    In the ``"logit"`` domain the shift acts before the softmax q and the gradient is q - gamma, gamma being
    the posterior occupancy. In the ``"path"`` domain every blank of a path is worth ``shift`` nats after the
    unshifted softmax p: the loss is the former less the sum over frames of ``log sum_k p_k exp(b_k)``, and
    the gradient is p - gamma with the same gamma.

    An utterance without a path through its frames has loss inf and a gradient of zero; `feasible` tells them
    beforehand.

    Args:
        logits_TBC: Raw logits; no log-softmax before.
        targets_BS: int64 labels in 1..C-1; whatever lies beyond a target length is ignored.
        lengths_B: int64 number of frames, 0..T.
        target_lengths_B: int64 number of labels, 0..S.
        shift: Nats added to each blank; negative penalises it.
        domain: Where the shift acts.

    Returns:
        Tensor: Losses [B].

    Raises:
        ValueError: An argument is malformed or out of range, or an utterance holds NaN or +inf.
    """
    arguments = _loss_arguments(logits_TBC, targets_BS, lengths_B, target_lengths_B, shift, domain)
    losses: Tensor = _run("ctc_loss", *arguments)[0]
    return losses


def ctc_loss_with_entropy(
    logits_TBC: Tensor,
    targets_BS: Tensor,
    lengths_B: Tensor,
    target_lengths_B: Tensor,
    shift: float = 0.0,
    domain: Domain = "logit",
) -> LossWithEntropy:
    """`ctc_loss`, and from the same dynamic programme the entropy of the paths; both differentiable, once.

    The entropy is that of the posterior over the paths of the targets, the same in both domains: 0 where one
    alignment is certain. Adding it, negative, to a loss keeps alignments from collapsing to spikes early (EnCTC,
    Liu, Jin and Zhang, NeurIPS 2018).

    Raises:
        ValueError: An argument is malformed or out of range, or an utterance holds NaN or +inf.
    """
    arguments = _loss_arguments(logits_TBC, targets_BS, lengths_B, target_lengths_B, shift, domain)
    return LossWithEntropy(*_run("ctc_loss_with_entropy", *arguments)[:2])


def occupancies(
    logits_TBC: Tensor,
    targets_BS: Tensor,
    lengths_B: Tensor,
    target_lengths_B: Tensor,
    shift: float = 0.0,
) -> Tensor:
    """Posterior probability, given the targets, that a frame is blank (column 0) or belongs to each label.

    A soft alignment, which `align` makes hard; a frame's columns sum to 1. Not differentiable. Zero beyond the
    lengths and throughout where no path exists.

    Returns:
        Tensor: [B, T, 1 + S].

    Raises:
        ValueError: An argument is malformed or out of range, or an utterance holds NaN or +inf.
    """
    logits_TBC = logits_TBC.detach() if isinstance(logits_TBC, Tensor) else logits_TBC
    *arguments, _ = _loss_arguments(logits_TBC, targets_BS, lengths_B, target_lengths_B, shift, "logit")
    occupancy: Tensor = _run("ctc_loss", *arguments, True)[2]
    return occupancy


def feasible(targets_BS: Tensor, lengths_B: Tensor, target_lengths_B: Tensor) -> Tensor:
    """Tell, bool [B], whether any CTC path exists: frames >= labels + adjacent equal labels.

    Raises:
        ValueError: An argument is malformed.
    """
    batch, device = lengths_B.shape[0], lengths_B.device
    checks.check_integers("lengths", lengths_B, (batch,), device)
    checks.check_integers("targets", targets_BS, (batch, None), device)
    checks.check_integers("target_lengths", target_lengths_B, (batch,), device)
    position = torch.arange(1, max(targets_BS.shape[1], 1), device=device)
    repeats = (targets_BS[:, 1:] == targets_BS[:, :-1]) & (position < target_lengths_B.unsqueeze(1))
    return lengths_B >= target_lengths_B + repeats.sum(1)


def align(
    logits_TBC: Tensor,
    targets_BS: Tensor,
    lengths_B: Tensor,
    target_lengths_B: Tensor,
    shift: float = 0.0,
) -> Alignment:
    """Best path of each utterance through its targets, under a blank shift in the logit domain.

    An utterance without a path scores -inf and is padding (-1, scores 0) throughout. Equally good paths: see
    `ctckit.ops.reference.align`.

    Raises:
        ValueError: An argument is malformed or out of range, or an utterance holds NaN or +inf.
    """
    _check(logits_TBC, lengths_B)
    _check_targets(logits_TBC, targets_BS, target_lengths_B)
    shift = checks.check_shift(shift)
    return Alignment(*_run("align", logits_TBC.detach(), targets_BS, lengths_B, target_lengths_B, shift))


def beam_search(
    logits_TBC: Tensor,
    lengths_B: Tensor,
    shift: float = 0.0,
    *,
    width: int = 16,
    classes: int | None = 32,
    best: int = 1,
    language: Automaton | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
    lexicon: Lexicon | None = None,
    hotwords: Automaton | None = None,
) -> BeamPaths:
    """Search the label sequences that are likeliest over all their alignments, under a blank shift.

    Prefix beam search (Graves 2012; Hannun et al. 2014) on the softmax of the logits with ``shift`` on the blank.
    A hypothesis is ranked by ``acoustic + weight * language + bonus * units + boosts``; units are tokens, or words
    with a lexicon. Of equal totals that comes first whose labels do: the lower class, and a beginning before what
    goes on. The prefixes of the beam are ranked likewise, in the last frame as the wholes that they then are.
    Where ``width`` and ``classes`` leave nothing out, the result is exact.

    What is pruned is lost, but a prefix in the beam gets all that the others there lead to it: ``classes`` says
    which labels may make a new prefix, not which count. A width of 1 is not `greedy`: it follows one prefix, which
    has many paths.

    The search keeps no times. `align` has them for the tokens of a hypothesis (``counts_BN.clamp(min=0)`` are its
    target lengths). CUDA logits are copied: the search runs on the CPU.

    Args:
        logits_TBC: Raw logits; no log-softmax before.
        lengths_B: int64 number of frames, 0..T.
        shift: Nats added to each blank; negative penalises it.
        width: Prefixes that are kept from frame to frame.
        classes: How many labels may extend prefixes in a frame: those with the best logits, of equals the lower
            class; the blank is not counted. None: all that are not -inf.
        best: Hypotheses to return, N; there are no more than ``width``.
        language: Gives log-probabilities to tokens or, by their numbers, to the words of ``lexicon``. A word gets
            its own when it is finished: at the separator behind it, or at the end of the clip.
        weight: Of the language's log-probabilities.
        bonus: Nats for each token, or each word of ``lexicon``.
        lexicon: The words that may be written, one separator between two. Nothing at all may be written too.
        hotwords: Boosts of token sequences.

    Returns:
        BeamPaths: Tokens and scores, [B, N] and [B, N, T]. An utterance with a frame of nothing but -inf has no
        hypothesis, and one whose beam ends within words has none either.

    Raises:
        ValueError: An argument is malformed or out of range, an automaton or a lexicon is inconsistent, or an
            utterance holds NaN or +inf.
    """
    _check(logits_TBC, lengths_B)
    width, best = (checks.check_count(name, value, 1 << 20) for name, value in (("width", width), ("best", best)))
    labels = logits_TBC.shape[2] - 1
    classes = labels if classes is None else min(checks.check_count("classes", classes, 1 << 31), labels)
    weight, bonus = (checks.check_finite(name, value) for name, value in (("weight", weight), ("bonus", bonus)))
    spelling: tuple[Any, ...] = ([], 0)
    if lexicon is not None:
        spelling = (checks.check_record("lexicon", lexicon, Lexicon), lexicon.separator)
    return BeamPaths(
        *_run(
            "beam_search",
            logits_TBC.detach(),
            lengths_B,
            checks.check_shift(shift),
            width,
            classes,
            best,
            weight,
            bonus,
            *_automaton("language", language),
            *spelling,
            *_automaton("hotwords", hotwords),
        )
    )


def read_arpa(text: bytes) -> tuple[tuple[str, ...], Automaton, tuple[int, ...]]:
    """Read a back-off n-gram model from the bytes of an ARPA file.

    States of the automaton are the histories that anything follows, or whose back-off weight says something;
    contexts that the file leaves out are added with the probability that the model gives them, so that every
    sentence has the probability of the back-off recursion. ``<s>`` is where the automaton begins and ``</s>`` its
    ending; neither has an arc. A probability of zero is ``1e-100``, as in KenLM; so is that of an unknown word,
    unless there is an ``<unk>``. A model without ``</s>`` lets every sentence end at no cost.

    Returns:
        The words in the order of the 1-grams, whose places are the automaton's labels; the automaton; the number of
        n-grams of each order.

    Raises:
        ValueError: The text is no model, or no UTF-8; names the line.
    """
    loader.load()
    parts = torch.ops.ctckit.read_arpa(torch.frombuffer(bytearray(text or b"\n"), dtype=torch.uint8))
    words = tuple(bytes(parts[0].numpy()).decode("utf-8").split("\n")[:-1])
    numbers = parts[8].tolist()
    starts, labels, targets, weights, failures, failure_weights, finals = parts[1:8]
    unknown = NATS_OF_LOG_ZERO
    for spelling in UNKNOWN:
        if spelling in words:
            root = labels[: int(starts[1])].tolist()
            unknown = float(weights[root.index(words.index(spelling))])
            break
    automaton = Automaton(starts, labels, targets, weights, failures, failure_weights, finals, numbers[0], unknown)
    return words, automaton, tuple(numbers[1:])


UNKNOWN = ("<unk>", "<UNK>")
"""How a model writes the word that stands for all that it does not know."""

NATS_OF_LOG_ZERO = -100.0 * math.log(10.0)
"""What stands for the logarithm of zero."""


def sweep(stats: FrameStats, lengths_B: Tensor, shifts_K: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    """Greedy tokens under each of K blank shifts, from one `frame_stats`.

    Args:
        stats: What `frame_stats` returned.
        lengths_B: int64 number of frames.
        shifts_K: Finite shifts, in nats.

    Returns:
        tuple: Tokens int64 [K, B, T], padded with -1, and counts int64 [K, B].

    Raises:
        ValueError: An argument is malformed.
    """
    checks.check_stats(stats.best_TB, stats.best_logit_TB, stats.blank_logit_TB)
    device = stats.best_TB.device
    checks.check_integers("lengths", lengths_B, (stats.best_TB.shape[1],), device)
    shifts = torch.as_tensor(shifts_K, dtype=torch.float64)
    if shifts.dim() != 1 or not bool(shifts.isfinite().all()):
        raise ValueError("shifts: expected a list of finite numbers")
    tokens, counts = _run(
        "sweep",
        stats.best_TB,
        stats.best_logit_TB,
        stats.blank_logit_TB,
        lengths_B,
        shifts.to(device, non_blocking=True),
    )
    return tokens, counts


def _check(logits_TBC: Tensor, lengths_B: Tensor) -> None:
    checks.check_logits(logits_TBC)
    checks.check_integers("lengths", lengths_B, (logits_TBC.shape[1],), logits_TBC.device)


def _check_targets(logits_TBC: Tensor, targets_BS: Tensor, target_lengths_B: Tensor) -> None:
    batch, device = logits_TBC.shape[1], logits_TBC.device
    checks.check_integers("targets", targets_BS, (batch, None), device)
    checks.check_integers("target_lengths", target_lengths_B, (batch,), device)


def _automaton(name: str, automaton: Automaton | None) -> tuple[list[Tensor], int, float]:
    if automaton is None:
        return [], 0, 0.0
    return checks.check_record(name, automaton, Automaton), automaton.initial, automaton.unknown


def _loss_arguments(
    logits_TBC: Tensor,
    targets_BS: Tensor,
    lengths_B: Tensor,
    target_lengths_B: Tensor,
    shift: float,
    domain: Domain,
) -> tuple[Any, ...]:
    _check(logits_TBC, lengths_B)
    _check_targets(logits_TBC, targets_BS, target_lengths_B)
    if domain not in ("logit", "path"):
        raise ValueError(f"domain: expected 'logit' or 'path', not {domain!r}")
    with_gradient = torch.is_grad_enabled() and logits_TBC.requires_grad
    shift = checks.check_shift(shift)
    return logits_TBC, targets_BS, lengths_B, target_lengths_B, shift, domain == "path", with_gradient


def _ready() -> bool:
    """Load the kernels; torch.compile does it while tracing and leaves nothing in the graph."""
    loader.load()
    return True


# What torch.compiler.assume_constant_result does, without its import of torch._dynamo: half of the time that
# importing ctckit would take.
_ready._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _run(name: str, *arguments: Any) -> Any:
    _ready()
    op: Callable[..., Any] = getattr(torch.ops.ctckit, name)
    return op(*arguments)
