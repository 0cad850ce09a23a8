"""A manifest beside features: a folder of arrays, or Kaldi's archives."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from ctckit.data.importers.jsonl import read_jsonl, read_nemo
from ctckit.data.importers.kaldi import SCRIPT, Archives, read_text
from ctckit.data.importers.pairing import Imported, Wishes, write_clips
from ctckit.data.importers.rows import Manifest
from ctckit.data.importers.stm import read_stm
from ctckit.data.importers.stores import ArrayFolder, Features
from ctckit.data.importers.tables import Columns, read_table
from ctckit.data.importers.telling import kind_of_manifest
from ctckit.data.kinds import Kind
from ctckit.data.schema import Unit
from ctckit.errors import DataError


def import_folder(
    source: Path,
    table: Path | None,
    output: Path,
    *,
    kind: Kind | None = None,
    unit: Unit = "word",
    id_column: str = "id",
    transcript_column: str = "transcript",
    delimiter: str | None = None,
    **wishes: Unpack[Wishes],
) -> Imported:
    """Imports a manifest and the features of its clips, in the order of the manifest.

    Args:
        source: a folder of ``<id>.npy`` arrays [T, F], see `ArrayFolder`; or Kaldi's, with a ``feats.scp``, or that
            file itself.
        table: the manifest; None takes ``text`` beside a ``feats.scp``.
        output: the corpus file to make.
        kind: what the manifest is; None tells from its content.
        unit: what a token is.
        id_column: column or key of the clip's id.
        transcript_column: column or key of the transcript; in JSON it may be a list of tokens.
        delimiter: what separates the columns of a table; None tells from its header.
        wishes: see `Wishes`.

    Raises:
        DataError: a row without features, features without a row, a bad column, line, array or transcript.
    """
    source = Path(source)
    script = source / SCRIPT if source.is_dir() else source
    archived = script.is_file()
    if table is None:
        if not archived:
            raise DataError(f"{source}: no {SCRIPT}; a folder of Kaldi's has it beside text")
        table = script.with_name("text")
        kind = "kaldi"
    features: Features = Archives(script) if archived else ArrayFolder(source)
    columns = Columns(id_column, transcript_column)
    manifest = read_manifest(Path(table), columns, unit, kind=kind, delimiter=delimiter)
    return write_clips(output, manifest, features, wishes)


def read_manifest(
    path: Path, columns: Columns, unit: Unit, *, kind: Kind | None = None, delimiter: str | None = None
) -> Manifest:
    """Reads a manifest of any kind; None tells it from the content, or takes a table where a delimiter is given.

    Raises:
        DataError: it cannot be told or read.
    """
    kind = kind or ("table" if delimiter else kind_of_manifest(path, *columns))
    if kind == "jsonl":
        return read_jsonl(path, columns, unit)
    if kind == "nemo":
        return read_nemo(path, columns, unit)
    if kind == "stm":
        return read_stm(path, unit)
    if kind == "kaldi":
        return read_text(path, unit)
    return read_table(path, columns, unit, delimiter=delimiter, phoenix=kind == "phoenix")
