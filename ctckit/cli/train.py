"""``ctckit train``."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples
from ctckit.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from rich.console import Console

    from ctckit.assemble import Assembled
    from ctckit.cli.display import ConsoleDisplay
    from ctckit.config import Config
    from ctckit.engine.loop import Ending
    from ctckit.engine.run import Run
    from ctckit.plugin_host import PluginSource
    from ctckit.recipe import Recipe
    from ctckit.registry import Registry
    from ctckit.types import Finding


@click.command(
    epilog=examples(
        "ctckit train --plugin hierarchical_fixed --data train.h5 --dev dev.h5 --set model.subsampling=4",
        "ctckit train --plugin ./experiment.py --set phases.*.penalty=cosine",
        "ctckit train --plugin hierarchical_adaptive --print-config > run.toml",
        "ctckit train --resume runs/hierarchical_fixed-1",
    )
)
@click.option("--plugin", "plugins", multiple=True, metavar="NAME|FILE.py", help="Plugin to load; may be repeated.")
@click.option("--recipe", metavar="NAME", help="Recipe, where the plugins bring more than one.")
@click.option("--data", type=click.Path(path_type=Path), help="Training corpus (HDF5).")
@click.option("--dev", type=click.Path(path_type=Path), help="Corpus on which epochs are compared.")
@click.option("--test", type=click.Path(path_type=Path), help="Corpus that the best epoch is scored on at the end.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="RUN.toml",
    help="Settings in TOML; - is standard input.",
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting; may be repeated.")
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Begin with the weights of a run, a checkpoint or a safetensors export; rows of shared labels are kept.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; runs/RECIPE-N by default.")
@click.option("--seed", type=int, help="Same as --set seed=N.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; measured at the start by default.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Stop in time, ready to resume.")
@click.option(
    "--max-updates", type=click.IntRange(min=1), help="Stop after the epoch in which so many steps are taken."
)
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with an interrupted run.")
@click.option("--dry-run", is_flag=True, help="Take three steps, report time and memory, write nothing.")
@click.option("--print-config", is_flag=True, help="Print all settings as TOML, as --config takes them, and end.")
@click.option("-v", "--verbose", is_flag=True, help="Show notes, sample predictions and timings of threads too.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def train(
    plugins: tuple[str, ...],
    recipe: str | None,
    data: Path | None,
    dev: Path | None,
    test: Path | None,
    config_path: Path | None,
    assignments: tuple[str, ...],
    init_from: Path | None,
    out: Path | None,
    seed: int | None,
    device: str,
    threads: int | None,
    max_minutes: float | None,
    max_updates: int | None,
    resume: Path | None,
    dry_run: bool,
    print_config: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Train a recogniser.

    Without data it trains on the embedded corpus of handwritten digits, at a size that suits it. Every key of
    a recipe can be set; `phases.*` stands for every phase. A run that goes well prints its epochs: a star marks the
    best so far, and what else there is to say of an epoch stands behind it. Warnings are shown when they begin to
    hold; notes are in the history, in the report, and here with --verbose.
    """
    from rich.console import Console

    from ctckit.assemble import assemble, provenance
    from ctckit.cli.display import ConsoleDisplay
    from ctckit.cli.offers import unused
    from ctckit.components import build_components
    from ctckit.devices import choose_device
    from ctckit.engine.loop import fit
    from ctckit.plugin_host import keep_files, unkept_imports
    from ctckit.record.history import HISTORY, finite
    from ctckit.toml import as_toml

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    chosen = choose_device(device)
    if max_minutes is not None and math.isnan(max_minutes):  # click lets it pass: it is outside of no range
        raise ConfigError("--max-minutes nan: give a number of minutes")
    if resume is not None:
        fresh = (recipe, data, dev, test, config_path, assignments, init_from, out, seed, dry_run, print_config)
        job = resumed(
            resume, plugins, any(value is not None and value != () and value is not False for value in fresh)
        )
    else:
        registry, sources = load_with_recipe(plugins, console)
        layers = settings_layers(data, dev, test, config_path, assignments, seed)
        if init_from is not None:
            layers.append(("--init-from", {"init_from": init_from}))
        config = configure(choose_recipe(registry, recipe), layers)
        build_components(config, registry)  # what is wrong with these is said before any corpus is made or opened
        if print_config:
            click.echo(f"# ctckit train {options_of(config, sources)}\n{as_toml(config)}", nl=False)
            return
        job = Job(registry, sources, config, out or next_folder(config.recipe))
        if (job.folder / HISTORY).exists() and not dry_run:
            raise ConfigError(
                f"{job.folder}: holds a run already; go on with --resume {shlex.quote(str(job.folder))}, or give "
                "another --out"
            )
        build_embedded(config)
    for hint in unused(job.registry, job.sources, job.config):
        console.print(hint)
    assembled = assemble(job.config, job.registry, job.sources, job.folder, chosen, resume=job.state)
    run = assembled.run
    if assembled.unseen and job.state is None:
        shown = ", ".join(list(assembled.unseen)[:8]) + (" ..." if len(assembled.unseen) > 8 else "")
        times = sum(assembled.unseen.values())
        console.print(
            f"{len(assembled.unseen)} labels of dev never occur in training, {times} errors from the start: {shown}"
        )
    for line in () if assembled.transfer is None else assembled.transfer.lines():
        console.print(line)
    for note in assembled.notes if job.state is None and verbose else ():
        console.print(note)
    if assembled.dropped:
        console.print(f"left out {len(assembled.dropped)} clips without a CTC path:")
        for clip in assembled.dropped:
            console.print(f"  {clip}")
    display = ConsoleDisplay(console, run.figures, verbose=verbose)
    findings = early_findings(assembled, display) if job.state is None else ()
    set_threads(run, threads or (job.state["threads"] if job.state else None), console if verbose else None)
    if dry_run:
        report_dry_run(assembled, console, as_json)
        return
    open_folder(job.folder)
    keep_files(job.sources, job.folder)
    for line in unkept_imports(job.sources):
        console.print(line)
    if job.state is None:
        run.history.append("run", **provenance(assembled, job.sources))
        for finding in findings:
            run.note("audit", finding)
    else:
        run.history.append("resume", epoch=run.clock.now.epoch, update=run.clock.now.update)
    console.print(f"{job.folder}: {describe(run)}")
    with display:
        seconds = math.inf if max_minutes is None else max_minutes * 60.0
        ending = fit(run, display, max_seconds=seconds, max_updates=max_updates)
    summary = close(run, ending, job, chosen, console)
    if as_json:
        click.echo(json.dumps(finite(summary)))


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be trained, with what, where to; with the state of a checkpoint to go on from, if there is one."""

    registry: Registry
    sources: tuple[PluginSource, ...]
    config: Config
    folder: Path
    state: Mapping[str, Any] | None = None


def resumed(run: Path, plugins: Sequence[str], with_settings: bool) -> Job:
    """Take up a run at its last checkpoint.

    Args:
        run: its folder, or a checkpoint in it.
        plugins: files of the run's that may be run.
        with_settings: whether settings were given as well, which a run has itself.
    """
    from ctckit.config import from_json
    from ctckit.engine.checkpoint import load_checkpoint
    from ctckit.engine.folder import run_of
    from ctckit.plugin_host import load_plugins, plugins_of_run
    from ctckit.stored import checkpoint_path, plugins_recorded

    if with_settings:
        raise ConfigError(
            "--resume goes on with the run's own settings; give only --plugin FILE.py, --device, --threads, "
            "--max-minutes, --max-updates, --verbose, --json"
        )
    state = load_checkpoint(checkpoint_path(run, "last"))
    folder = run if run.is_dir() else run_of(run)
    registry, sources = load_plugins(plugins_of_run(plugins_recorded(state["identity"]), plugins, folder))
    return Job(registry, sources, from_json(state["config"]), folder, state)


def describe(run: Run) -> str:
    """Say in one line what is trained, on what, where."""
    import torch

    threads = torch.get_num_threads()
    on = "the embedded digits (no data given)" if is_embedded(run.config) else str(run.config.data.train)
    where = f"{run.device}, {threads} thread{'s' * (threads > 1)}" if run.device.type == "cpu" else str(run.device)
    return f"{run.config.recipe} on {on}, {len(run.tokens)} classes, {where}"


def early_findings(assembled: Assembled, display: ConsoleDisplay) -> tuple[Finding, ...]:
    """Run the part of the audit that reads no features, and show what it found."""
    from ctckit.audit.checks import cheap_audit
    from ctckit.audit.subject import assembled_subject

    findings = cheap_audit(assembled_subject(assembled))
    for finding in findings:
        display.finding(finding, None)
    return findings


def load_with_recipe(plugins: Sequence[str], console: Console) -> tuple[Registry, tuple[PluginSource, ...]]:
    """Load the named plugins, and the installation's default one if none of them brings a recipe."""
    from ctckit.plugin_host import load_plugins

    registry, sources = load_plugins(plugins, with_recipe=True)
    bringing = {entry.plugin for entry in registry.recipes.values()}
    if plugins and not bringing & {str(source) for source in sources if source.name in plugins}:
        for source in sources:
            if str(source) in bringing:
                console.print(f"no recipe in {', '.join(plugins)}: using that of {source.name}")
    return registry, sources


