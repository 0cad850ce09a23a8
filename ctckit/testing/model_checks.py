"""The contract of models, one function a clause; its name is the promise."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from ctckit.config import parse_assignment
from ctckit.errors import ConfigError, CtckitError
from ctckit.interfaces import Model
from ctckit.parameters import GIVEN, construct, parameters_of
from ctckit.testing.component_checks import (
    NUMBERS_AS_TEXT,
    methods_are_not_misspelt,
    parameters_are_typed,
    picklable,
    rng_watched,
)
from ctckit.testing.contract import INPUT_SIZE, NUM_CLASSES, Clause, ContractError, Subject
from ctckit.types import BLANK, Emissions, Remedy

LENGTHS = (11, 7, 1, 4, 23, 16)
"""Frames of the clips that models are shown: odd, even, one, powers of two."""

LONGEST = 40
"""Every length up to here is tried alone."""

TOLERANCE = 1e-4
"""Sums over padded and unpadded batches may be taken in another order."""

EXTRA_FRAMES = 5

MODEL_SETTING = re.compile(r"--set (?:'(model\.[^']*)'|(model\.[^\s,;']*))")
"""A setting of the model in what a remedy says to do."""

LOUD = 1e3
"""What the padding is filled with, where it must not be heard."""


def parameters_survive_repr(subject: Subject) -> None:
    """Parameters are plain values, as a configuration file and a checkpoint hold them."""
    known = parameters_of(subject.cls, given=GIVEN)
    defaults = {parameter.name: parameter.default for parameter in known if not parameter.required}
    for name, value in {**defaults, **subject.params}.items():
        try:
            again = ast.literal_eval(repr(value))
        except (ValueError, SyntaxError):
            again = NUMBERS_AS_TEXT.get(repr(value), ContractError)
        if again != value:
            raise ContractError(
                f"{name} = {value!r} is no plain value: use numbers, text, true and false, or tuples"
            )


def emissions_have_their_shape(subject: Subject) -> None:
    """Logits are finite floats ``[T, B, C]``, lengths int64 ``[B]``; auxiliary heads alike, each with a name."""
    for training in (False, True):
        model = _built(subject, training=training)
        clips_BTF, lengths_B = _batch(LENGTHS)
        emissions = model(clips_BTF, lengths_B)
        if not isinstance(emissions, Emissions):
            raise ContractError(f"forward returned {type(emissions).__name__}, expected ctckit.Emissions")
        heads = [("logits", emissions.logits_TBC, emissions.lengths_B)]
        heads += [(f"head '{head.name}'", head.logits_TBC, head.lengths_B) for head in emissions.auxiliary]
        for what, logits_TBC, out_B in heads:
            _has_shape(what, logits_TBC, out_B)
        names = [head.name for head in emissions.auxiliary]
        if len(set(names)) < len(names) or not all(names):
            raise ContractError(f"auxiliary heads are named {names}; give each a name of its own")


def output_lengths_are_exact(subject: Subject) -> None:
    """``output_lengths`` says for every length what the forward gives: its lengths, and frames of a clip alone."""
    model = _built(subject)
    for length in range(1, LONGEST + 1):
        clips_BTF, lengths_B = _batch((length,))
        said = model.output_lengths(lengths_B)
        if said.dtype != torch.int64 or said.shape != lengths_B.shape:
            raise ContractError(f"output_lengths returned {said.dtype} {list(said.shape)}, expected int64 [1]")
        emissions = model(clips_BTF, lengths_B)
        frames, told = emissions.logits_TBC.shape[0], int(emissions.lengths_B)
        if not int(said) == told == frames:
            raise ContractError(
                f"for a clip of {length} frames output_lengths says {int(said)}, "
                f"the forward gave {frames} frames and the length {told}"
            )
    clips_BTF, lengths_B = _batch(LENGTHS)
    said_B, told_B = model.output_lengths(lengths_B), model(clips_BTF, lengths_B).lengths_B
    if said_B.tolist() != told_B.tolist():
        raise ContractError(f"in a batch output_lengths says {said_B.tolist()}, the forward {told_B.tolist()}")


def clip_alone_equals_clip_padded(subject: Subject) -> None:
    """In evaluation mode a clip gives the same logits alone and padded in a batch."""
    model = _built(subject)
    clips_BTF, lengths_B = _batch(LENGTHS)
    together = model(clips_BTF, lengths_B)
    for index, length in enumerate(LENGTHS):
        alone = model(clips_BTF[index : index + 1, :length], lengths_B[index : index + 1])
        frames = int(alone.lengths_B)
        gap = _gap(alone.logits_TBC[:frames, 0], together.logits_TBC[:frames, index])
        if not gap <= TOLERANCE:
            raise ContractError(
                f"a clip of {length} frames gives logits that differ by {gap:.2g} when it is padded to "
                f"{max(LENGTHS)} in a batch; mask by the lengths, or pack"
            )


def padding_content_has_no_influence(subject: Subject) -> None:
    """Whatever the padding holds, the logits of real frames stay."""
    model = _built(subject)
    quiet_BTF, lengths_B = _batch(LENGTHS, padding=EXTRA_FRAMES)
    loud_BTF, _ = _batch(LENGTHS, padding=EXTRA_FRAMES, fill=LOUD)
    gap = _gap_in_batch(model(quiet_BTF, lengths_B), model(loud_BTF, lengths_B))
    if not gap <= TOLERANCE:
        raise ContractError(f"padding filled with {LOUD:g} instead of 0 changes the logits by {gap:.2g}")


def batch_statistics_leave_padding_out(subject: Subject) -> None:
    """In training mode, without dropout, more padding changes nothing: batch norm averages over real frames."""
    model = _built(subject, training=True)
    model.set_dropout(0.0)
    short_BTF, lengths_B = _batch(LENGTHS)
    long_BTF, _ = _batch(LENGTHS, padding=EXTRA_FRAMES)
    gap = _gap_in_batch(_seeded(model, short_BTF, lengths_B), _seeded(model, long_BTF, lengths_B))
    if not gap <= TOLERANCE:
        raise ContractError(
            f"in training mode {EXTRA_FRAMES} more frames of padding change the logits by {gap:.2g}; "
            "batch norm must see real frames only"
        )


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """A loss on the real frames of all heads reaches every parameter that asks for a gradient."""
    model = _built(subject, training=True)
    clips_BTF, lengths_B = _batch(LENGTHS)
    emissions = _seeded(model, clips_BTF, lengths_B)
    total = _weighted_sum(emissions.logits_TBC, emissions.lengths_B)
    for head in emissions.auxiliary:
        total = total + _weighted_sum(head.logits_TBC, head.lengths_B)
    total.backward()  # type: ignore[no-untyped-call]
    parameters = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not parameters:
        raise ContractError("the model has no parameter to train")
    without = [name for name, p in parameters if p.grad is None or not bool(p.grad.count_nonzero())]
    if without:
        raise ContractError(f"no gradient reaches {', '.join(without)}")
    odd = [name for name, p in parameters if p.grad is not None and not bool(p.grad.isfinite().all())]
    if odd:
        raise ContractError(f"the gradient of {', '.join(odd)} is not finite")


def wrong_width_is_named(subject: Subject) -> None:
    """Features of another width are refused with ``ValueError`` that names both widths."""
    model = _built(subject)
    wrong = INPUT_SIZE + 3
    example = f'raise ValueError(f"features have {wrong} columns, the model takes {INPUT_SIZE}")'
    try:
        model(torch.zeros(1, LONGEST, wrong), torch.tensor([LONGEST]))
    except (ValueError, CtckitError) as error:
        if str(wrong) not in str(error) or str(INPUT_SIZE) not in str(error):
            raise ContractError(
                f"features of width {wrong} are refused with '{error}', which lacks {wrong} or {INPUT_SIZE}"
            ) from error
    except Exception as error:
        raise ContractError(
            f"features of width {wrong} end in {type(error).__name__} inside the network; check first: {example}"
        ) from error
    else:
        raise ContractError(f"features of width {wrong} are taken by a model built for {INPUT_SIZE}: {example}")


def input_is_unchanged(subject: Subject) -> None:
    """``forward`` and ``output_lengths`` write into neither features nor lengths."""
    model = _built(subject)
    clips_BTF, lengths_B = _batch(LENGTHS, padding=1, fill=LOUD)
    clips, lengths = clips_BTF.clone(), lengths_B.clone()
    model(clips, lengths)
    model.output_lengths(lengths)
    changed = [
        name
        for name, before, after in (("features", clips_BTF, clips), ("lengths", lengths_B, lengths))
        if not torch.equal(before, after)
    ]
    if changed:
        raise ContractError(f"it writes into the {' and '.join(changed)} that it was given")


def global_rng_is_untouched(subject: Subject) -> None:
    """In evaluation mode nothing is drawn from a global generator."""
    model = _built(subject)
    clips_BTF, lengths_B = _batch(LENGTHS)
    with rng_watched("forward in evaluation mode"):
        model(clips_BTF, lengths_B)


def dropout_can_be_set(subject: Subject) -> None:
    """After ``set_dropout(0)`` training mode is deterministic."""
    model = _built(subject, training=True)
    model.set_dropout(0.0)
    clips_BTF, lengths_B = _batch(LENGTHS)
    first, second = (_seeded(model, clips_BTF, lengths_B, seed=seed) for seed in (1, 2))
    if not _gap_in_batch(first, second) <= TOLERANCE:
        raise ContractError("after set_dropout(0) two forwards in training mode still differ")


def state_goes_into_a_fresh_twin(subject: Subject) -> None:
    """Trained a step, saved, and loaded into a fresh twin, the model gives the same logits."""
    trained = _built(subject, training=True)
    clips_BTF, lengths_B = _batch(LENGTHS)
    emissions = _seeded(trained, clips_BTF, lengths_B)
    _weighted_sum(emissions.logits_TBC, emissions.lengths_B).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.01)
    buffer = io.BytesIO()
    torch.save(trained.state_dict(), buffer)
    buffer.seek(0)
    twin = _built(subject, seed=1)
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    gap = _gap_in_batch(trained.eval()(clips_BTF, lengths_B), twin(clips_BTF, lengths_B))
    if not gap <= TOLERANCE:
        raise ContractError(
            f"a fresh twin with the same state gives logits that differ by {gap:.2g}; "
            "keep what is learnt in parameters and buffers"
        )


def blank_bias_moves_the_blank_alone(subject: Subject) -> None:
    """Where there is a ``blank_bias``, adding to it adds as much to the blank's logit and to nothing else."""
    model = _built(subject)
    bias = model.blank_bias()
    if bias is None:
        return
    if bias.numel() != 1:
        raise ContractError(f"blank_bias() has {bias.numel()} elements, expected a view of one")
    clips_BTF, lengths_B = _batch((LENGTHS[0],))
    before_TBC = model(clips_BTF, lengths_B).logits_TBC.detach().clone()
    with torch.no_grad():
        bias += 2.0
    moved_C = (model(clips_BTF, lengths_B).logits_TBC.detach() - before_TBC).mean(dim=(0, 1))
    expected_C = torch.zeros(NUM_CLASSES)
    expected_C[BLANK] = 2.0
    if not _gap(moved_C, expected_C) <= TOLERANCE:
        raise ContractError(
            f"2 added to blank_bias() moves the logits by {[round(float(x), 3) for x in moved_C]}, "
            "expected 2 for the blank and 0 for the others; return a view, such as bias[:1]"
        )


