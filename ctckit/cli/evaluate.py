"""``ctckit evaluate`` and ``ctckit decode``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ctckit.engine.evaluate import Evaluation
    from ctckit.trained import Trained

_run = click.argument("run", type=click.Path(path_type=Path))
_data = click.option(
    "--data", type=click.Path(path_type=Path), help="Corpus; the run's test or dev corpus by default."
)
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")


@click.command()
@_run
@_data
@_device
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def evaluate(run: Path, data: Path | None, device: str, as_json: bool) -> None:
    """Score the best checkpoint of RUN (a folder, or a checkpoint file) on a corpus."""
    from ctckit.record.figures import score_row
    from ctckit.record.history import finite

    trained, path, evaluation, unknown = _evaluated(run, data, device)
    scores = evaluation.scores
    if as_json:
        row = {"run": str(run), "corpus": str(path), "epoch": trained.epoch, **score_row(scores)}
        click.echo(json.dumps(finite({**row, "unknown": list(unknown)})))
        return
    click.echo(
        f"{path}: {scores.utterances} clips, epoch {trained.epoch}\n"
        f"word errors        {scores.wer:.2f} %  (S {scores.substitutions}, D {scores.deletions}, "
        f"I {scores.insertions} of {scores.reference_tokens} tokens)\n"
        f"sentence errors    {scores.sentence_error_rate:.2f} %\n"
        f"length ratio       {scores.length_ratio:.3f}, {scores.empty_share:.1f} % of hypotheses empty\n"
        f"blank frames       {scores.blank_ratio:.1f} %  (1 - U/T is {scores.blank_reference:.1f} %)\n"
        f"labels emitted     {scores.unique_nonblank}, {scores.label_coverage:.1f} % of those in the references\n"
        f"loss               {scores.loss:.4f} nats per token"
        + (f", {scores.infeasible} clips without a CTC path left out" if scores.infeasible else "")
    )
    if unknown:
        click.echo(f"tokens that training never saw, each an error: {', '.join(unknown)}")


@click.command()
@_run
@_data
@_device
@click.option("--out", type=click.Path(path_type=Path), help="File to write; standard output by default.")
def decode(run: Path, data: Path | None, device: str, out: Path | None) -> None:
    """Decode a corpus with the best checkpoint of RUN, one JSON line a clip.

    Each token comes with its first frame, the frame after its last, both in input frames, and the mean
    log-probability of its frames.
    """
    _, _, evaluation, _ = _evaluated(run, data, device)
    lines = [
        json.dumps(
            {
                "clip": hypothesis.clip_id,
                "tokens": [
                    {"token": token, "start": start, "end": end, "score": round(score, 6)}
                    for token, start, end, score in zip(
                        hypothesis.tokens, hypothesis.starts, hypothesis.ends, hypothesis.scores, strict=True
                    )
                ],
                "reference": list(hypothesis.reference),
                "substitutions": hypothesis.substitutions,
                "deletions": hypothesis.deletions,
                "insertions": hypothesis.insertions,
            },
            ensure_ascii=False,
        )
        for hypothesis in evaluation.hypotheses
    ]
    text = "\n".join(lines) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        from ctckit.errors import DataError
        from ctckit.files import atomic

        with atomic(out, DataError) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _evaluated(run: Path, data: Path | None, device: str) -> tuple[Trained, Path, Evaluation, tuple[str, ...]]:
    from ctckit.cli.device import choose_device
    from ctckit.engine.evaluate import evaluate as score
    from ctckit.errors import ConfigError
    from ctckit.trained import load_trained

    chosen = choose_device(device)
    trained = load_trained(run, chosen)
    path = data or trained.config.data.test or trained.config.data.dev
    if path is None:
        raise ConfigError("--data is not given, and the run names no test or dev corpus")
    judged, unknown = trained.judged(path, chosen)
    evaluation = score(trained.model, judged, trained.tokens, shift=trained.shift, device=chosen)
    return trained, path, evaluation, unknown
