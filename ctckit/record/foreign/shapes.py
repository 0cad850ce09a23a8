"""The shapes in which other programs write rows of figures: JSON, JSON lines, tables; told by content."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ctckit.errors import DataError
from ctckit.record.figures import PARTS
from ctckit.record.foreign.columns import DEV, TELLING, TEST, TRAIN, figure_of, near_figure, words_of
from ctckit.record.foreign.epochs import RUN
from ctckit.record.foreign.logs import log_rows

CONTAINERS: Final = (
    "log_history",
    "history",
    "training_history",
    "epochs",
    "metrics",
    "data",
    "rows",
    "logs",
    "log",
)
"""Keys under which a JSON file may keep its epochs; any other will do where it is the only one that has some."""

SETTINGS: Final = frozenset({"config", "args", "hparams", "hyperparameters", "params", "settings", "trial_params"})
"""Keys of JSON objects that hold no figures."""

STAGES: Final = re.compile(r"stage|phase|part|warm|pre_?train|fine|main|cooldown", re.IGNORECASE)
"""Names of what comes one after another in one run; lists under other names are runs."""

EPOCH_KEY: Final = re.compile(r"(?:epoch|ep|e)?[ _-]*(\d+)", re.IGNORECASE)

MARKUP: Final = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*")
"""The line below the header of a table in Markdown."""

DELIMITERS: Final = "\t;,|"


def rows_of_text(
    text: str, place: str, notes: list[str], wanted: frozenset[str] = frozenset(), *, table: bool = False
) -> list[dict[str, Any]]:
    """Turn the text of a file into rows, one an epoch or less.

    Args:
        text: of the file.
        place: for messages.
        notes: takes what is assumed.
        wanted: columns that the user names, recognised whatever they are called.
        table: whether the file's name says that it is a table.

    Raises:
        DataError: nothing that is read is found; says what is there.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    comments = 0
    while len(lines) - comments > 1 and _is_comment(lines[comments]):
        comments += 1
    if comments:  # as many lines as before, for the numbers in messages
        text = re.sub(r"^[ \t]*#.*$", "", text, count=comments, flags=re.MULTILINE)
        lines = lines[comments:]
    first = lines[0].lstrip()
    if not table and (first[:1] in "[{" or (len(lines) == 1 and _is_json(first))):
        rows = _of_json(text, first, place, notes)
        if rows is not None:
            return rows
    marked = _markdown(lines)
    if marked:
        return _table_rows(marked, "|", place, notes)
    delimiter = _delimiter(lines, wanted, certain=table)
    if delimiter:
        return _table_rows(text, delimiter, place, notes)
    logged = log_rows(text, notes)
    if any(_is_known(name, wanted) for row in logged for name in row):
        return logged
    spaced = _spaced(lines, wanted)
    if spaced:
        return spaced
    raise DataError(
        f"{place}: {_of_text(lines, logged)}; JSON, JSON lines and CSV are read, and lines of name=value"
    )


def _is_comment(line: str) -> bool:
    """Whether a line before the first is a remark: it begins with # and names nothing that a header would."""
    words = re.split(r"[\t;,|\s]+", line.strip().lstrip("# "))
    return line.lstrip().startswith("#") and not any(figure_of(word) in (*TELLING, "epoch") for word in words)


def _of_json(text: str, first: str, place: str, notes: list[str]) -> list[dict[str, Any]] | None:
    """Rows of JSON or JSON lines; None where it is neither, but begins with a bracket as lines of logs may."""
    try:
        content = as_json(text)
    except json.JSONDecodeError as error:
        # no splitlines: it also cuts at characters that JSON allows within a string
        lines = {number: line for number, line in enumerate(text.split("\n"), 1) if line.strip()}
        if len(lines) > 1 and first.startswith("{") and _is_json(first):
            return _json_lines(lines, place, notes, cut=not text.endswith("\n"))
        written = _python(text) if re.match(r"[\[{]\s*[{\[]?\s*'", first) else None
        if written is not None:
            return json_rows(written, place, notes)
        if error.msg == "Extra data":  # objects one after another, or a line of a log such as "[1] loss"
            objects = _one_after_another(text)
            return None if objects is None else json_rows(objects, place, notes)
        if re.match(r"[\[{]\s*([\[{\"\]}]|-?\d|$)", first) and not re.match(r"\[\s*\d[\d-]*[ T:/]", first):
            cut = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
            more = "; the file ends in the middle, as one cut off does" if cut else ""
            raise DataError(f"{place}: not JSON: {error}{more}; JSON, JSON lines and CSV are read") from error
        return None
    return json_rows(content, place, notes)