def options_of(config: Config, sources: Sequence[PluginSource]) -> str:
    """Return the options under which a written configuration is taken back."""
    options = [*(f"--plugin={source.reference}" for source in sources), f"--recipe={config.recipe}"]
    return shlex.join([*options, "--config=THIS_FILE"])


def choose_recipe(registry: Registry, name: str | None) -> Recipe:
    """Return the recipe asked for, or the only one.

    Raises:
        ConfigError: unknown, or several to choose from.
    """
    if name is not None:
        return registry.recipes.find(name).value
    if len(registry.recipes) > 1:
        raise ConfigError(f"the plugins bring several recipes: choose --recipe {', '.join(registry.recipes)}")
    if not registry.recipes:
        raise ConfigError("no plugin brings a recipe; name one that does with --plugin (see ctckit plugins list)")
    return next(iter(registry.recipes.values())).value


def settings_layers(
    data: Path | None,
    dev: Path | None,
    test: Path | None,
    config_path: Path | None,
    assignments: Sequence[str],
    seed: int | None,
) -> list[tuple[str, dict[str, Any]]]:
    """Order what the user has set: the file, then ``--set``, then the options that have names of their own."""
    from ctckit.config import parse_assignment, read_toml

    layers: list[tuple[str, dict[str, Any]]] = []
    if config_path is not None:
        layers.append((str(config_path), read_toml(config_path)))
    layers += [(f"--set {assignment}", parse_assignment(assignment)) for assignment in assignments]
    named = {"--data": ("train", data), "--dev": ("dev", dev), "--test": ("test", test)}
    layers += [(option, {"data": {key: path}}) for option, (key, path) in named.items() if path is not None]
    if seed is not None:
        layers.append(("--seed", {"seed": seed}))
    return layers


