"""``ctckit data``: import, inspect, split, embed and simulate corpora."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ctckit.cli.examples import examples
from ctckit.data.kinds import MANIFESTS, Kind

if TYPE_CHECKING:
    from ctckit.data.dataset import Corpus
    from ctckit.data.importers import Imported
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


_KEYED = frozenset({"table", "jsonl", "phoenix", "nemo"}), "a table or JSON lines"
_ARRAYS = frozenset({"padded", "groups"}), "HDF5 and .npz"
_LABELS = frozenset({"padded"}), "padded arrays of HDF5 and .npz"
_PEOPLE = frozenset({*MANIFESTS, "bonito", "padded"}), "what is no corpus yet; attributes of one are kept"
_FOLDER = MANIFESTS, "a folder of features"
_GOES_WITH = {
    "transcripts": _FOLDER,
    "skip_missing": _FOLDER,
    "skip_unlisted": _FOLDER,
    "id_column": _KEYED,
    "transcript_column": _KEYED,
    "delimiter": (frozenset({"table", "phoenix"}), "a table"),
    "vocabulary": _LABELS,
    "first_label": _LABELS,
    "features_key": _ARRAYS,
    "transcript_key": _ARRAYS,
    "speakers": _PEOPLE,
    "signers": _PEOPLE,
}
"""Which options say something about which forms of a source; of another form they are refused, not ignored."""

_DELIMITERS = {"comma": ",", "semicolon": ";", "bar": "|", "tab": "\t", "\\t": "\t", "space": " "}


@data.command(
    "import",
    epilog=examples(
        "ctckit data import features/ train.h5 --transcripts train.tsv",
        "ctckit data import features/ dev.h5 --transcripts dev.corpus.csv --skip-unlisted",
        "ctckit data import features/ train.h5 --transcripts manifest.json --from nemo",
        "ctckit data import kaldi/data/train train.h5",
        "ctckit data import padded.npz train.h5 --vocabulary tokens.txt",
        "ctckit data import old.h5 train.h5 --features-key fbank --transcript-key text",
    ),
)
@click.argument("source", type=_FILE)
@click.argument("output", type=_FILE)
@click.option(
    "--transcripts",
    type=_FILE,
    help="Table with columns id and transcript (.csv, .tsv), JSON lines, STM, Kaldi's text.",
)
@click.option(
    "--from",
    "kind",
    type=click.Choice(get_args(Kind)),
    help="What SOURCE, or the table, is. Default: told from its content, and said.",
)
@click.option("--delimiter", help="Separator of the table's columns; also comma, semicolon, bar, tab, space.")
@click.option("--id-column", default="id", show_default=True, help="Column or key of the clip's id.")
@click.option(
    "--transcript-column", default="transcript", show_default=True, help="Column or key of the transcript."
)
@click.option("--speakers", type=_FILE, help="File of clip and speaker: a table, or Kaldi's utt2spk.")
@click.option("--signers", type=_FILE, help="The same for signers.")
@click.option("--skip-missing", is_flag=True, help="Leave out rows without features, and list them.")
@click.option("--skip-unlisted", is_flag=True, help="Leave out features without a row, and count them.")
@click.option(
    "--vocabulary",
    type=_FILE,
    help="What integer labels stand for: one token a line, `token number` a line, or a JSON list or object.",
)
@click.option(
    "--first-label",
    type=click.IntRange(0, 1),
    help="Number of the vocabulary's first token, where labels fit both.",
)
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
@click.pass_context
def import_command(
    context: click.Context,
    source: Path,
    output: Path,
    transcripts: Path | None,
    kind: Any,
    delimiter: str | None,
    id_column: str,
    transcript_column: str,
    speakers: Path | None,
    signers: Path | None,
    skip_missing: bool,
    skip_unlisted: bool,
    vocabulary: Path | None,
    first_label: int | None,
    unit: Any,
    dtype: Any,
    features_key: str,
    transcript_key: str,
    force: bool,
    as_json: bool,
) -> None:
    """Bring SOURCE into ctckit's own format, as OUTPUT.

    SOURCE is a folder of ID.npy arrays [T, F] beside --transcripts; Kaldi's folder with feats.scp, text and
    utt2spk; Bonito's with chunks.npy; an HDF5 file with one group a clip; or HDF5 or .npz with padded arrays:
    features [N, T, D], lengths, labels [N, U], label_lengths.

    Nothing is dropped unless asked for: a file without a row, or a row without a file, is an error. What was
    read how, and how many rows of it were used, is printed.
    """
    from ctckit.data import import_bonito, import_folder, import_hdf5, import_padded
    from ctckit.data.importers import Wishes, is_padded, kind_of_manifest, kind_of_source
    from ctckit.errors import ConfigError

    delimiter = None if delimiter is None else _DELIMITERS.get(delimiter, delimiter)
    if delimiter is not None and delimiter not in _DELIMITERS.values():
        raise ConfigError(f"--delimiter {delimiter!r} is none of {', '.join(list(_DELIMITERS)[:4])}, space")
    own = None if kind in MANIFESTS else kind or kind_of_source(source)
    if transcripts is None and (own is None and kind != "kaldi"):
        raise ConfigError(f"{source} is a folder of features; name its table of transcripts with --transcripts")
    if own in (None, "kaldi") and transcripts is not None:
        implied: Kind | None = "table" if delimiter else None
        kind = kind_of_manifest(transcripts, id_column, transcript_column, kind or implied)
    kind = kind or own
    form = kind if kind != "hdf5" else "padded" if is_padded(source) else "groups"
    for option, (forms, what) in _GOES_WITH.items():
        given = context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT
        if given and form not in forms:
            raise ConfigError(f"--{option.replace('_', '-')} goes with {what}, and {source} is read as {form}")
    wishes = Wishes(
        dtype=dtype,
        speakers=speakers,
        signers=signers,
        skip_missing=skip_missing,
        skip_unlisted=skip_unlisted,
        overwrite=force,
    )
    done: Imported | None = None
    if form == "groups":
        with _opened(source, unit, features_key, transcript_key) as corpus:
            import_hdf5(corpus, output, dtype=dtype, overwrite=force)
    elif form == "padded":
        labels_key = "labels" if transcript_key == "transcript" else transcript_key
        done = import_padded(
            source,
            output,
            vocabulary=vocabulary,
            first_label=first_label,
            features_key=features_key,
            labels_key=labels_key,
            unit=unit,
            **wishes,
        )
    elif form == "bonito":
        done = import_bonito(source, output, unit=unit, **wishes)
    else:
        done = import_folder(
            source,
            transcripts,
            output,
            kind=kind,
            unit=unit or "word",
            id_column=id_column,
            transcript_column=transcript_column,
            delimiter=delimiter,
            **wishes,
        )
    with _opened(output) as corpus:
        if done is not None and not as_json:
            _print_imported(transcripts or source, done)
        _print_written([(output, corpus)], as_json, [] if done is None else [done.to_dict()])


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


def _print_imported(source: Path, done: Imported) -> None:
    for line in done.said:
        click.echo(f"{source}: {line}")
    click.echo(f"{source}: {done.rows} rows, {done.clips} used")
    if done.missing:
        ids = ", ".join(done.missing)
        click.echo(f"{source}: left out {len(done.missing)} rows without features: {ids}")
    if done.unlisted:
        # often all of another split, so not each is worth a word
        ids = ", ".join(done.unlisted[:_SHOWN]) + (", ... (all with --json)" if done.unlisted[_SHOWN:] else "")
        click.echo(f"{source}: left out {len(done.unlisted)} features without a row: {ids}")


def _print_written(written: list[tuple[Path, Corpus]], as_json: bool, more: Sequence[dict[str, Any]] = ()) -> None:
    """Prints what each file holds; `more` is what JSON says beside it, of each or of none."""
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
        told = [{**row, **extra} for row, extra in zip(rows, more or [{}] * len(rows), strict=True)]
        click.echo(json.dumps(told, indent=2))
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
