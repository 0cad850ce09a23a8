"""Tells what a source and a manifest are from what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from ctckit.data.importers.bonito import FILES
from ctckit.data.importers.jsonl import NEMO_KEY, object_of
from ctckit.data.importers.kaldi import SCRIPT
from ctckit.data.importers.rows import lines_of
from ctckit.data.importers.tables import SEPARATORS, Columns, header_of, is_phoenix, separator_of
from ctckit.data.kinds import MANIFESTS, Kind
from ctckit.errors import DataError
from ctckit.transcripts.nist import is_stm, reads_as_ctm

_FOREIGN = {
    b"PK": "is an archive or an Excel workbook; save the table as CSV",
    b"\x89HDF": "is HDF5; name it as the source, without --transcripts",
    b"\x93NUMPY": "is a NumPy array; write ids and transcripts as a table, id,transcript",
    b"PAR1": "is Parquet; write it as JSON lines (to_json(path, orient='records', lines=True))",
}


def kind_of_source(source: Path) -> Kind | None:
    """What a source is by itself; None for a folder of arrays, which needs a manifest.

    Raises:
        DataError: a file that is nothing that can be imported.
    """
    if source.is_dir():
        if (source / FILES[0]).is_file() and (source / FILES[1]).is_file():
            return "bonito"
        return "kaldi" if (source / SCRIPT).is_file() else None
    return "kaldi" if source.suffix == ".scp" else "hdf5"


def kind_of_manifest(path: Path, id_column: str, transcript_column: str, said: Kind | None = None) -> Kind:
    """What a file of transcripts is, of a table with columns of these names or usual ones.

    Args:
        path: the file.
        id_column: column or key of the clip's id.
        transcript_column: column or key of the transcript.
        said: what the user says it is, which need not be told; what nothing here reads is refused all the same.

    Raises:
        DataError: it cannot be told, or is something that is not read.
    """
    columns = Columns(id_column, transcript_column)
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path}: holds no rows; expected one a clip")
    suffix = path.suffix.lower()
    if lines[0].lstrip().startswith("[") and suffix == ".json":
        raise DataError(f"{path}: is one JSON array; write one object a line (jq -c '.[]' {path.name})")
    if said is not None:
        return said
    if lines[0].lstrip().startswith("{") or suffix == ".jsonl":
        return "nemo" if NEMO_KEY in object_of(lines[0], f"{path}: line 1") else "jsonl"
    if path.name == "text":
        return "kaldi"
    header = header_of(path)
    separator = separator_of(header, columns, path)
    found = columns.among([name.strip().strip('"') for name in header.split(separator)])
    if isinstance(found, Columns):
        return "phoenix" if is_phoenix(separator, found) else "table"
    if suffix in (".csv", ".tsv"):
        return "table"
    fields = next((line.split() for line in lines if not line.startswith(";;")), [])
    if suffix == ".stm" or lines[0].startswith(";;") or is_stm(fields):
        return "stm"
    if suffix == ".ctm" or reads_as_ctm(fields):
        raise DataError(f"{path}: is CTM, a word a line; write a line a clip, as STM or as Kaldi's text")
    raise DataError(
        f"{path}: cannot be told to be a table, which begins with names such as id and transcript between "
        f"{', '.join(list(SEPARATORS.values())[:4])}, nor JSON lines, STM or Kaldi's text; say what it is with "
        f"--from ({', '.join(kind for kind in get_args(Kind) if kind in MANIFESTS)})"
    )


def _lines(path: Path) -> list[str]:
    """The first lines that hold something; what is no text is refused by what it is."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected a file of transcripts")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError:  # said where lines are read
        start = b""
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise DataError(f"{path}: {what}")
    return [text for _, (_, text) in zip(range(20), lines_of(path), strict=False)]
