"""Corpora on disk, and the batches that training sees.

The way of the data: an HDF5 file is opened as a `Corpus`, an `Alphabet` turns its transcripts into `Targets`,
a `FeaturePipeline` turns stored features into the network's input, a `BatchPlan` says which clips go
together, and a `Loader` yields `ctckit.types.Batch`. Names resolve on first use, so that importing this
package loads neither torch nor h5py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctckit.data.alphabet import Alphabet
    from ctckit.data.batching import BatchPlan
    from ctckit.data.dataset import Corpus, Transcripts, open_corpus
    from ctckit.data.demo import DemoPaths, build_demo
    from ctckit.data.features import FeaturePipeline
    from ctckit.data.importers import Imported, import_bonito, import_folder, import_hdf5, import_padded
    from ctckit.data.loader import Loader
    from ctckit.data.schema import Unit
    from ctckit.data.splits import split_corpus
    from ctckit.data.statistics import CorpusStatistics, describe
    from ctckit.data.synthetic import SyntheticSpec, simulate, simulate_from_labels
    from ctckit.data.targets import Infeasible, Targets, encode_targets
    from ctckit.data.writer import CorpusWriter

_HOMES = {
    "Alphabet": "alphabet",
    "BatchPlan": "batching",
    "Corpus": "dataset",
    "CorpusStatistics": "statistics",
    "CorpusWriter": "writer",
    "DemoPaths": "demo",
    "FeaturePipeline": "features",
    "Imported": "importers",
    "Infeasible": "targets",
    "Loader": "loader",
    "SyntheticSpec": "synthetic",
    "Targets": "targets",
    "Transcripts": "dataset",
    "Unit": "schema",
    "build_demo": "demo",
    "describe": "statistics",
    "encode_targets": "targets",
    "import_bonito": "importers",
    "import_folder": "importers",
    "import_hdf5": "importers",
    "import_padded": "importers",
    "open_corpus": "dataset",
    "simulate": "synthetic",
    "simulate_from_labels": "synthetic",
    "split_corpus": "splits",
}

__all__ = [
    "Alphabet",
    "BatchPlan",
    "Corpus",
    "CorpusStatistics",
    "CorpusWriter",
    "DemoPaths",
    "FeaturePipeline",
    "Imported",
    "Infeasible",
    "Loader",
    "SyntheticSpec",
    "Targets",
    "Transcripts",
    "Unit",
    "build_demo",
    "describe",
    "encode_targets",
    "import_bonito",
    "import_folder",
    "import_hdf5",
    "import_padded",
    "open_corpus",
    "simulate",
    "simulate_from_labels",
    "split_corpus",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"ctckit.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