def remedies_can_be_followed(subject: Subject) -> None:
    """``remedies`` returns records, the same when asked again, and the model takes what they set."""
    model = _built(subject)
    for frames_per_label in (0.5, 3.0, 30.0):
        found = model.remedies(frames_per_label)
        if not isinstance(found, Sequence) or not all(isinstance(remedy, Remedy) for remedy in found):
            raise ContractError(f"remedies returned {found!r}, expected a list of ctckit.Remedy")
        if list(model.remedies(frames_per_label)) != list(found):
            raise ContractError(f"remedies({frames_per_label}) differ when asked again")
        for remedy in found:
            changes = [
                parse_assignment(one or other)["model"] for one, other in MODEL_SETTING.findall(remedy.change)
            ]
            changed = {name: value for one in changes for name, value in one.items()}
            try:
                construct(
                    subject.cls, "", {**subject.params, **changed}, input_size=INPUT_SIZE, num_classes=NUM_CLASSES
                )
            except ConfigError as error:
                raise ContractError(f"the model refuses its own remedy '{remedy.change}'{error}") from error


MODEL: tuple[Clause, ...] = (
    parameters_are_typed,
    parameters_survive_repr,
    methods_are_not_misspelt,
    picklable,
    emissions_have_their_shape,
    output_lengths_are_exact,
    clip_alone_equals_clip_padded,
    padding_content_has_no_influence,
    batch_statistics_leave_padding_out,
    every_parameter_gets_a_gradient,
    wrong_width_is_named,
    input_is_unchanged,
    global_rng_is_untouched,
    dropout_can_be_set,
    state_goes_into_a_fresh_twin,
    blank_bias_moves_the_blank_alone,
    remedies_can_be_followed,
)


