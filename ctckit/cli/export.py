"""``ctckit export``."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ctckit.cli.examples import examples
from ctckit.cli.options import plugin_files

if TYPE_CHECKING:
    from ctckit.data.clips import StoredClip
    from ctckit.export.graph import Output
    from ctckit.export.onnx import Exporter
    from ctckit.recogniser import Recogniser
    from ctckit.stored import Stored


EXPORTERS = {"export": "by torch.export", "trace": "traced"}


@click.command(
    epilog=examples(
        "ctckit export runs/NAME --out model.onnx",
        "ctckit export runs/NAME --out model.onnx --output labels --data test.h5 --clips 200",
        "ctckit export runs/NAME --out model.safetensors",
    ),
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE.onnx|FILE.safetensors",
    help="File to write; the name tells the format.",
)
@click.option(
    "--output",
    type=click.Choice(["log-probs", "labels"]),
    default="log-probs",
    show_default=True,
    help="What the ONNX graph gives: log-probabilities, or labels of the greedy path.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Clips to compare on; as decode's --features.")
@click.option(
    "--clips", type=click.IntRange(min=1), default=32, show_default=True, help="Clips to compare on, at most."
)
@click.option(
    "--exporter",
    type=click.Choice(["auto", "export", "trace"]),
    default="auto",
    show_default=True,
    help="How ONNX is made: torch.export, tracing, or the second where the first refuses the model.",
)
@plugin_files
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def export(
    run: Path,
    out: Path,
    output: str,
    data: Path | None,
    clips: int,
    exporter: str,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the best checkpoint of RUN for other programs.

    ONNX: inputs `features` [batch, frames, width] as they are stored, and `lengths`; normalisation, deltas and the
    shift of the blank are inside, batch and length are dynamic, the alphabet is in the metadata. Safetensors:
    weights and all that `ctckit.load` needs, in one file.

    The export is compared with ctckit on real clips, each alone and all in padded batches; where it recognises
    anything else, nothing is written.
    """
    import torch

    from ctckit.errors import CheckpointError, ConfigError
    from ctckit.files import STANDARD, atomic
    from ctckit.recogniser import Recogniser
    from ctckit.stored import SUFFIX, checkpoint_path, read_stored
    from ctckit.trained import build_trained

    if out == STANDARD or out.suffix not in (".onnx", SUFFIX):
        raise ConfigError(f"--out {out}: end it in .onnx or {SUFFIX}, which tells the format")
    stored, cpu = read_stored(checkpoint_path(run, "best")), torch.device("cpu")
    recogniser = Recogniser(build_trained(stored, cpu, plugins), cpu)
    compared = clips_to_compare(recogniser, data, clips)
    with atomic(out, CheckpointError) as temporary:
        written = (
            _onnx(temporary, recogniser, compared, cast("Output", output), cast("Exporter", exporter))
            if out.suffix == ".onnx"
            else _safetensors(temporary, stored, recogniser, compared, plugins)
        )
    if as_json:
        click.echo(json.dumps({"run": str(run), "file": str(out), **written}))
        return
    click.echo(f"{out}: {out.stat().st_size / 2**20:.1f} MiB\n{written['says']}")


def clips_to_compare(recogniser: Recogniser, data: Path | None, count: int) -> list[StoredClip]:
    """Return the first clips of --data, or else of the run's test or dev corpus.

    Raises:
        ConfigError: there is nothing to compare on.
        DataError: a clip cannot be used.
    """
    from ctckit.cli.evaluate import stored_clips
    from ctckit.errors import ConfigError, DataError

    if data is None:
        config = recogniser.trained.config
        data = next((one for one in (config.data.test, config.data.dev) if one is not None and one.exists()), None)
        if data is None:
            raise ConfigError("the run's test and dev corpus are not here; name clips to compare on by --data")
    faults: list[DataError] = []
    clips = list(islice(stored_clips(recogniser, data, None, faults), count))
    if faults:
        raise faults[0]
    if not clips:
        raise DataError(f"{data}: holds no clip to compare on")
    return clips


def _onnx(
    path: Path, recogniser: Recogniser, clips: list[StoredClip], output: Output, exporter: Exporter
) -> dict[str, Any]:
    from ctckit.export.graph import Graph
    from ctckit.export.onnx import packages, runner_of, write_onnx
    from ctckit.export.parity import compare

    packages()
    graph = Graph(recogniser.trained, output).eval()
    by = write_onnx(path, recogniser, graph, exporter)
    parity = compare(recogniser, clips, runner_of(path), output)
    return {"exporter": by, **parity.as_dict(), "says": f"{EXPORTERS[by]}; onnxruntime: {parity.describe()}"}


def _safetensors(
    path: Path, stored: Stored, recogniser: Recogniser, clips: list[StoredClip], plugins: tuple[str, ...]
) -> dict[str, Any]:
    from ctckit.export.graph import Graph
    from ctckit.export.parity import compare, runner_of
    from ctckit.stored import read_safetensors, write_safetensors
    from ctckit.trained import build_trained

    write_safetensors(path, stored)
    again = build_trained(read_safetensors(path), recogniser.device, plugins)
    parity = compare(recogniser, clips, runner_of(Graph(again, "log-probs").eval()), "log-probs")
    return {**parity.as_dict(), "says": f"read back: {parity.describe()}"}
