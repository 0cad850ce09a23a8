"""What is kept of a trained model: by a run as a checkpoint, by ``ctckit export`` as safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ctckit.config import Config, from_json, to_json
from ctckit.engine.checkpoint import load_checkpoint
from ctckit.engine.folder import checkpoint_in, run_of
from ctckit.errors import CheckpointError, ConfigError
from ctckit.search import Tuned
from ctckit.types import Calibration, LogOdds

SUFFIX = ".safetensors"

EXPORTED = "model.safetensors"
"""What an export is called in a folder without checkpoints."""

KEY = "ctckit"
"""Of the metadata of a safetensors file, whose values are texts: one JSON object."""

FORMAT = 1
"""Of that object; raised when its layout changes."""

PARTS = ("token", "clip")
"""Of a stored calibration."""

WEIGHTS, PIPELINE = "model.", "pipeline."
"""What names of tensors begin with."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A trained model as it is kept, before any code of plugins has run.

    Attributes:
        config: of its run.
        plugins: versions of the plugins, by what finds them.
        tokens: of the alphabet, blank first.
        pipeline: state of the feature preparation.
        weights: of the model, by name.
        stage: of the model, or None where it has none.
        epoch: the epoch that it comes from.
        shift: logit shift that decoding applies, nats.
        calibration: of its confidences, where ``ctckit calibrate`` has measured it.
        tuned: for a beam search, where ``ctckit sweep --beam`` has found it.
        run: folder in which its run keeps plugin files, if it lies in one.
    """

    config: Config
    plugins: Mapping[str, str]
    tokens: tuple[str, ...]
    pipeline: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    stage: int | None
    epoch: int
    shift: float
    calibration: Calibration | None = None
    tuned: Tuned | None = None
    run: Path | None = None


def read_stored(path: Path) -> Stored:
    """Read a checkpoint, or what ``write_safetensors`` wrote.

    Raises:
        CheckpointError: missing, damaged, of another format, or not of a run.
        ConfigError: a safetensors file, and the package that reads it is not installed.
    """
    return read_safetensors(path) if path.suffix == SUFFIX else _from_checkpoint(path)


def _from_checkpoint(path: Path) -> Stored:
    state = load_checkpoint(path)
    absent = {"config", "identity", "model", "clock", "judged_shift"} - set(state)
    if absent:
        raise CheckpointError(f"{path}: lacks {', '.join(sorted(absent))}; it is not a checkpoint of a run")
    config, identity, now = from_json(state["config"]), state["identity"], state["clock"]["now"]
    return Stored(
        config,
        plugins_recorded(identity),
        tuple(identity["tokens"]),
        identity["pipeline"],
        state["model"],
        config.stage_of(now["phase"]),
        now["epoch"],
        float(state["judged_shift"]),
        calibration_of(state.get("calibration"), path),
        tuned_of(state.get("search"), path),
        run_of(path),
    )


def calibration_of(stored: object, path: Path) -> Calibration | None:
    """Return the calibration that a file holds; None where it holds none.

    Raises:
        CheckpointError: what it holds is none.
    """
    if stored is None:
        return None
    try:
        token, clip = (LogOdds(float(stored[part]["temperature"]), float(stored[part]["offset"])) for part in PARTS)  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its calibration is damaged: {type(error).__name__} {error}") from error
    if not all(0.0 < one.temperature < math.inf and math.isfinite(one.offset) for one in (token, clip)):
        raise CheckpointError(f"{path}: its calibration is damaged: temperatures are above 0, offsets are numbers")
    return Calibration(token, clip)


def tuned_of(stored: object, path: Path) -> Tuned | None:
    """Return the weights of a beam search that a file holds; None where it holds none.

    Raises:
        CheckpointError: what it holds is none.
    """
    if stored is None:
        return None
    try:
        classes, language = stored["classes"], stored["language"]  # type: ignore[index]
        weight, bonus, shift = (float(stored[name]) for name in ("weight", "bonus", "shift"))  # type: ignore[index]
        width = int(stored["width"])  # type: ignore[index]
        classes = None if classes is None else int(classes)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its search is damaged: {type(error).__name__} {error}") from error
    if width < 1 or not all(map(math.isfinite, (weight, bonus, shift))):
        raise CheckpointError(f"{path}: its search is damaged: widths are above 0, weights are numbers")
    return Tuned(width, classes, weight, bonus, shift, None if language is None else str(language))


def plugins_recorded(identity: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of a run's plugins by what finds them, from the identity that its checkpoints hold."""
    return {name: identity["versions"].get(name, "") for name in identity["plugins"]}


