"""``ctckit evaluate`` and ``ctckit decode``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctckit.cli.breakdown import details as _details
from ctckit.cli.examples import examples
from ctckit.cli.options import plugin_files, search_of, search_options

if TYPE_CHECKING:
    from ctckit.data.clips import StoredClip
    from ctckit.engine.evaluate import Evaluation
    from ctckit.errors import DataError
    from ctckit.guidance import Wanted
    from ctckit.recogniser import Recogniser
    from ctckit.trained import Trained
    from ctckit.types import Hypothesis, Scores

_run = click.argument("run", type=click.Path(path_type=Path))
_data = click.option(
    "--data", type=click.Path(path_type=Path), help="Corpus; the run's test or dev corpus by default."
)
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")


@click.command()
@_run
@_data
@search_options
@plugin_files
@_device
@_details
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def evaluate(
    run: Path,
    data: Path | None,
    wanted: Wanted,
    plugins: tuple[str, ...],
    device: str,
    details: int,
    as_json: bool,
) -> None:
    """Score the best checkpoint of RUN (a folder, or a checkpoint file) on a corpus.

    Errors are counted in words and in characters; tokens are one of them, and it says which. Then come the tokens
    that were confused most often, the clips with most errors a token, and the speakers, the worst first.
    """
    from ctckit.breakdown import Utterance, broken_down
    from ctckit.cli.breakdown import rates, shown
    from ctckit.data.alphabet import near_misses
    from ctckit.decode import oracle_errors
    from ctckit.record.figures import score_row
    from ctckit.record.history import finite

    trained, path, evaluation, unknown, speakers = _evaluated(run, data, wanted, plugins, device)
    scores = evaluation.scores
    utterances = (
        Utterance(one.clip_id, one.reference, one.tokens, speakers.get(one.clip_id, ""))
        for one in evaluation.hypotheses
    )
    found = broken_down(utterances, trained.config.data.unit)
    if as_json:
        row = {"run": str(run), "corpus": str(path), "epoch": trained.epoch, **score_row(scores)}
        row |= {"unknown": list(unknown), **found.row(details)}
        if wanted.anything:
            row["oracle_errors"] = oracle_errors(evaluation.hypotheses)
        click.echo(json.dumps(finite(row)))
        return
    click.echo(
        f"{path}: {scores.utterances} clips, epoch {trained.epoch}\n"
        f"{rates(found)}\n"
        f"sentence errors    {scores.sentence_error_rate:.2f} %\n"
        f"length ratio       {scores.length_ratio:.3f}, {scores.empty_share:.1f} % of hypotheses empty\n"
        f"blank frames       {scores.blank_ratio:.1f} %  (1 - U/T is {scores.blank_reference:.1f} %)\n"
        f"labels emitted     {scores.unique_nonblank}, {scores.label_coverage:.1f} % of those in the references\n"
        f"loss               {_loss(scores)}"
        + (f", {scores.infeasible} clips without a CTC path left out" if scores.infeasible else "")
    )
    if wanted.anything:
        click.echo(_oracle(evaluation))
    for line in shown(found, details):
        click.echo(line)
    if unknown:
        click.echo(f"tokens that training never saw, each an error: {', '.join(unknown)}")
    for token, (label, difference) in near_misses(unknown, trained.tokens).items():
        click.echo(f"  {token!r} is not in the alphabet, {label!r} is: {difference}")


def _oracle(evaluation: Evaluation) -> str:
    from ctckit.decode import oracle_errors

    scores = evaluation.scores
    errors = oracle_errors(evaluation.hypotheses)
    count = max((len(one.alternatives) for one in evaluation.hypotheses), default=0)
    rate = 100.0 * errors / max(scores.reference_tokens, 1)
    return f"oracle             {rate:.2f} %, the best of up to {count} hypotheses a clip  ({errors} errors)"


def _loss(scores: Scores) -> str:
    if math.isnan(scores.loss):
        return "undefined: the transcripts hold no token of the alphabet for which a CTC path exists"
    return f"{scores.loss:.4f} nats per token"


@click.command(
    epilog=examples(
        "ctckit decode runs/NAME --features clip.npy",
        "ctckit decode runs/NAME --features features/ --frame-rate 25 --out decoded.jsonl",
        "ctckit decode runs/NAME --data test.h5",
        "ctckit decode runs/NAME --data test.h5 --lm lm.arpa --best 10",
        "extract video.mp4 | ctckit decode runs/NAME --features -",
    ),
)
@_run
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER|-",
    help="Clips without transcripts: a .npy of [T, F], a .npz of several, a folder of both, a corpus (HDF5), or - "
    "for a .npy or .npz from standard input.",
)
@_data
@click.option("--frame-rate", type=float, help="Feature frames a second; the run's data.frame_rate by default.")
@search_options
@plugin_files
@_device
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "ctm", "stm", "trn", "text", "textgrid"]),
    default="jsonl",
    show_default=True,
    help="What to write. Of a model of characters the others hold words.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write; standard output by default, or as -. For textgrid a folder, which gets a file a clip.",
)
def decode(
    run: Path,
    features: Path | None,
    data: Path | None,
    frame_rate: float | None,
    wanted: Wanted,
    plugins: tuple[str, ...],
    device: str,
    kind: str,
    out: Path | None,
) -> None:
    """Decode clips with the best checkpoint of RUN, one JSON line a clip, or in another format.

    Each token comes with its first frame and the frame after its last, both in input frames, with the same in
    seconds where the frame rate is known, with the mean log-probability of its frames, and with that as a
    confidence. A beam search adds its N best with their scores. Clips that have a transcript come with it and with
    the edit counts. What cannot be decoded, or carried by the format, is named, clip by clip, and the rest is
    written; the command then fails. The formats ctm, stm and textgrid hold seconds, so they need a frame rate.
    """
    from ctckit.cli.transcripts import check_output, write_transcripts
    from ctckit.edits import edit_counts
    from ctckit.errors import ConfigError, DataError
    from ctckit.files import STANDARD, write_text
    from ctckit.recogniser import Clip, Recogniser, load
    from ctckit.transcripts import Transcript

    if features is not None and data is not None:
        raise ConfigError("--features and --data both name clips; give one")
    loaded = load(run, device, frame_rate=frame_rate, plugins=plugins)
    recogniser = Recogniser(
        loaded.trained, loaded.device, frame_rate=frame_rate, search=search_of(loaded.trained, wanted)
    )
    check_output(kind, recogniser.frame_rate, out)
    faults: list[DataError] = []
    references: dict[str, tuple[str, ...]] = {}
    lengths: dict[str, int] = {}

    def clips() -> Iterator[Clip]:
        for clip in stored_clips(recogniser, features, data, faults):
            if clip.reference is not None:
                references[clip.clip_id] = clip.reference
            lengths[clip.clip_id] = len(clip.features_TF)
            yield Clip(clip.clip_id, clip.features_TF)

    if kind != "jsonl":
        unit, rate = recogniser.trained.config.data.unit, recogniser.frame_rate
        decoded = (
            Transcript(
                one.clip_id,
                one.tokens,
                one.seconds,
                one.confidences,
                None if rate is None else lengths[one.clip_id] / rate,
            )
            for one in recogniser.stream(clips(), faults)
        )
        write_transcripts(decoded, kind, unit, out, faults)
        return
    lines = []
    for hypothesis in recogniser.stream(clips(), faults):
        line = _line(hypothesis)
        if hypothesis.clip_id in references:
            reference = references.pop(hypothesis.clip_id)
            counts = edit_counts(reference, hypothesis.tokens)
            line |= {"reference": list(reference)}
            line |= dict(zip(("substitutions", "deletions", "insertions"), counts, strict=True))
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    for fault in faults:
        click.echo(f"not decoded: {fault}", err=True)
    if lines or not faults:
        write_text(out or STANDARD, "".join(lines), DataError)
    if faults:
        raise DataError(f"{len(faults)} of {len(faults) + len(lines)} clips could not be decoded, as said above")


def stored_clips(
    recogniser: Recogniser, features: Path | None, data: Path | None, faults: list[DataError]
) -> Iterator[StoredClip]:
    """Yield the clips of --features, of --data, or else of the run's test or dev corpus."""
    from ctckit.assemble import open_configured
    from ctckit.data.clips import clips_of_arrays, clips_of_corpus, clips_of_stream
    from ctckit.errors import ConfigError
    from ctckit.files import STANDARD

    config = recogniser.trained.config
    path = features or data or config.data.test or config.data.dev
    if path is None:
        raise ConfigError("neither --features nor --data is given, and the run names no test or dev corpus")
    if path == STANDARD:
        return clips_of_stream(None, faults)
    if features is not None and (path.is_dir() or path.suffix in (".npy", ".npz")):
        return clips_of_arrays(path, faults)
    corpus = open_configured(config, path, "optional", faults)
    recogniser.trained.pipeline.check(corpus)
    if corpus.attribute_names and not any(map(corpus.has_transcript, range(len(corpus)))):
        there = ", ".join(map(repr, corpus.attribute_names))
        click.echo(
            f"{path}: no clip has the transcript {config.data.transcript_key!r}, so that nothing is scored; clips "
            f"have {there}",
            err=True,
        )
    return clips_of_corpus(corpus, faults)


