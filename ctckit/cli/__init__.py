"""The command line. Each group of verbs is a file of its own, imported when one of its verbs is called."""

from __future__ import annotations

import importlib
from typing import Any

import click

from ctckit.cli.examples import examples
from ctckit.errors import CtckitError

VERBS = {
    "train": ("ctckit.cli.train:train", "Train a recogniser."),
    "evaluate": ("ctckit.cli.evaluate:evaluate", "Score a trained model on a corpus."),
    "score": ("ctckit.cli.score:score", "Score a file of hypotheses against a file of transcripts."),
    "decode": ("ctckit.cli.evaluate:decode", "Decode a corpus to JSON lines with token times and scores."),
    "align": ("ctckit.cli.align:align", "Place the transcripts of a corpus in time."),
    "audit": ("ctckit.cli.audit:audit", "Check corpora and model before the first step."),
    "diagnose": ("ctckit.cli.diagnose:diagnose", "Say what state a run is in, why, and what to try."),
    "sweep": ("ctckit.cli.sweep:sweep", "Tune a decode-time blank shift on a dev corpus."),
    "calibrate": ("ctckit.cli.calibrate:calibrate", "Measure on a dev corpus what confidences are worth."),
    "lm": ("ctckit.cli.lm:lm", "Estimate and score language models, which guide a beam search."),
    "compare": ("ctckit.cli.compare:compare", "Say whether one run is better than another, and how sure that is."),
    "ablate": ("ctckit.cli.ablate:ablate", "Train variants with the same seeds and data, and compare them."),
    "export": ("ctckit.cli.export:export", "Write a trained model as ONNX or safetensors, compared on real clips."),
    "card": ("ctckit.cli.card:card", "Write a model card from a run's history."),
    "report": ("ctckit.cli.report:report", "Write the report of a run as one HTML file."),
    "show": ("ctckit.cli.show:show", "Draw what a trained model emits for single clips, the worst first."),
    "data": ("ctckit.cli.data:data", "Import, inspect, split, simulate corpora."),
    "plugins": ("ctckit.cli.plugins:plugins", "List plugins, show what they offer, write and check your own."),
    "info": ("ctckit.cli.info:info", "Show versions and which kernels run, and why."),
}
"""Where each verb lives, and its line of help, which must not cost an import."""


class _Failure(click.ClickException):
    """A user's error as click reports it: one line, no traceback, its own exit code."""

    def __init__(self, error: CtckitError) -> None:
        super().__init__("\n  ".join([str(error), *getattr(error, "__notes__", ())]))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it from the instance


class _LazyGroup(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        from ctckit.plugin_host import installed_verbs

        return [*VERBS, *dict.fromkeys(verb.name for verb in installed_verbs() if verb.name not in VERBS)]

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            from ctckit.plugin_host import load_verb

            foreign: click.Command | None = load_verb(name)
            return foreign
        module, _, attribute = VERBS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])
        from ctckit.plugin_host import installed_verbs

        # from metadata alone: what a verb does is known to its own --help
        foreign = [(verb.name, f"{verb.distribution} {verb.version}") for verb in installed_verbs()]
        if foreign:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(
                    [(name, f"{by} (hidden by ctckit's own)" if name in VERBS else by) for name, by in foreign]
                )

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except CtckitError as error:
            raise _Failure(error) from error


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "ctckit train                                    the embedded corpus, to see it work",
        "ctckit data inspect train.h5 --dev dev.h5       what is in a corpus",
        "ctckit train --data train.h5 --dev dev.h5       your own",
        "ctckit evaluate runs/NAME --data test.h5        word errors with their kinds",
    ),
)
@click.version_option(package_name="ctckit")
def main() -> None:
    """Train CTC sequence recognisers that do not collapse into blanks."""