def write_safetensors(path: Path, stored: Stored) -> None:
    """Write weights, configuration, alphabet and feature statistics as one file.

    Raises:
        CheckpointError: the model keeps something that is no tensor.
        ConfigError: the package that writes it is not installed.
        OSError: the file cannot be written.
    """
    safetensors = _safetensors()
    pipeline = dict(stored.pipeline)
    tensors = {f"{PIPELINE}{name}": value for name, value in pipeline.items() if isinstance(value, Tensor)}
    for name, value in stored.weights.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"the model keeps '{name}', which is no tensor; safetensors holds tensors alone")
        tensors[f"{WEIGHTS}{name}"] = value
    about = {
        "format": FORMAT,
        "config": to_json(stored.config),
        "plugins": dict(stored.plugins),
        "tokens": list(stored.tokens),
        "pipeline": {name: None if isinstance(value, Tensor) else value for name, value in pipeline.items()},
        "stage": stored.stage,
        "epoch": stored.epoch,
        "shift": stored.shift,
        "calibration": None if stored.calibration is None else asdict(stored.calibration),
        "search": None if stored.tuned is None else asdict(stored.tuned),
    }
    # copies, because safetensors refuses tensors that share memory, as tied weights do
    separate = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    path.write_bytes(safetensors.torch.save(separate, {KEY: json.dumps(about), "format": "pt"}))


def read_safetensors(path: Path) -> Stored:
    """Read what ``write_safetensors`` wrote; for errors see ``read_stored``."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: is not a readable safetensors file: {error}") from error
    if not isinstance(about, dict):
        raise CheckpointError(f"{path}: was not written by `ctckit export`: its metadata lacks '{KEY}'")
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: has format {about.get('format')}, this ctckit reads {FORMAT}; export it with this version"
        )
    try:
        pipeline = about["pipeline"] | _named(tensors, PIPELINE)
        return Stored(
            from_json(about["config"]),
            about["plugins"],
            tuple(about["tokens"]),
            pipeline,
            _named(tensors, WEIGHTS),
            about["stage"],
            int(about["epoch"]),
            float(about["shift"]),
            calibration_of(about.get("calibration"), path),
            tuned_of(about.get("search"), path),
            run_of(path),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata are damaged: {type(error).__name__} {error}") from error


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _safetensors() -> Any:
    """Return the package, with its submodule for torch loaded."""
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise ConfigError("safetensors files need a package: pip install 'ctckit[export]'") from error
    return safetensors


def checkpoint_path(path: Path, name: str) -> Path:
    """Return the checkpoint ``name`` of a run's folder or the export in it, or ``path`` itself if it is a file.

    Raises:
        CheckpointError: the folder holds no such checkpoint; says why a best one may be missing.
    """
    if path.is_file():
        return path
    checkpoint = checkpoint_in(path, name)
    if not checkpoint.is_file():
        if (path / EXPORTED).is_file():
            return path / EXPORTED
        last = checkpoint_in(path, "last")
        why = f": no epoch left the unigram plateau with labels emitted; {last.relative_to(path)} is the last"
        raise CheckpointError(
            f"{path}: no checkpoint '{name}'{why if last.is_file() else ', is it the folder of a run?'}"
        )
    return checkpoint