def configure(recipe: Recipe, layers: list[tuple[str, dict[str, Any]]]) -> Config:
    """Lay the user's settings over the recipe; without data, put the embedded corpus and its settings between."""
    from ctckit.config import nest, resolve

    config = resolve(recipe, layers)
    corpora = (config.data.train, config.data.dev, config.data.test)
    if any(path is not None for path in corpora):
        return config
    embedded = {"data": embedded_corpora()}
    demo = [(f"recipe '{recipe.name}', demo", nest(recipe.demo)), ("embedded corpus", embedded)]
    return resolve(recipe, [*demo, *layers])


def embedded_corpora() -> dict[str, Path]:
    """Return where the embedded corpus is, or will be, by part; what makes it decides the folder."""
    import hashlib
    import importlib.util

    spec = importlib.util.find_spec("ctckit.data.demo")
    assert spec is not None
    assert spec.origin is not None
    folder = cache_folder() / f"digits-{hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:12]}"
    return {part: folder / f"{part}.h5" for part in ("train", "dev", "test")}


def is_embedded(config: Config) -> bool:
    """Whether a configuration trains on the embedded corpus."""
    return config.data.train == embedded_corpora()["train"]


def build_embedded(config: Config) -> None:
    """Make the embedded corpus where a configuration trains on it and it is not there.

    Raises:
        DataError: scikit-learn is missing, or the folder cannot be written.
    """
    from ctckit.data import build_demo

    embedded = embedded_corpora()
    if is_embedded(config) and not all(path.is_file() for path in embedded.values()):
        build_demo(embedded["train"].parent)


