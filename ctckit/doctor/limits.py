"""The limits that several rules go by, or that were measured; those of the founding document are in flags.py.

Shares and rates are per cent, losses are told as shares of the unigram plateau, time is told in epochs and,
where an epoch may be a handful of steps, in updates as well.
"""

from __future__ import annotations

from typing import Final

# time

USUAL: Final = 3
"""Epochs on the plateau that nobody need mention: AN4 leaves it in epoch 2 to 6."""

PATIENCE: Final = 10
"""Epochs on the plateau after which it is an error and no longer a beginning."""

EPOCH_UPDATES: Final = 100
"""Updates that count as an epoch where a rule counts epochs: a smaller corpus takes more epochs to be as old."""

LOOK: Final = 5
"""Epochs over which a loss is asked whether it falls."""

LOOK_UPDATES: Final = 100
"""Updates in them below which there is no asking yet."""

FALLS: Final = 0.02
"""Share of itself by which a loss must fall in ``LOOK`` epochs to count as falling."""

# losses

FAR_ABOVE: Final = 1.5
"""Multiple of the plateau's loss above which a run has not even learnt label frequencies."""

LEARNT: Final = 0.5
"""Share of the plateau's loss below which the network knows its labels; above it, it is on its way."""

LOW: Final = 0.25
"""Share of the plateau's loss below which a dev loss is that of a net that recognises."""

LEARNT_NATS: Final = 1.5
"""The same in nats per token, where the plateau was not recorded."""

LEARNT_NATS_OF_FEW: Final = 1.0
"""And where the alphabet may be that of nanopores: of four labels the plateau itself is at 1.39."""

ZERO_LOSS: Final = -1e-3
"""Losses below it are negative; rounding is above it."""

DECODER_LOSS: Final = 0.1
"""Share of the plateau's loss at which labels are known so well that decoding cannot miss them."""

DECODER_NATS: Final = 0.25
"""The same in nats per token, where the plateau was not recorded."""

RISEN: Final = 1.5
"""Multiple of its own lowest value to which a training loss has risen where a run has lost what it knew."""

# word errors

MANY_ERRORS: Final = 60.0
"""Word errors from which on a run counts as still on its way."""

MOST_ERRORS: Final = 80.0
"""The same where the plateau was not recorded and word errors alone tell."""

HALF_WRONG: Final = 50.0
"""Word errors from which on a gap between dev and training loss is what is wrong with a run."""

FEW_ERRORS: Final = 20.0
"""Word errors below which a run recognises, whatever the losses do."""

NONE_RIGHT: Final = 90.0
"""Word errors on training from which on nothing is decoded."""

FEWER: Final = (1.0, 0.02)
"""Points, and share, by which word errors must fall to have fallen."""

LOST: Final = (10.0, 0.5)
"""Points, and share, above its best by which the word errors of a run say that it has lost what it knew."""

WORSE: Final = (2.0, 0.2)
"""Points, and share, above its best by which the word errors of a good run have got worse."""

# what is emitted

SPIKES: Final = (0.5, 2.0)
"""Label frames per reference token between which emissions count as spikes; perfect one-frame spikes have 1."""

INSERTIONS: Final = 20.0
"""Insertion rate from which on labels are inserted; it must also be twice the deletion rate."""

OMISSIONS: Final = 25.0
"""Deletion rate from which on labels are left out; it must also be thrice the insertion rate."""

OMITTED: Final = 50.0
"""Deletion rate from which on a run is still on its way."""

LOPSIDED: Final = (5.0, 2.0)
"""Points, and factor, by which deletions and insertions differ where a decode-time shift would make up for it."""

SHORT: Final = 0.75
"""Length ratio up to which hypotheses are too short."""

WRONG_SHARE: Final = 0.25
"""Share of the emitted labels that may be wrong where a shift is to help; more turn into substitutions."""

NO_BLANKS: Final = (10.0, 0.25)
"""Blank share, or share of the reference ``1 - U/T``, below which blanks are gone."""

INFEASIBLE: Final = 0.5
"""Share of dev clips without a path from which on the set-up is at fault."""

# overfitting

OVERFIT: Final = 3.0
"""Dev over training loss from which on, with many errors, a run has learnt its training corpus by heart."""

FAR_APART: Final = 10.0
"""The same where it need not be known what the network has learnt."""

RISES: Final = (1.1, 1.5)
"""Multiple of its lowest value to which dev loss has risen, and overfit ratio that it takes as well."""

SINCE_LOWEST: Final = 3
"""Epochs since the lowest dev loss after which a rise is one."""

# learning rates of Adam; all that is asked of them is asked of a run that is stuck

LOW_RATE: Final = 3e-4
"""Below this a stuck run is told to raise it: AN4 and the digits leave the plateau at 1e-3."""

SUSPECT_RATE: Final = 2e-3
"""Above this a stuck run is told to lower it. Before a run there is no such evidence, and ``ctckit audit`` warns
from 5e-3 on: runs at 2e-3 to 5e-3 that are not stuck need no advice."""

# a part of the model

VANISHING: Final = 1e-4
"""A part counts as not learning below this share of the whole model's gradient per weight norm. In healthy runs
(digits and AN4, both recipes, every epoch) the weakest part had about a hundredth of it or more; Adam makes up for
the scale of a gradient, but what is 10^4 times weaker than the rest is mostly rounding in float32."""

START: Final = -1.0
"""A bias of the blank at or below this (nats) was put there: layers are initialised far nearer to 0."""

GONE: Final = 0.75
"""Share of a start bias that must have drifted back for it to have gone."""
