"""``ctckit ablate``."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctckit.cli.examples import examples, exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from ctckit.ablation.job import Job
    from ctckit.ablation.plan import Layer, Plan
    from ctckit.ablation.table import Table
    from ctckit.config import Config
    from ctckit.plugin_host import PluginSource
    from ctckit.registry import Registry

INTERRUPTED = 130
"""What a shell makes of a program that Ctrl-C has ended."""

SYNTAX = """
PLAN.toml:
  seeds = [1, 2]                     # every variant is trained with each
  minutes = 6                        # of training for each run; or updates = 5000; or neither: all phases
  plugins = ["hierarchical_fixed"]   # as --plugin; there is also `recipe`, as --recipe
  set = ["model.hidden_size=128"]    # as --set
  [settings.data]                    # the same as tables, as in a RUN.toml
  deltas = 2
  [variants.none]                    # the first is what the others are compared with
  set = ["phases.*.penalty=none"]
  [variants.path]                    # plugins, recipe, set, settings of its own, over those of all
  description = "constant, in the path domain"
  set = ['phases.*.penalty={name="constant", value=-0.5, domain="path"}']
"""


@click.command(
    epilog=f"\b{SYNTAX}\n"
    + examples(
        "ctckit ablate plan.toml --out runs/ablation --jobs 2",
        "ctckit ablate plan.toml --out runs/ablation --only none --only path",
        "ctckit ablate plan.toml --out runs/ablation --table-only --json",
    )
    + exit_codes("6    a run has failed; the table says which", "130  interrupted; the same command goes on")
)
@click.argument("plan", type=click.Path(path_type=Path), metavar="PLAN.toml")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Holds all runs.")
@click.option("--data", type=click.Path(path_type=Path), help="Training corpus (HDF5), instead of the plan's.")
@click.option("--dev", type=click.Path(path_type=Path), help="Corpus on which epochs are compared.")
@click.option("--test", type=click.Path(path_type=Path), help="Corpus that each run's best epoch is scored on.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, for all variants.")
@click.option("--only", multiple=True, metavar="NAME", help="Train this variant only; may be repeated.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings side by side.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of each; cores / jobs by default.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--table-only", is_flag=True, help="Train nothing; make the table of what there is.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.pass_context
def ablate(
    context: click.Context,
    plan: Path,
    out: Path,
    data: Path | None,
    dev: Path | None,
    test: Path | None,
    assignments: tuple[str, ...],
    only: tuple[str, ...],
    jobs: int,
    threads: int | None,
    device: str,
    table_only: bool,
    as_json: bool,
) -> None:
    """Train variants with the same seeds, data and budget, and compare them in one table.

    Paths are relative to the folder that ctckit is called from; without data, it is the embedded corpus. All
    variants are checked before the first is trained. A run that has ended is kept, one that was interrupted is
    resumed, and one that was trained with other settings is refused. The table is printed, and written to
    FOLDER/ablation.md and FOLDER/ablation.json.
    """
    from rich.console import Console

    from ctckit.ablation.plan import read_plan
    from ctckit.ablation.runner import Machine, available_cores, run_all, sole_user
    from ctckit.ablation.table import as_json as to_json
    from ctckit.ablation.table import write_table
    from ctckit.devices import choose_device
    from ctckit.errors import ConfigError, TrainingError, suggest
    from ctckit.record.history import finite

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    wanted = read_plan(plan)
    for name in only:
        if name not in wanted.variants:
            raise ConfigError(f"--only {name}: {plan} has no such variant{suggest(name, wanted.variants)}")
    chosen = str(choose_device(device))
    done = True
    if not table_only:
        from ctckit.cli.train import settings_layers

        names = [name for name in wanted.variants if not only or name in only]
        last = settings_layers(data, dev, test, None, assignments, None)
        work = resolve_jobs(wanted, plan, names, last, out, console)
        machine = Machine(jobs, threads or max(available_cores() // jobs, 1), chosen)
        with sole_user(out) as lock:
            done = run_all(work, machine, lock, console.print)
    elif not out.is_dir():
        raise ConfigError(f"{out}: no such folder, so there is nothing to make a table of")
    table = table_of(wanted, out, chosen)
    write_table(table, out)
    if as_json:
        click.echo(json.dumps(finite(to_json(table)), indent=2))
    else:
        show(table)
    if not done:
        context.exit(INTERRUPTED)
    failed = [run for row in table.rows for run in row.runs if run.status == "failed"]
    if failed:
        total = len(wanted.variants) * len(wanted.seeds)
        raise TrainingError(
            f"{len(failed)} of {total} runs failed, the first is {failed[0].variant} with seed {failed[0].seed}: "
            f"{failed[0].reason}; the same command tries again"
        )


def resolve_jobs(
    plan: Plan, path: Path, names: Sequence[str], last: Sequence[Layer], out: Path, console: Console
) -> list[Job]:
    """Resolve and check every variant before anything is trained: all components, then models and corpora.

    No feature is read.

    Returns:
        The runs: all variants with the first seed, then all with the next.

    Raises:
        CtckitError: names the variant; what cannot be trained, or a stored run that was trained otherwise.
    """
    from rich.console import Console

    from ctckit.ablation.plan import refuse_seed
    from ctckit.assemble import check
    from ctckit.cli.train import build_embedded
    from ctckit.errors import DataError

    refuse_seed(last)
    resolved: list[Resolved] = []
    for name in names:
        # what is said of the first, such as that there is no data, is true of all
        told = Console(quiet=True) if resolved else console
        with naming(name):
            resolved.append(resolve_variant(plan, path, name, last, told))
    variants: list[list[Job]] = []
    for one in resolved:
        build_embedded(one.config)
        with naming(one.name):
            fingerprints = check(one.config, one.registry).corpora.fingerprints()
        variants.append(jobs_of(one, plan, out, fingerprints))
        if fingerprints != variants[0][0].fingerprints:
            raise DataError(
                f"variants '{resolved[0].name}' and '{one.name}' train on different corpora; they do not compare"
            )
    return [job for of_seed in zip(*variants, strict=True) for job in of_seed]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A variant with its plugins loaded and its components checked."""

    name: str
    config: Config
    registry: Registry
    sources: Sequence[PluginSource]


