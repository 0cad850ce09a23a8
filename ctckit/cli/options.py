"""Options that several verbs have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ctckit.guidance import Guided, Wanted
    from ctckit.search import Search
    from ctckit.trained import Trained

plugin_files = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    help="Plugin file that the run was trained with; its code runs only if it is named and unchanged.",
)

HOTWORD_BOOST = 2.0
"""Of each token of a hotword for which no other is given, nats."""

_SEARCH = (
    click.option("--beam", type=click.IntRange(min=1), help="Width of a beam search.  [greedy, or 16 with --lm]"),
    click.option("--best", type=click.IntRange(min=1), help="Hypotheses of each clip, N-best.  [1]"),
    click.option("--classes", type=click.IntRange(min=1), help="Labels that may extend a prefix in a frame.  [40]"),
    click.option(
        "--lm",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Language model, ARPA (.arpa, .arpa.gz), as `ctckit lm train` writes it.",
    ),
    click.option("--lm-weight", type=float, help="Of its log-probabilities.  [as tuned by `sweep --beam`, or 0.5]"),
    click.option("--insertion-bonus", type=float, help="Nats for each token or word.  [as tuned, or 0]"),
    click.option("--beam-shift", type=float, help="Further shift of the blank, nats.  [as tuned, or 0]"),
    click.option(
        "--lexicon",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Words that a run over characters may write, one a line.  [those of --lm]",
    ),
    click.option(
        "--hotword",
        "hotwords",
        multiple=True,
        metavar="PHRASE[=NATS]",
        help=f"Phrase to favour, with the boost of each of its tokens.  [{HOTWORD_BOOST:g}]",
    ),
)


def search_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options of a beam search, and one argument ``wanted`` for all of them."""

    @functools.wraps(verb)
    def with_wanted(*arguments: Any, **given: Any) -> Any:
        from ctckit.guidance import Wanted

        wanted = Wanted(
            beam=given.pop("beam"),
            classes=given.pop("classes"),
            best=given.pop("best"),
            lm=given.pop("lm"),
            weight=given.pop("lm_weight"),
            bonus=given.pop("insertion_bonus"),
            shift=given.pop("beam_shift"),
            lexicon=given.pop("lexicon"),
            hotwords=dict(map(_hotword, given.pop("hotwords"))),
        )
        return verb(*arguments, wanted=wanted, **given)

    for option in reversed(_SEARCH):
        with_wanted = option(with_wanted)
    return with_wanted


def _hotword(text: str) -> tuple[str, float]:
    phrase, _, boost = text.rpartition("=")
    try:
        return (phrase, float(boost)) if phrase else (text, HOTWORD_BOOST)
    except ValueError:  # the phrase itself holds the sign
        return text, HOTWORD_BOOST


def search_of(trained: Trained, wanted: Wanted) -> Search | None:
    """Return the search that is asked for, and print what is assumed; None where none is."""
    if not wanted.anything:
        return None
    from ctckit.guidance import guide

    return said(guide(wanted, trained.tokens, trained.config.data.unit, trained.tuned)).search


def said(guided: Guided) -> Guided:
    """Print what a search assumes."""
    for note in guided.notes:
        click.echo(note, err=True)
    return guided