def _line(hypothesis: Hypothesis) -> dict[str, Any]:
    tokens: list[dict[str, Any]] = [
        {"token": token, "start": start, "end": end, "score": round(score, 6), "confidence": round(confidence, 4)}
        for token, start, end, score, confidence in zip(
            hypothesis.tokens,
            hypothesis.starts,
            hypothesis.ends,
            hypothesis.scores,
            hypothesis.confidences,
            strict=True,
        )
    ]
    for token, (start, end) in zip(tokens, hypothesis.seconds or (), strict=hypothesis.seconds is not None):
        token |= {"start_seconds": round(start, 3), "end_seconds": round(end, 3)}
    line: dict[str, Any] = {"clip": hypothesis.clip_id, "tokens": tokens}
    if hypothesis.alternatives:
        line["alternatives"] = [
            {
                "tokens": list(one.tokens),
                "total": round(one.total, 6),
                "acoustic": round(one.acoustic, 6),
                "language": round(one.language, 6),
                "boosts": round(one.boosts, 6),
            }
            for one in hypothesis.alternatives
        ]
    if hypothesis.log_probability is not None and hypothesis.confidence is not None:
        line |= {
            "log_probability": round(hypothesis.log_probability, 6),
            "confidence": round(hypothesis.confidence, 4),
        }
    return line


def _evaluated(
    run: Path, data: Path | None, wanted: Wanted, plugins: tuple[str, ...], device: str
) -> tuple[Trained, Path, Evaluation, tuple[str, ...], Mapping[str, str]]:
    from ctckit.devices import choose_device
    from ctckit.engine.evaluate import evaluate as score
    from ctckit.errors import ConfigError
    from ctckit.trained import load_trained

    chosen = choose_device(device)
    trained = load_trained(run, chosen, plugins)
    path = data or trained.config.data.test or trained.config.data.dev
    if path is None:
        raise ConfigError("--data is not given, and the run names no test or dev corpus")
    judged, unknown = trained.judged(path, chosen)
    search = search_of(trained, wanted)
    evaluation = score(trained.model, judged, trained.tokens, shift=trained.shift, device=chosen, search=search)
    return trained, path, evaluation, unknown, judged.speakers