def resolve_variant(plan: Plan, path: Path, name: str, last: Sequence[Layer], console: Console) -> Resolved:
    """Load the plugins of a variant, lay its settings over its recipe, and check its components; opens no corpus.

    Raises:
        ConfigError, PluginError: something is wrong with them.
    """
    from ctckit.cli.train import choose_recipe, configure, load_with_recipe
    from ctckit.components import build_components
    from ctckit.toml import as_toml

    variant = plan.variants[name]
    registry, sources = load_with_recipe(plan.plugins_of(name), console)
    recipe = choose_recipe(registry, variant.recipe or plan.recipe)
    config = configure(recipe, [*plan.layers_of(name, path), *last])
    build_components(config, registry)
    as_toml(config)  # refuses what a RUN.toml cannot say
    return Resolved(name, config, registry, sources)


def jobs_of(variant: Resolved, plan: Plan, out: Path, fingerprints: Mapping[str, str]) -> list[Job]:
    """Return the runs of a variant, one a seed.

    Raises:
        ConfigError: a stored one was trained otherwise.
    """
    from ctckit.ablation.job import Job

    jobs = [
        Job(
            variant=variant.name,
            folder=out / f"{variant.name}-seed{seed}",
            plugins={source.reference: source.version for source in variant.sources},
            config=variant.config.model_copy(update={"seed": seed}),
            fingerprints=fingerprints,
            minutes=plan.minutes,
            updates=plan.updates,
        )
        for seed in plan.seeds
    ]
    for job in jobs:
        job.refuse_other()
    return jobs


@contextmanager
def naming(variant: str) -> Iterator[None]:
    """Say of any error which variant it comes from."""
    from ctckit.errors import CtckitError

    try:
        yield
    except CtckitError as error:
        raise type(error)(f"variant '{variant}': {error}") from error


def table_of(plan: Plan, folder: Path, device: str) -> Table:
    """Read the runs of a plan, score those that have not been, and compare them."""
    from ctckit.ablation.outcome import read_outcome
    from ctckit.ablation.table import build_table

    return build_table(
        plan,
        [
            read_outcome(folder / f"{name}-seed{seed}", plan, name, seed, device)
            for name in plan.variants
            for seed in plan.seeds
        ],
    )


def show(table: Table) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table as Grid

    from ctckit.ablation.table import COLUMNS, caption, cells

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 240  # nobody folds what goes to a file
    grid = Grid(*COLUMNS, title=caption(table), title_justify="left")
    for row in table.begun:
        grid.add_row(*cells(row))
    console.print(grid)
    for note in table.notes:
        console.print(f"note: {note}", soft_wrap=True)
