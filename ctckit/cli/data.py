"""``ctckit data``: import, inspect, split, embed and simulate corpora."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.examples import examples

if TYPE_CHECKING:
    from ctckit.data.dataset import Corpus
    from ctckit.data.statistics import CorpusStatistics, OutOfVocabulary
    from ctckit.data.synthetic import Progress

_FILE = click.Path(path_type=Path)
_SHOWN = 5


_unit = click.option(
    "--unit",
    type=click.Choice(["word", "character"]),
    help="What a token is. Default: what the file says, else words.",
)
_features_key = click.option(
    "--features-key", default="features", show_default=True, help="Dataset of the features in each group."
)
_transcript_key = click.option(
    "--transcript-key",
    default="transcript",
    show_default=True,
    help="Attribute or dataset of the transcript in each group.",
)
_force = click.option("--force", is_flag=True, help="Replace files that exist.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "ctckit data inspect train.h5 --dev dev.h5",
        "ctckit data split all.h5 --by speaker --count 8 --train-out train.h5 --dev-out dev.h5",
    ),
)
def data() -> None:
    """Import, inspect, split, embed and simulate corpora.

    A corpus is one HDF5 file: in ctckit's own format, or with one group a clip that holds a dataset
    `features` [T, F] and an attribute `transcript`. Both can be inspected and trained on as they are.
    """


@data.command(
    "import",
    epilog=examples(
        "ctckit data import features/ train.h5 --transcripts train.tsv",
        "ctckit data import old.h5 train.h5 --features-key fbank --transcript-key text",
    ),
)
@click.argument("source", type=_FILE)
@click.argument("output", type=_FILE)
@click.option(
    "--transcripts",
    type=_FILE,
    help="Table (.csv, .tsv, .jsonl) with columns id and transcript; others become attributes.",
)
@click.option("--id-column", default="id", show_default=True, help="Column of the clip's id.")
@click.option("--transcript-column", default="transcript", show_default=True, help="Column of the transcript.")
@_unit
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="How features are stored. Default: float16 where it loses nothing, else float32.",
)
@_features_key
@_transcript_key
@_force
@_json
def import_command(
    source: Path,
    output: Path,
    transcripts: Path | None,
    id_column: str,
    transcript_column: str,
    unit: Any,
    dtype: Any,
    features_key: str,
    transcript_key: str,
    force: bool,
    as_json: bool,
) -> None:
    """Bring SOURCE into ctckit's own format, as OUTPUT.

    SOURCE is a folder of ID.npy arrays [T, F], together with --transcripts, or an HDF5 file with one group a
    clip. Nothing is dropped: a file without a row, or a row without a file, is an error.
    """
    from ctckit.data import import_folder, import_hdf5
    from ctckit.errors import ConfigError

    if source.is_dir():
        if transcripts is None:
            raise ConfigError(f"{source} is a folder of features; name its table of transcripts with --transcripts")
        import_folder(
            source,
            transcripts,
            output,
            unit=unit or "word",
            dtype=dtype,
            id_column=id_column,
            transcript_column=transcript_column,
            overwrite=force,
        )
    else:
        if transcripts is not None:
            raise ConfigError(f"{source} is not a folder; --transcripts goes with a folder of .npy files")
        with _opened(source, unit, features_key, transcript_key) as corpus:
            import_hdf5(corpus, output, dtype=dtype, overwrite=force)
    with _opened(output) as corpus:
        _print_written([(output, corpus)], as_json)


@data.command(
    epilog=examples(
        "ctckit data inspect train.h5",
        "ctckit data inspect train.h5 --dev dev.h5 --test test.h5 --subsampling 4 --json",
    )
)
@click.argument("train", type=_FILE)
@click.option("--dev", type=_FILE, help="Corpus to compare with TRAIN.")
@click.option("--test", type=_FILE, help="Corpus to compare with TRAIN.")
@click.option(
    "--subsampling",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Factor by which the model shortens a clip, for T/U and for clips too short.",
)
@click.option("--check", is_flag=True, help="Read all features too, and stop at the first that is NaN or infinite.")
@_unit
@_features_key
@_transcript_key
@_json
def inspect(
    train: Path,
    dev: Path | None,
    test: Path | None,
    subsampling: int,
    check: bool,
    unit: Any,
    features_key: str,
    transcript_key: str,
    as_json: bool,
) -> None:
    """Show what is in a corpus, and whether CTC can learn from it.

    Counts, lengths, frames a token (T/U), the blank share of perfect one-frame spikes (1 - U/T), the vocabulary,
    clips without a CTC path (fewer output frames than tokens plus adjacent repeats), and the tokens of dev and
    test that train never shows.
    """
    from ctckit.data import describe
    from ctckit.data.statistics import out_of_vocabulary

    parts = {name: path for name, path in (("train", train), ("dev", dev), ("test", test)) if path is not None}
    statistics: dict[str, CorpusStatistics] = {}
    missing: dict[str, OutOfVocabulary] = {}
    with _opened(train, unit, features_key, transcript_key) as first:
        for name, path in parts.items():
            with _opened(path, unit, features_key, transcript_key) as corpus:
                if check:
                    for index in range(len(corpus)):
                        corpus.features(index)
                statistics[name] = describe(corpus, subsampling=subsampling)
                if name != "train":
                    missing[name] = out_of_vocabulary(first, corpus)
    if as_json:
        click.echo(
            json.dumps(
                {
                    **{name: one.to_dict() for name, one in statistics.items()},
                    "out_of_vocabulary": {name: one.to_dict() for name, one in missing.items()},
                },
                indent=2,
            )
        )
        return
    _print_statistics(statistics, missing)


@data.command(
    epilog=examples(
        "ctckit data split all.h5 --by speaker --count 8 --train-out train.h5 --dev-out dev.h5",
        "ctckit data split all.h5 --by signer --values Signer03,Signer05 --train-out train.h5 --dev-out dev.h5",
    )
)
@click.argument("source", type=_FILE)
@click.option("--by", required=True, help="Attribute whose values stay together, such as speaker or signer.")
@click.option("--count", type=click.IntRange(min=1), help="Take so many values for dev, drawn by --seed.")
@click.option("--values", help="Take exactly these values for dev, separated by commas.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw.")
@click.option("--train-out", type=_FILE, required=True, help="File for the clips that remain.")
@click.option("--dev-out", type=_FILE, required=True, help="File for the clips taken out.")
@_unit
@_features_key
@_transcript_key
@_force
@_json
def split(
    source: Path,
    by: str,
    count: int | None,
    values: str | None,
    seed: int,
    train_out: Path,
    dev_out: Path,
    unit: Any,
    features_key: str,
    transcript_key: str,
    force: bool,
    as_json: bool,
) -> None:
    """Carve a dev corpus out of SOURCE, with no speaker (or signer, ...) on both sides.

    Both files keep the alphabet of SOURCE, so that one model fits both.
    """
    from ctckit.data import split_corpus

    names = None if values is None else [value.strip() for value in values.split(",") if value.strip()]
    with _opened(source, unit, features_key, transcript_key) as corpus:
        result = split_corpus(corpus, by, train_out, dev_out, count=count, values=names, seed=seed, overwrite=force)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "train": {"path": str(train_out), "clips": result.train_clips, by: result.train_groups},
                    "dev": {"path": str(dev_out), "clips": result.dev_clips, by: result.dev_groups},
                },
                indent=2,
            )
        )
        return
    click.echo(f"{train_out}: {result.train_clips} clips, {len(result.train_groups)} values of {by}")
    click.echo(f"{dev_out}: {result.dev_clips} clips, {by}: {', '.join(result.dev_groups)}")


@data.command(
    epilog=examples(
        "ctckit data demo digits/",
        "ctckit train --data digits/train.h5 --dev digits/dev.h5 --test digits/test.h5",
    )
)
@click.argument("folder", type=_FILE)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw.")
@_force
@_json
def demo(folder: Path, seed: int, force: bool, as_json: bool) -> None:
    """Build the embedded corpus in FOLDER: lines of real handwritten digits.

    Makes train.h5, dev.h5 and test.h5 from scikit-learn's bundled images; no image is in two of them.
    """
    from ctckit.data import build_demo

    paths = build_demo(folder, seed=seed, overwrite=force)
    with _opened(paths.train) as train, _opened(paths.dev) as dev, _opened(paths.test) as test:
        _print_written([(paths.train, train), (paths.dev, dev), (paths.test, test)], as_json)


@data.command(
    epilog=examples(
        "ctckit data synth big.h5",
        "ctckit data synth dev.h5 --part dev --clips 200",
        "ctckit data synth train.h5 --labels-from labels/train.h5 --features 1024",
    )
)
@click.argument("output", type=_FILE)
@click.option("--clips", type=int, help="Number of clips. Default: 4384, or all with --labels-from.")
@click.option("--features", "feature_size", type=int, default=1024, show_default=True, help="Width F.")
@click.option("--classes", type=int, default=966, show_default=True, help="Classes C, blank included.")
@click.option(
    "--frames", type=int, nargs=2, default=(300, 400), show_default=True, help="Fewest and most frames of a clip."
)
@click.option(
    "--labels", type=int, nargs=2, default=(4, 12), show_default=True, help="Fewest and most labels of a clip."
)
@click.option("--signers", type=int, default=9, show_default=True, help="Number of signers.")
@click.option(
    "--labels-from",
    type=_FILE,
    help="Take label sequences and durations from this HDF5 file (ids, glosses, signers, offsets, gloss_state); "
    "--classes, --frames, --labels, --signers and --part do not apply.",
)
@click.option("--noise", type=float, default=1.0, show_default=True, help="Noise, as a multiple of the signal.")
@click.option("--part", type=click.Choice(["train", "dev", "test"]), default="train", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Equal seeds make parts that belong together.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16", show_default=True)
@_force
@_json
@click.pass_context
def synth(
    context: click.Context,
    output: Path,
    clips: int | None,
    feature_size: int,
    classes: int,
    frames: tuple[int, int],
    labels: tuple[int, int],
    signers: int,
    labels_from: Path | None,
    noise: float,
    part: Any,
    seed: int,
    dtype: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Simulate features of any size, to measure speed and memory at full scale.

    The file is marked as simulated. Scores on it say nothing about accuracy.
    """
    from ctckit.data import SyntheticSpec, simulate, simulate_from_labels
    from ctckit.errors import ConfigError

    if labels_from is None:
        spec = SyntheticSpec(
            clips=SyntheticSpec.clips if clips is None else clips,
            feature_size=feature_size,
            classes=classes,
            frames=frames,
            labels=labels,
            signers=signers,
            noise=noise,
            seed=seed,
            part=part,
            dtype=dtype,
        )
        with _progress("simulating") as progress:
            simulate(output, spec, overwrite=force, progress=progress)
    else:
        for name in ("classes", "frames", "labels", "signers", "part"):
            if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
                raise ConfigError(f"--{name} does not go with --labels-from, which decides it; leave it out")
        with _progress("simulating") as progress:
            simulate_from_labels(
                output,
                labels_from,
                feature_size=feature_size,
                noise=noise,
                seed=seed,
                max_clips=clips,
                dtype=dtype,
                overwrite=force,
                progress=progress,
            )
    with _opened(output) as corpus:
        _print_written([(output, corpus)], as_json)