def _built(subject: Subject, *, training: bool = False, seed: int = 0) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Model = subject.make()
    return model.train(training)


def _batch(lengths: Sequence[int], *, padding: int = 0, fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return clips that depend on their lengths alone, padded with ``fill``."""
    clips_BTF = torch.full((len(lengths), max(lengths) + padding, INPUT_SIZE), fill)
    for row_TF, length in zip(clips_BTF, lengths, strict=True):
        row_TF[:length] = torch.randn(length, INPUT_SIZE, generator=torch.Generator().manual_seed(length))
    return clips_BTF, torch.tensor(lengths, dtype=torch.int64)


def _seeded(model: Model, clips_BTF: Tensor, lengths_B: Tensor, *, seed: int = 0) -> Emissions:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        emissions: Emissions = model(clips_BTF, lengths_B)
    return emissions


def _has_shape(what: str, logits_TBC: Tensor, lengths_B: Tensor) -> None:
    if logits_TBC.dim() != 3 or logits_TBC.shape[1:] != (len(LENGTHS), NUM_CLASSES):
        raise ContractError(
            f"{what} have the shape {list(logits_TBC.shape)}, expected [frames, {len(LENGTHS)} clips, "
            f"{NUM_CLASSES} classes]"
        )
    if not logits_TBC.is_floating_point():
        raise ContractError(f"{what} are {logits_TBC.dtype}, expected floats")
    if lengths_B.dtype != torch.int64 or lengths_B.shape != (len(LENGTHS),):
        raise ContractError(
            f"lengths of {what} are {lengths_B.dtype} {list(lengths_B.shape)}, expected int64 [{len(LENGTHS)}]"
        )
    if int(lengths_B.max()) > logits_TBC.shape[0] or int(lengths_B.min()) < 0:
        raise ContractError(f"{what} have {logits_TBC.shape[0]} frames, their lengths say {lengths_B.tolist()}")
    if not bool(_real(logits_TBC, lengths_B).isfinite().all()):
        raise ContractError(f"{what} are not finite on real frames")


def _real(logits_TBC: Tensor, lengths_B: Tensor) -> Tensor:
    frames = torch.arange(logits_TBC.shape[0])
    return logits_TBC[frames[:, None] < lengths_B[None]]


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max()) if one.numel() else 0.0


def _gap_in_batch(one: Emissions, other: Emissions) -> float:
    return _gap(_real(one.logits_TBC, one.lengths_B), _real(other.logits_TBC, other.lengths_B))


def _weighted_sum(logits_TBC: Tensor, lengths_B: Tensor) -> Tensor:
    real = _real(logits_TBC, lengths_B)
    weights = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    return (real * weights).sum()
