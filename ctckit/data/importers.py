"""Brings features and transcripts from elsewhere into ctckit's own format."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctckit.data.alphabet import Alphabet
from ctckit.data.dataset import Corpus, tokenize
from ctckit.data.schema import Unit, text_of
from ctckit.data.writer import CorpusWriter, FeatureType
from ctckit.errors import DataError

USUAL = {"id": ("name", "clip", "utterance_id"), "transcript": ("annotation", "orth", "text", "gloss", "glosses")}
"""Names of columns that are taken where the default one is absent and one of these alone is there."""


@dataclass(frozen=True)
class _Row:
    """One clip of a transcript table, with the line it stands on."""

    line: int
    clip_id: str
    tokens: tuple[str, ...]
    attributes: dict[str, str]


def import_folder(
    folder: Path,
    table: Path,
    output: Path,
    *,
    unit: Unit = "word",
    dtype: FeatureType | None = None,
    id_column: str = "id",
    transcript_column: str = "transcript",
    overwrite: bool = False,
) -> int:
    """Imports a folder of ``ID.npy`` arrays and a table of transcripts.

    Clips come in the order of the table. Other columns become attributes. Everything that can be checked
    without reading the features is checked before anything is written.

    Args:
        folder: holds one array [T, F] a clip, ``<id>.npy``; an id may contain ``/`` for folders within it.
        table: ``.csv`` (separated by whichever of comma, semicolon, bar and tab its header has most of), ``.tsv``
            (both with a header; quotes count with commas and semicolons alone), ``.jsonl`` (one object a line),
            ``.stm`` (NIST), or a file named ``text`` (Kaldi).
        output: the corpus file to make.
        unit: what a token is.
        dtype: how features are stored; None takes float16 where it loses nothing, else float32.
        id_column: column or key of the clip's id.
        transcript_column: column or key of the transcript; in JSON it may be a list of tokens.
        overwrite: replace an existing file.

    Returns:
        Number of clips.

    Raises:
        DataError: a row without a file, a file without a row, a bad column, line, array or transcript.
    """
    folder, table = Path(folder), Path(table)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; it should hold one .npy file a clip")
    rows = list(_read_table(table, id_column, transcript_column, unit))
    files = {_clip_id(path, folder): path for path in sorted(folder.rglob("*.npy"))}
    _match(rows, files, folder, table)
    width, types = _check_arrays([files[row.clip_id] for row in rows])
    narrow = all(_fits_half(dtype) for dtype in types)
    with CorpusWriter(
        output,
        width,
        unit=unit,
        dtype=dtype or ("float16" if narrow else "float32"),
        notes={"source": f"{folder.name} with {table.name}"},
        overwrite=overwrite,
    ) as writer:
        for row in rows:
            writer.add(row.clip_id, _load(files[row.clip_id]), row.tokens, row.attributes)
    return len(rows)


def _clip_id(path: Path, folder: Path) -> str:
    # macOS decomposes file names, tables rarely do
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())


def import_hdf5(corpus: Corpus, output: Path, *, dtype: FeatureType | None = None, overwrite: bool = False) -> int:
    """Copies an open corpus, of whatever layout, into ctckit's own format.

    Args:
        corpus: the source.
        output: the corpus file to make.
        dtype: how features are stored; None takes float16 where it loses nothing, else float32.
        overwrite: replace an existing file.

    Returns:
        Number of clips.

    Raises:
        DataError: a clip cannot be used, or the file cannot be written.
    """
    with writer_like(corpus, output, corpus.alphabet(), dtype=dtype, overwrite=overwrite) as writer:
        copy_clips(corpus, range(len(corpus)), writer)
    return len(corpus)


def writer_like(
    corpus: Corpus,
    output: Path,
    alphabet: Alphabet | None,
    *,
    dtype: FeatureType | None = None,
    overwrite: bool = False,
) -> CorpusWriter:
    """Opens a writer for clips of `corpus`, which keeps its unit, its notes and its mark of simulation."""
    if Path(output).exists() and Path(output).samefile(corpus.path):
        raise DataError(f"{output}: is the file being read; choose another name")
    return CorpusWriter(
        output,
        corpus.feature_size,
        alphabet=alphabet,
        unit=corpus.unit,
        dtype=dtype or ("float16" if _fits_half(corpus.stored_type) else "float32"),
        simulated=corpus.simulated,
        notes={"source": corpus.path.name, **corpus.notes},
        overwrite=overwrite,
    )


def copy_clips(corpus: Corpus, indices: Iterable[int], writer: CorpusWriter) -> None:
    """Appends clips of a corpus to a file under way."""
    for index in indices:
        writer.add(corpus.ids[index], corpus.features(index), corpus.transcript(index), corpus.attributes(index))


def _fits_half(dtype: np.dtype[Any]) -> bool:
    # float16 has 11 bits of precision: all of uint8 and int8, but not all of int16.
    return bool(np.can_cast(dtype, np.float16, "safe"))


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: is no readable numpy array ({reason}); save it with np.save") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: is an archive of several arrays; save one array a clip with np.save")
    return array


def _check_arrays(paths: list[Path]) -> tuple[int, set[np.dtype[Any]]]:
    """Looks at the headers alone; returns the common width and the types."""
    width = 0
    types = set()
    for path in paths:
        array = _load(path)
        if array.ndim != 2 or array.dtype.kind not in "fiub" or not array.size:
            raise DataError(f"{path}: is {array.dtype} {list(array.shape)}; expected numbers [T, F], at least one")
        width = width or array.shape[1]
        if array.shape[1] != width:
            raise DataError(
                f"{path}: features are {array.shape[1]} wide, but those of {paths[0].name} are {width}; all "
                "clips of a corpus need the same width"
            )
        types.add(array.dtype)
    return width, types


def _match(rows: list[_Row], files: dict[str, Path], folder: Path, table: Path) -> None:
    lines: dict[str, int] = {}
    for row in rows:
        if row.clip_id in lines:
            raise DataError(
                f"{table}: line {row.line}: clip {row.clip_id!r} stands on line {lines[row.clip_id]} "
                "already; ids must be unique"
            )
        lines[row.clip_id] = row.line
    absent = [row for row in rows if row.clip_id not in files]
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise DataError(
            f"{table}: line {absent[0].line}: clip {absent[0].clip_id!r} has no file "
            f"{folder / (absent[0].clip_id + '.npy')}{more}; add it or remove the line"
        )
    extra = sorted(set(files) - set(lines))
    if extra:
        more = f" (and {len(extra) - 1} more)" if len(extra) > 1 else ""
        raise DataError(f"{files[extra[0]]}: no row in {table}{more}; add one or move the file away")


def _read_table(table: Path, id_column: str, transcript_column: str, unit: Unit) -> Iterator[_Row]:
    readers = {".csv": _csv_records, ".tsv": _csv_records, ".jsonl": _json_records, ".stm": _stm_records}
    kind = "kaldi" if table.name == "text" else table.suffix.lower()
    readers["kaldi"] = _kaldi_records
    if kind not in readers:
        raise DataError(
            f"{table}: unknown kind of table {table.suffix!r}; use .csv (with , ; | or tabs), .tsv, .jsonl, "
            ".stm, or a file named text as Kaldi has it"
        )
    empty = True
    try:
        for line, record in readers[kind](table):
            empty = False
            for column in (id_column, transcript_column):
                usual = [name for name in USUAL.get(column, ()) if name in record]
                if column not in record and len(usual) == 1:
                    record[column] = record.pop(usual[0])
                if column not in record:
                    raise DataError(
                        f"{table}: line {line}: no column {column!r}; there is: {', '.join(record)} (name "
                        "the right one with --id-column, --transcript-column)"
                    )
            clip_id = _cell(record.pop(id_column)).strip().removesuffix(".npy")
            clip_id = unicodedata.normalize("NFC", clip_id)
            if not clip_id:
                raise DataError(f"{table}: line {line}: the id is empty; every clip needs one")
            where = f"{table}: line {line}: clip {clip_id!r}: {transcript_column!r}"
            tokens = tokenize(text_of(record.pop(transcript_column), where) or "", unit)
            if not tokens:
                raise DataError(
                    f"{table}: line {line}: clip {clip_id!r}: empty transcript; complete it or remove the line"
                )
            yield _Row(line, clip_id, tokens, {name: _cell(value) for name, value in record.items()})
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror}); check the path") from error
    if empty:
        raise DataError(f"{table}: holds no rows; expected one a clip")


def _csv_records(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
    with table.open(encoding="utf-8-sig", newline="") as stream:
        delimiter = _delimiter(stream.readline(), table)
        stream.seek(0)
        # only tables with commas or semicolons quote; elsewhere a quote is text like any other
        reader = (
            csv.reader(stream, delimiter=delimiter, strict=True)
            if delimiter in ",;"
            else csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        )
        try:
            header = [name.strip() for name in next(reader, [])]
            if len(set(header)) != len(header):
                raise DataError(f"{table}: line 1: a column name occurs twice: {', '.join(header)}")
            for fields in reader:
                if not fields:
                    continue  # a blank line holds no clip
                if len(fields) != len(header):
                    raise DataError(
                        f"{table}: line {reader.line_num}: {len(fields)} fields, but the header has "
                        f"{len(header)}; "
                        "quote fields that contain the separator"
                    )
                yield reader.line_num, dict(zip(header, fields, strict=True))
        except csv.Error as error:
            raise DataError(f"{table}: line {reader.line_num}: {error}; check the quotes") from error


def _delimiter(header: str, table: Path) -> str:
    """The separator that a header shows: of several the one that stands most often, the first of equals."""
    candidates = "\t" if table.suffix.lower() == ".tsv" else ",;|\t"
    return max(candidates, key=header.count)


def _stm_records(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """NIST's STM: file, channel, speaker, start, end, an optional <label>, words; ;; begins a remark."""
    with table.open(encoding="utf-8-sig") as stream:
        for line, text in enumerate(stream, start=1):
            fields = text.split()
            if not fields or fields[0].startswith(";;"):
                continue
            if len(fields) < 5:
                raise DataError(f"{table}: line {line}: expected file, channel, speaker, start, end and words")
            words = fields[6:] if len(fields) > 5 and fields[5].startswith("<") else fields[5:]
            yield line, {"id": fields[0], "transcript": " ".join(words), "speaker": fields[2]}


def _kaldi_records(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Kaldi's text: id, words."""
    with table.open(encoding="utf-8-sig") as stream:
        for line, text in enumerate(stream, start=1):
            if text.strip():
                clip_id, _, words = text.strip().partition(" ")
                yield line, {"id": clip_id, "transcript": words}


def _json_records(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with table.open(encoding="utf-8-sig") as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(f"{table}: line {line}: not JSON ({error.msg}); one object a line") from error
            if not isinstance(record, dict):
                raise DataError(f"{table}: line {line}: expected an object with an id and a transcript")
            yield line, record


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