@contextmanager
def _opened(
    path: Path, unit: Any = None, features_key: str = "features", transcript_key: str = "transcript"
) -> Iterator[Corpus]:
    from ctckit.data import open_corpus

    corpus = open_corpus(path, unit=unit, features_key=features_key, transcript_key=transcript_key)
    try:
        yield corpus
    finally:
        corpus.close()


@contextmanager
def _progress(text: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_written(written: list[tuple[Path, Corpus]], as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    for path, corpus in written:
        alphabet = corpus.alphabet()
        rows.append(
            {
                "path": str(path),
                "clips": len(corpus),
                "frames": int(corpus.frame_counts.sum()),
                "feature_size": corpus.feature_size,
                "stored_type": str(corpus.stored_type),
                "classes": None if alphabet is None else len(alphabet),
                "unit": corpus.unit,
                "simulated": corpus.simulated,
                "bytes": path.stat().st_size,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['path']}: {row['clips']} clips, {row['frames']} frames of {row['feature_size']} "
            f"{'SIMULATED ' if row['simulated'] else ''}features ({row['stored_type']}), {row['classes']} classes "
            f"with blank ({row['unit']}s), {row['bytes'] / 2**20:.1f} MiB"
        )


def _print_statistics(statistics: dict[str, CorpusStatistics], missing: dict[str, OutOfVocabulary]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in statistics:
        table.add_column(name, justify="right")
    for label, cell in _lines(missing):
        # Text, not markup: labels and ids may hold brackets.
        table.add_row(label, *(Text(cell(name, one)) for name, one in statistics.items()))
    console.print(table)
    for name, one in statistics.items():
        if one.simulated:
            console.print(
                Text(f"{name}: the features are SIMULATED; say so wherever you quote a figure"), soft_wrap=True
            )
        console.print(Text(f"{name}: {one.contents}"), soft_wrap=True)
        _print_infeasible(console, name, one)
    for name, gap in missing.items():
        if gap.tokens:
            shown = ", ".join(f"{label!r}" for label, _ in gap.labels[:_SHOWN])
            more = f" and {len(gap.labels) - _SHOWN} more" if len(gap.labels) > _SHOWN else ""
            console.print(
                Text(f"{name}: {shown}{more} never occur in train: {gap.share:.2f} % of tokens are errors")
            )


def _print_infeasible(console: Any, name: str, one: CorpusStatistics) -> None:
    from rich.text import Text

    for clip in one.infeasible[:_SHOWN]:
        console.print(
            Text(
                f"{name}: clip {clip.clip_id!r} has no CTC path: {clip.output_frames} output frames "
                f"(T {clip.frames}), needs {clip.labels + clip.repeats} (U {clip.labels} + {clip.repeats} repeats)"
            ),
            soft_wrap=True,
        )
    if len(one.infeasible) > _SHOWN:
        console.print(f"{name}: and {len(one.infeasible) - _SHOWN} more clips without a path (all with --json)")


def _lines(missing: dict[str, OutOfVocabulary]) -> list[tuple[str, Any]]:
    def quantiles(values: tuple[float, ...]) -> str:
        least, _, low, middle, high, _, most = values
        return f"{least:.0f} / {low:.0f} / {middle:.0f} / {high:.0f} / {most:.0f}"

    def gap(name: str) -> str:
        return f"{len(missing[name].labels)} ({missing[name].tokens} tokens)" if name in missing else "-"

    return [
        ("clips", lambda _, one: f"{one.clips}"),
        ("features", lambda _, one: f"{one.feature_size} x {one.stored_type}"),
        ("frames", lambda _, one: f"{one.frames}"),
        ("  T, min/25/50/75/max", lambda _, one: quantiles(one.frame_quantiles)),
        ("tokens", lambda _, one: f"{one.tokens} {one.unit}s"),
        ("  U, min/25/50/75/max", lambda _, one: quantiles(one.token_quantiles)),
        ("T/U", lambda _, one: f"{one.frames_per_token:.1f}"),
        ("output frames", lambda _, one: "T" if one.subsampling == 1 else f"T/{one.subsampling}"),
        ("  blank share of spikes", lambda _, one: f"{one.blank_reference:.1f} %"),
        ("  clips without a path", lambda _, one: f"{len(one.infeasible)}"),
        ("labels", lambda _, one: f"{one.labels}"),
        ("  seen once", lambda _, one: f"{one.labels_once}"),
        ("  missing from train", lambda name, _: gap(name)),
        ("classes in the file", lambda _, one: "-" if one.classes is None else f"{one.classes}"),
        ("  never seen", lambda _, one: "-" if one.classes is None else f"{one.labels_unused}"),
        ("commonest", lambda _, one: ", ".join(f"{label} {count}" for label, count in one.most_frequent[:3])),
        ("attributes", lambda _, one: ", ".join(f"{n} {kind}" for kind, n in one.attributes.items()) or "-"),
    ]