def as_json(text: str) -> Any:
    """Read JSON; whole numbers beyond 64 bits as what they are among figures: infinite, or as good as that.

    Raises:
        json.JSONDecodeError: it is none.
    """
    try:
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 19 else float(digits))
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text, 0) from error


def _python(text: str) -> Any:
    """Lists and dictionaries as Python prints them; None where they are none."""
    try:
        return ast.literal_eval(re.sub(r"\bnan\b", "None", text.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _one_after_another(text: str) -> list[Any] | None:
    """Objects that follow one another, over several lines each; None where something else stands between them."""
    decoder, start, objects = json.JSONDecoder(), 0, []
    while start < len(text):
        try:
            found, start = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            return None
        objects.append(found)
        start = len(text) - len(text[start:].lstrip()) if text[start : start + 1].isspace() else start
    return objects if all(isinstance(found, Mapping) for found in objects) else None


def _is_json(text: str) -> bool:
    try:
        as_json(text)
    except json.JSONDecodeError:
        return False
    return True


def _json_lines(lines: Mapping[int, str], place: str, notes: list[str], *, cut: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in lines.items():
        try:
            row = as_json(line)
        except json.JSONDecodeError as error:
            if number == max(lines) and rows and cut:
                notes.append(f"Line {number} is cut off, as by a killed process or a full disk: left out.")
                break
            raise DataError(f"{place}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{place}, line {number}: not an object with the figures of an epoch")
        rows.append(_flat(row))
    return rows


def json_rows(content: Any, place: str, notes: list[str]) -> list[dict[str, Any]]:
    """Find the rows in JSON: a list of objects, columns, rows by key, or any of these under a key.

    Raises:
        DataError: there is none, or there are several.
    """
    found = _direct_rows(content, place, notes)
    if found is not None:
        if not found:
            raise DataError(f"{place}: holds no epochs")
        return found
    inner = list(_within(content, place, ()))
    listed = ", ".join(f"'{'.'.join(path)}' ({len(rows)} rows)" for path, rows in inner[:6])
    if len(inner) == 1:
        notes.append(f"Taken from the key '{'.'.join(inner[0][0])}'.")
        return inner[0][1]
    if inner:
        apart = [
            number
            for number, keys in enumerate(zip(*(path for path, _ in inner), strict=False))
            if len({*keys}) > 1
        ]
        if len({len(path) for path, _ in inner}) == len(apart) == 1:  # alike but for one key: that names the run
            return [{RUN: path[apart[0]], **row} for path, rows in inner for row in rows]
        raise DataError(f"{place}: several keys hold epochs: {listed}; write the one that is meant into a file")
    if isinstance(content, Mapping) and any(content.get(key) in ([], {}) for key in CONTAINERS):
        raise DataError(f"{place}: holds no epochs yet; there is {_shape(content)}")
    untold = _columns(content, place, notes, untold=True) if isinstance(content, Mapping) else None
    if untold:
        return untold
    raise DataError(
        f"{place}: neither a list of epochs nor an object of columns, but {_shape(content)}; "
        f'a list of objects such as {{"epoch": 1, "train_loss": 2.5, "val_loss": 2.7, "val_wer": 98.0}} would do'
    )


def _within(
    content: Any, place: str, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """Rows under the keys of an object, with the path of each; only those that say something of a training."""
    if not isinstance(content, Mapping) or len(path) > 4:
        return
    for key, value in content.items():
        if not isinstance(value, (Mapping, list)) or str(key).lower() in SETTINGS:
            continue
        try:
            rows = _direct_rows(value, place, [])
        except DataError:
            rows = None
        if rows and any(figure_of(name) in TELLING for row in rows for name in row):
            yield (*path, str(key)), rows
        else:
            yield from _within(value, place, (*path, str(key)))


def _direct_rows(content: Any, place: str, notes: list[str]) -> list[dict[str, Any]] | None:
    """Rows of JSON that has them without more ado, None where it does not."""
    if isinstance(content, list):
        if content and all(isinstance(row, list) for row in content):
            return _headed(content)
        return [_flat(row) for row in content] if all(isinstance(row, Mapping) for row in content) else None
    if not isinstance(content, Mapping):
        return None
    for key in CONTAINERS:
        if _holds_rows(content.get(key)):
            if isinstance(content.get("columns"), list) and isinstance(content[key], list):
                return _headed([content["columns"], *content[key]])  # pandas' orient="split"
            return _direct_rows(content[key], place, notes)
    return _sides(content) or _keyed(content) or _columns(content, place, notes)


def _headed(rows: Sequence[Any]) -> list[dict[str, Any]] | None:
    """Rows of cells below a row of names."""
    names, *cells = rows
    if (
        not names
        or not all(isinstance(name, str) for name in names)
        or any(len(row) != len(names) for row in cells)
    ):
        return None
    return [dict(zip(names, row, strict=True)) for row in cells]


def _holds_rows(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(row, (Mapping, list)) for row in value)
    return isinstance(value, Mapping) and bool(value)


def _sides(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists of rows under train, val and the like; empty where it is something else."""
    lists = {key: value for key, value in content.items() if isinstance(value, list) and _holds_rows(value)}
    if len(lists) < 2 or not all(str(key).lower() in DEV | TRAIN | TEST for key in lists):
        return []
    rows: dict[Any, dict[str, Any]] = {}
    for side, members in lists.items():
        for number, row in enumerate(map(_flat, members), 1):
            numbers = {name: value for name, value in row.items() if figure_of(name) == "epoch"}
            at = next(iter(numbers.values()), number)
            others = {f"{side}_{name}": value for name, value in row.items() if name not in numbers}
            rows.setdefault(at, dict(numbers)).update(others)
    return list(rows.values())


def _keyed(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows keyed by their epoch, or lists of rows keyed by a stage or a run; empty where it is none of these."""
    rows = {key: row for key, row in content.items() if isinstance(row, Mapping) and key not in SETTINGS}
    numbers = {key: EPOCH_KEY.fullmatch(str(key)) for key in rows}
    if rows and all(numbers.values()) and not any(isinstance(content[key], list) for key in content):
        flat = {key: _flat(row) for key, row in rows.items()}
        return [
            {**({} if "epoch" in row else {"epoch": int(match[1])}), **row}
            for key, row in flat.items()
            if (match := numbers[key])
        ]
    lists = {key: value for key, value in content.items() if isinstance(value, list) and _holds_rows(value)}
    lists = {key: value for key, value in lists.items() if all(isinstance(row, Mapping) for row in value)}
    others = [key for key in content if key not in lists]
    if len(lists) > 1 and all(not isinstance(content[key], (list, Mapping)) or key in SETTINGS for key in others):
        column = "stage" if all(STAGES.search(str(key)) for key in lists) else RUN
        return [{column: str(key), **_flat(row)} for key, members in lists.items() for row in members]
    return []


def _columns(
    content: Mapping[str, Any], place: str, notes: list[str], *, untold: bool = False
) -> list[dict[str, Any]] | None:
    """Turn an object of columns into rows; a configuration or final scores beside the columns are left out.

    Where no name is known (``untold``) the longest lists are the columns, so that they can be named.
    """
    columns: dict[str, list[Any]] = {}
    for name, column in _flat(
        {key: _indexed(value) for key, value in content.items() if str(key).lower() not in SETTINGS}
    ).items():
        if isinstance(column, list) and column and all(not isinstance(item, (list, Mapping)) for item in column):
            columns[name] = column
    told = {name: len(column) for name, column in columns.items() if figure_of(name) is not None}
    if not told and untold and columns:
        longest = max(map(len, columns.values()))
        told = {name: longest for name, column in columns.items() if len(column) == longest}
    if not told:
        return None
    if len(set(told.values())) > 1:
        told = {name: count for name, count in told.items() if figure_of(name) in (*TELLING, "epoch")} or told
    if len(set(told.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in told.items())
        raise DataError(f"{place}: the columns have different lengths ({listed}); one value an epoch is needed")
    length = next(iter(told.values()))
    other = [name for name, column in columns.items() if len(column) != length]
    if other:
        notes.append(f"Lists of another length than the {length} epochs left out: {', '.join(other)}.")
    kept = {name: column for name, column in columns.items() if name not in other}
    return [dict(zip(kept, values, strict=True)) for values in zip(*kept.values(), strict=True)]


def _indexed(value: Any) -> Any:
    """A column that is an object with its rows' numbers as keys, as pandas writes it, as the list that it is."""
    if isinstance(value, Mapping) and value and all(str(key).isdigit() for key in value):
        return [value[key] for key in sorted(value, key=int)]
    if isinstance(value, list) and value and all(isinstance(item, list) and len(item) in (2, 3) for item in value):
        return [item[-1] for item in value]  # step and value, or time, step and value
    return value


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Join the names of nested objects, as in ``{"val": {"loss": 1}}``, but for figures by part."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and name not in PARTS:
            inner = _flat(value)
            bare = str(name).lower() in ("metrics", "scores", "results", "figures", "log", "logs")
            flat |= {str(key) if bare else f"{name}_{key}": item for key, item in inner.items()}
        else:
            flat[str(name)] = value
    return flat


def _shape(content: Any) -> str:
    match content:
        case dict():
            lists = {key: value for key, value in content.items() if isinstance(value, list)}
            longest = max(lists, key=lambda key: len(lists[key]), default=None)
            kind = "" if longest is None or not lists[longest] else f" of {type(lists[longest][0]).__name__}"
            tail = "" if longest is None else f"; its longest list is '{longest}' with {len(lists[longest])}{kind}"
            more = f" and {len(content) - 8} more" if len(content) > 8 else ""
            return f"an object of {', '.join(map(str, list(content)[:8])) or 'nothing'}{more}{tail}"
        case list():
            kinds = " and ".join(dict.fromkeys(type(item).__name__ for item in content))
            return f"a list of {kinds}" if content else "an empty list"
    return f"a {type(content).__name__}"


def _is_known(name: str, wanted: frozenset[str]) -> bool:
    return name in wanted or (figure_of(name) or near_figure(name)) in TELLING


def _delimiter(lines: Sequence[str], wanted: frozenset[str], *, certain: bool) -> str:
    """Return what parts the cells of a table, nothing where the text is none.

    A header is names alone, and the rows below have as many cells, some of them numbers.
    """
    header = lines[0].lstrip("# ")
    best = max(DELIMITERS, key=header.count)
    if certain:
        return best if header.count(best) else ","
    if not header.count(best):
        return ""
    cells = next(csv.reader([header], delimiter=best))
    if any(re.search(r"[=\[]|:\s|\d:\d", cell) for cell in cells) or not any(
        figure_of(cell) or _is_known(cell.strip(), wanted) for cell in cells
    ):
        return ""
    return best if any(len(line.split(best)) == len(cells) for line in lines[1:3]) or len(lines) == 1 else ""


def _table_rows(text: str, delimiter: str, place: str, notes: list[str]) -> list[dict[str, Any]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a cell may hold decoded text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[dict[str, Any]] = []
    again = 0
    names: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = [cell.strip().removeprefix("#").strip() for cell in cells]
                _check_header(names, place)
            elif [cell.strip().removeprefix("#").strip() for cell in cells] == names:
                again += 1
            elif len(cells) > len(names):
                raise DataError(f"{place}, line {reader.line_num}: has more cells than the header names")
            else:
                rows.append({name: cell for name, cell in zip(names, cells, strict=False) if name and cell != ""})
    except csv.Error as error:
        raise DataError(f"{place}, line {reader.line_num}: not a table: {error}") from error
    if not rows:
        raise DataError(f"{place}: holds no epochs, only the header {delimiter.join(names)}")
    if again:
        notes.append(f"The header comes {again + 1} times, as where a run was started again: read as one table.")
    return rows


def _check_header(names: Sequence[str], place: str) -> None:
    if all(re.fullmatch(r"[-+]?[\d.,]*(e[-+]?\d+)?%?|nan", name, re.IGNORECASE) for name in names):
        raise DataError(
            f"{place}: the first line holds numbers ({', '.join(names[:4])}) where the names of columns are "
            "expected; put a line such as epoch,train_loss,val_loss,val_wer above"
        )
    twice = [name for name, count in Counter(names).items() if count > 1 and figure_of(name) is not None]
    if twice:
        raise DataError(f"{place}: two columns are named '{twice[0]}'; rename one of them")


def _markdown(lines: Sequence[str]) -> str:
    """The first table in Markdown whose header names a figure, without its markup; empty where there is none."""
    for number, line in enumerate(lines[1:], 1):
        header = lines[number - 1]
        if "|" in line and MARKUP.fullmatch(line) and any(figure_of(cell) in TELLING for cell in header.split("|")):
            body = lines[number + 1 :]
            end = next((place for place, row in enumerate(body) if "|" not in row), len(body))
            return "\n".join(row.strip().strip("|") for row in [header, *body[:end]])
    return ""


def _spaced(lines: Sequence[str], wanted: frozenset[str]) -> list[dict[str, Any]]:
    """Rows of a table whose cells stand below one another, as pandas prints it."""
    names = lines[0].lstrip("# ").split()
    if len(names) < 2 or not any(_is_known(name, wanted) for name in names):
        return []
    rows = []
    for line in lines[1:]:
        cells = line.split()
        if len(cells) == len(names) + 1:
            cells = cells[1:]  # the number of the row
        if len(cells) != len(names):
            return []
        rows.append({name: cell for name, cell in zip(names, cells, strict=True) if cell != "NaN"})
    return rows


def _of_text(lines: Sequence[str], logged: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in logged for name in row if words_of(name)))
    first = lines[0].strip()[:60]
    names = [name for name in names if figure_of(name) is None]
    found = "without figures such as val_wer=0.5"
    if names:
        way = f"if {names[0]} is one that tells, say --column val_wer={names[0]}"
        found = f"its figures are {', '.join(names[:8])}; {way}"
    return (
        f"not JSON, but text of {len(lines)} {'line' if len(lines) == 1 else 'lines'}, the first '{first}'; {found}"
    )
