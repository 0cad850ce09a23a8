"""``ctckit calibrate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctckit.cli.examples import examples
from ctckit.cli.options import plugin_files

if TYPE_CHECKING:
    from ctckit.calibration import Outcomes
    from ctckit.recogniser import Recogniser
    from ctckit.record.calibration import Measured


@click.command(
    epilog=examples("ctckit calibrate runs/NAME", "ctckit calibrate runs/NAME --dev dev.h5 --check test.h5 --store")
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dev", type=click.Path(path_type=Path), help="Corpus to fit on; the run's dev corpus by default.")
@click.option(
    "--check",
    type=click.Path(path_type=Path),
    help="Corpus on which the fit is measured as well; the run's test corpus by default.",
)
@click.option("--store", is_flag=True, help="Write it into the checkpoint, and what was measured into the history.")
@plugin_files
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print everything as JSON, the reliability diagrams included."
)
def calibrate(
    run: Path,
    dev: Path | None,
    check: Path | None,
    store: bool,
    plugins: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Measure what the confidences of RUN are worth, and fit them on a dev corpus.

    RUN is a run's folder (its best checkpoint) or a checkpoint file. A temperature and an offset of the log odds
    are fitted, for tokens and for whole clips, so that of all tokens with a confidence of 80 % about four in five
    are right. Once stored, `decode` and `ctckit.load` give confidences of that kind, and the report has a figure.
    The calibration error says how far confidence and share lie apart, on average.
    """
    from dataclasses import asdict, replace

    from ctckit.calibration import fit, measured
    from ctckit.engine.checkpoint import change_checkpoint
    from ctckit.errors import ConfigError, DataError
    from ctckit.recogniser import Recogniser, load
    from ctckit.record.calibration import Calibrated, calibrated_row
    from ctckit.record.history import HISTORY, History
    from ctckit.stored import SUFFIX, checkpoint_path
    from ctckit.types import Calibration

    checkpoint = checkpoint_path(run, "best")
    if store and checkpoint.suffix == SUFFIX:
        raise ConfigError(f"{checkpoint}: is an export; calibrate the run that it comes from, and export it again")
    loaded = load(run, device, plugins=plugins)
    # raw confidences are wanted, whatever was stored before
    recogniser = Recogniser(replace(loaded.trained, calibration=None), loaded.device)
    data = recogniser.trained.config.data
    path = dev or data.dev
    if path is None:
        raise ConfigError("--dev is not given, and the run names no dev corpus")
    corpora = [path, *([other] if (other := check or data.test) is not None and other != path else [])]
    seen = {corpus: _outcomes(recogniser, corpus) for corpus in corpora}
    tokens, clips = seen[path]
    if not len(tokens.confidences):
        raise DataError(f"{path}: the model emits no token here, so that there is no confidence to calibrate")
    calibration = Calibration(fit(tokens), fit(clips))
    found = [
        Calibrated(
            str(corpus),
            recogniser.trained.epoch,
            corpus == path,
            measured(seen[corpus][0], calibration.token),
            measured(seen[corpus][1], calibration.clip),
        )
        for corpus in corpora
        if len(seen[corpus][0].confidences)
    ]
    if store:
        change_checkpoint(checkpoint, lambda _: {"calibration": asdict(calibration)})
        if (run / HISTORY).is_file():
            for one in found:
                History(run / HISTORY).append("calibration", **calibrated_row(one))
    if as_json:
        rows = [calibrated_row(one) for one in found]
        click.echo(json.dumps({**asdict(calibration), "stored": store, "measured": rows}, indent=2))
        return
    for one in found:
        click.echo(f"{one.corpus}{' (fitted here)' if one.fitted else ''}")
        click.echo(_line("tokens", one.token))
        click.echo(_line("clips", one.clip))
    for name, fitted in (("tokens", calibration.token), ("clips", calibration.clip)):
        click.echo(f"{name}: temperature {fitted.temperature:.3g}, offset {fitted.offset:+.3g}")
    if store:
        click.echo(f"stored in {checkpoint}; decode and ctckit.load apply it from now on")


def _outcomes(recogniser: Recogniser, path: Path) -> tuple[Outcomes, Outcomes]:
    from ctckit.calibration import outcomes

    judged, _ = recogniser.trained.judged(path, recogniser.device)
    decoded = []
    for batch in judged.loader.epoch(0):
        decoded += recogniser.decode(batch, *recogniser.logits(batch), judged.references)
    return outcomes(decoded)


def _line(name: str, one: Measured) -> str:
    raw, calibrated = one.raw, one.calibrated
    return (
        f"  {name:<7}{raw.count:>6}, {100 * raw.right:.1f} % right  calibration error {100 * raw.error:.1f} -> "
        f"{100 * calibrated.error:.1f} %  log loss {raw.log_loss:.3f} -> {calibrated.log_loss:.3f} nats"
    )
