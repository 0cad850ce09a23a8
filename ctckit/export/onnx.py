"""Writes an ONNX graph: any batch and length, feature preparation and shift inside, alphabet in its metadata."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from ctckit.errors import CheckpointError, ConfigError
from ctckit.export.graph import Graph
from ctckit.export.parity import Array, Runner
from ctckit.recogniser import Recogniser

Exporter = Literal["auto", "export", "trace"]

OPSET = 18

INPUTS = ["features", "lengths"]


def packages() -> tuple[Any, Any]:
    """Return the packages onnx and onnxruntime.

    Raises:
        ConfigError: one is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise ConfigError(f"ONNX needs packages ({error}): pip install 'ctckit[export]'") from error
    return onnx, onnxruntime


def write_onnx(path: Path, recogniser: Recogniser, graph: Graph, exporter: Exporter) -> str:
    """Write the graph.

    torch.export takes models whose control flow does not depend on values. What it refuses, packed sequences above
    all, is traced: torch.jit follows one batch, and a model that branches on values or turns sizes into numbers
    gives a graph for that batch alone, which the comparison with real clips finds.

    Args:
        path: the file.
        recogniser: what the graph comes from.
        graph: what is written.
        exporter: ``export``, ``trace``, or ``auto``: the first, and the second where that refuses.

    Returns:
        Which exporter wrote it.

    Raises:
        CheckpointError: the model cannot be exported.
    """
    onnx, _ = packages()
    wanted = ("export", "trace") if exporter == "auto" else (exporter,)
    refusals = []
    for one in wanted:
        try:
            with _quiet():
                _export(path, graph, recogniser.feature_size) if one == "export" else _trace(
                    path, graph, recogniser.feature_size
                )
            break
        except OSError:  # a place that cannot be written is no fault of the model
            raise
        except Exception as error:  # noqa: BLE001  # exporters raise of all kinds, at what a model does
            refusals.append(f"{one}: {type(error).__name__}: {_first_line(error)}")
    else:
        raise CheckpointError(f"{type(graph.model).__name__} cannot be written as ONNX; {'; '.join(refusals)}")
    model = onnx.load(path)
    about = {
        "tokens": json.dumps(list(recogniser.tokens), ensure_ascii=False),
        "frame_rate": json.dumps(recogniser.frame_rate),
        "output": graph.output,
        "ctckit": importlib.metadata.version("ctckit"),
    }
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return one


def runner_of(path: Path) -> Runner:
    """Load a graph into onnxruntime, on the CPU."""
    _, onnxruntime = packages()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # its errors come as exceptions
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(features_BTF: npt.NDArray[np.float32], lengths_B: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        try:
            found, lengths = session.run(None, dict(zip(INPUTS, (features_BTF, lengths_B), strict=True)))
        except Exception as error:
            raise CheckpointError(
                f"onnxruntime fails on a batch of {len(lengths_B)} clips: {_first_line(error)}; the model does "
                "something that holds for one batch only, such as len(tensor) in place of tensor.shape[0]"
            ) from error
        return found, lengths

    return run


def _example(width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch whose two sizes differ, unsorted; short, since torch.export unrolls recurrent layers on the way."""
    return torch.zeros(3, 11, width), torch.tensor([7, 11, 9])


def _names(graph: Graph) -> list[str]:
    return ["log_probs" if graph.output == "log-probs" else "labels", "output_lengths"]


def _export(path: Path, graph: Graph, width: int) -> None:
    dynamic = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        graph,
        _example(width),
        path,
        dynamo=True,
        input_names=INPUTS,
        output_names=_names(graph),
        dynamic_shapes=({0: dynamic, 1: dynamic}, {0: dynamic}),
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )


def _trace(path: Path, graph: Graph, width: int) -> None:
    output, lengths = _names(graph)
    torch.onnx.export(
        graph,
        _example(width),
        path,
        dynamo=False,
        input_names=INPUTS,
        output_names=[output, lengths],
        dynamic_axes={
            "features": {0: "batch", 1: "frames"},
            "lengths": {0: "batch"},
            output: {0: "batch", 1: "output_frames"},
            lengths: {0: "batch"},
        },
        opset_version=17,  # the last that tracing knows well
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters print and warn of from the terminal: what goes wrong is raised, or found by comparing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
