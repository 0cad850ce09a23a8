"""``ctckit audit``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctckit.cli.diagnose import EXIT_CODES
from ctckit.cli.examples import examples, exit_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from rich.console import Console

    from ctckit.config import Config
    from ctckit.data import Corpus
    from ctckit.errors import DataError
    from ctckit.registry import Registry
    from ctckit.types import Finding

_FILE = click.Path(path_type=Path)


@click.command(
    epilog=examples(
        "ctckit audit train.h5 --dev dev.h5 --test test.h5",
        "ctckit audit train.h5 --set model.subsampling=4 --json",
        "ctckit audit train.h5 --dev dev.h5 --probe --probe-seconds 60",
    )
    + exit_codes("0   clean", "10  warnings", "11  errors")
)
@click.argument("data", type=_FILE)
@click.option("--dev", type=_FILE, help="Corpus on which epochs are to be compared.")
@click.option("--test", type=_FILE, help="Corpus to be scored at the end.")
@click.option("--plugin", "plugins", multiple=True, metavar="NAME|FILE.py", help="Plugin to load; may be repeated.")
@click.option("--recipe", metavar="NAME", help="Recipe, where the plugins bring more than one.")
@click.option("--config", "config_path", type=_FILE, metavar="RUN.toml", help="Settings in TOML.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting; may be repeated.")
@click.option("--clips", type=click.IntRange(min=1), help="Read the features of so many clips of each corpus only.")
@click.option("--probe", is_flag=True, help="Also train briefly, to see whether training can work at all.")
@click.option(
    "--probe-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="What the probes may take in all.",
)
@click.option("--device", default="auto", show_default=True, help="Of the probes: auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; measured before the probes by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def audit(
    context: click.Context,
    data: Path,
    dev: Path | None,
    test: Path | None,
    plugins: tuple[str, ...],
    recipe: str | None,
    config_path: Path | None,
    assignments: tuple[str, ...],
    clips: int | None,
    probe: bool,
    probe_seconds: float,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Check DATA, and the model and schedule that are to be trained on it, before the first step.

    Clips without a CTC path by the model's own length map, T/U against the blank share of one-frame spikes,
    the unigram plateau and the loss at the start; vocabularies that differ, rare labels, padding and blanks in
    transcripts; NaN, constant, integer, unscaled and saturated features; padding stored as frames; clips that occur
    twice, within a corpus or across; ids, sentences and speakers that corpora share; what the files hold besides; a
    model that breaks its contract; the loss that it starts with; learning rates out of range. Options
    are those of `ctckit train`.

    With --probe the model of the run to come is trained briefly, from fresh copies: at a learning rate that grows,
    to compare the range in which it learns with the planned rate; on one batch, which it must learn by heart and
    then miss when its input is shuffled; and on a few clips, to see on others whether transcripts belong to their
    features or might as well be permuted.
    """
    from rich.console import Console

    from ctckit.cli.train import choose_recipe, load_with_recipe, settings_layers
    from ctckit.config import resolve
    from ctckit.devices import choose_device
    from ctckit.types import gravest

    console = Console(stderr=True, soft_wrap=True)
    registry, _ = load_with_recipe(plugins, console)
    layers = settings_layers(data, dev, test, config_path, assignments, None)
    config = resolve(choose_recipe(registry, recipe), layers)
    paths = {"train": config.data.train, "dev": config.data.dev, "test": config.data.test}
    probing = Probing(probe_seconds, choose_device(device), threads) if probe else None
    findings = run_audit(
        config, registry, {name: path for name, path in paths.items() if path is not None}, clips, console, probing
    )
    worst = gravest(finding.severity for finding in findings)
    verdict = {"info": "clean", "warning": "warnings", "error": "errors"}[worst]
    if as_json:
        listed = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"data": str(data), "verdict": verdict, "findings": listed}, indent=2))
    else:
        click.echo("\n".join([*_lines(findings), f"{data}: {verdict}"]))
    context.exit(EXIT_CODES[worst])


@dataclass(frozen=True, slots=True)
class Probing:
    """How to probe: seconds in all, where, and with how many threads (measured if None)."""

    seconds: float
    device: torch.device
    threads: int | None


def run_audit(
    config: Config,
    registry: Registry,
    paths: dict[str, Path],
    clips: int | None,
    console: Console,
    probing: Probing | None,
) -> tuple[Finding, ...]:
    """Audit corpora; one that cannot be opened is a finding, and so are clips that cannot be used.

    Raises:
        ConfigError: a component's name or parameter is wrong; said before a corpus is opened.
        DataError: a file is missing.
    """
    from rich.progress import Progress as Bar

    from ctckit.audit.bench import probe
    from ctckit.audit.checks import by_gravity, full_audit, readable_audit
    from ctckit.audit.subject import audit_subject
    from ctckit.components import build_components
    from ctckit.data import open_corpus
    from ctckit.errors import DataError
    from ctckit.types import Finding

    components = build_components(config, registry)
    corpora: dict[str, Corpus] = {}
    refused: list[Finding] = []

    def refuse(name: str, error: DataError) -> None:
        advice = "correct the corpus and audit it again"
        message = str(error) if str(paths[name]) in str(error) else f"{paths[name]}: {error}"
        source = "docs/founding-document.md C5"
        refused.append(Finding("corpus_refused", "error", message, {"corpus": name}, advice, source))

    with ExitStack() as stack:
        for name, path in paths.items():
            without: list[DataError] = []
            try:
                corpora[name] = open_corpus(
                    path,
                    unit=config.data.unit,
                    features_key=config.data.features_key,
                    transcript_key=config.data.transcript_key,
                    refused=without,
                )
                stack.callback(corpora[name].close)
            except DataError as error:
                if not path.is_file():
                    raise
                if not without:
                    refuse(name, error)
            if without:
                refused.append(_refused_clips(name, path, without, len(corpora.get(name, ()))))
        subject = None
        if "train" in corpora:
            try:
                subject = audit_subject(config, registry, components, corpora)
            except DataError as error:
                refuse("train", error)
        bar = stack.enter_context(Bar(console=console, transient=True))
        task = bar.add_task("reading features", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if subject is None:
            return (*refused, *readable_audit(corpora, clips=clips, progress=show))
        found = full_audit(subject, clips=clips, progress=show)
        if probing is not None:

            def begin(name: str) -> None:
                bar.update(task, description=f"probing: {name}", completed=0, total=None)

            probed = probe(
                config,
                registry,
                subject,
                probing.device,
                threads=probing.threads,
                seconds=probing.seconds,
                progress=begin,
            )
            found = by_gravity((*found, *probed))
    return (*refused, *found)


def _refused_clips(name: str, path: Path, errors: Sequence[DataError], left: int) -> Finding:
    from ctckit.audit.refusals import by_kind
    from ctckit.types import Finding

    return Finding(
        "clips_refused",
        "error",
        f"{path}: {len(errors)} of {len(errors) + left} clips cannot be trained on, what follows leaves them out: "
        f"{'; '.join(by_kind(errors))}",
        {"corpus": name, "clips": len(errors)},
        "mend these clips or take them out of the file; training refuses it as it is",
        "docs/founding-document.md C5",
    )


def _lines(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"{finding.severity:<8}{finding.message}  [{finding.rule}]")
        if finding.advice:
            lines.append(f"{'':8}{finding.advice}")
    return lines