def cache_folder() -> Path:
    """Return where the embedded corpus is kept between runs."""
    import os

    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ctckit"


def next_folder(recipe: str) -> Path:
    """Return the first free ``runs/RECIPE-N``."""
    number = 1
    while (folder := Path("runs") / f"{recipe}-{number}").exists():
        number += 1
    return folder


def open_folder(folder: Path) -> None:
    """Create the folder of the run.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written: {error.strerror}; give another --out") from error


def set_threads(run: Run, threads: int | None, console: Console | None) -> None:
    """Set the number of CPU threads: as asked for, or the faster of one and all, which a console is told."""
    import torch

    from ctckit.engine.threads import choose_threads

    if threads is not None:
        torch.set_num_threads(threads)
    elif run.device.type == "cpu" and torch.get_num_threads() > 1:
        choice = choose_threads(run)
        if console is not None:
            tried = ", ".join(
                f"{count}: {1e3 * seconds:.0f} ms" for count, seconds in sorted(choice.seconds.items())
            )
            console.print(f"threads: {choice.threads} (a batch takes with {tried})")


def close(run: Run, ending: Ending, job: Job, device: torch.device, console: Console) -> dict[str, Any]:
    """Say how it ended and how to go on, and score the test corpus unless it was interrupted."""
    from ctckit.engine.evaluate import evaluate
    from ctckit.plugin_host import kept_copy
    from ctckit.record.figures import score_row
    from ctckit.stored import checkpoint_path, read_stored
    from ctckit.trained import trained_with

    target, best = run.config.target_wer, ending.best
    judged_epochs = run.clock.now.epoch - run.clock.mid_epoch
    console.print(f"{ending.reason} after epoch {judged_epochs}")
    if best is None:
        nothing_emitted = (
            "no epoch left the unigram plateau and emitted labels" if judged_epochs else "no epoch was done"
        )
        console.print(f"{nothing_emitted}, so no best checkpoint was kept")
    else:
        verdict = "reached" if best.val_wer <= target else "missed"
        console.print(
            f"best epoch {best.epoch}: {best.val_wer:.2f} % word errors on dev, target {target:g} % {verdict}",
        )
    summary: dict[str, Any] = {
        "run": str(run.folder),
        "reason": ending.reason,
        "best": asdict(best) if best else None,
        "target_wer": target,
    }
    if ending.resumable:
        copies = [kept_copy(run.folder, source.version) for source in job.sources if not source.distribution]
        files = [option for copy in copies for option in ("--plugin", str(copy))]
        console.print(f"go on with: {shlex.join(['ctckit', 'train', '--resume', str(run.folder), *files])}")
    if best is not None and run.config.data.test is not None and ending.reason != "interrupted":
        stored = read_stored(checkpoint_path(run.folder, "best"))
        trained = trained_with(job.registry, stored, device)
        judged, unknown = trained.judged(run.config.data.test, device)
        scores = evaluate(trained.model, judged, trained.tokens, shift=trained.shift, device=device).scores
        row = {
            "corpus": str(run.config.data.test),
            "epoch": best.epoch,
            **score_row(scores),
            "unknown": list(unknown),
        }
        run.history.append("test", **row)
        console.print(
            f"test: {scores.wer:.2f} % word errors (S {scores.substitution_rate:.1f}, "
            f"D {scores.deletion_rate:.1f}, I {scores.insertion_rate:.1f}), "
            f"{scores.blank_ratio:.1f} % blank frames (1 - U/T is {scores.blank_reference:.1f} %)"
        )
        summary["test"] = row
    return summary


def report_dry_run(assembled: Assembled, console: Console, as_json: bool) -> None:
    """Take three steps and print what they cost."""
    from ctckit.engine.dry_run import dry_run

    outcome = dry_run(assembled.run, assembled.longest)
    if as_json:
        click.echo(json.dumps(asdict(outcome)))
        return
    console.print(outcome.describe())
