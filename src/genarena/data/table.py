"""A table in a CSV file: rows of numbers and dates, with a column of classes and of splits where they are called so.

Columns of text are left out, and said: what mixes numbers and words is no row of numbers. Dates become seconds since 1970
(UTC), which float64 keeps to a microsecond.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import read_bytes
from .label_table import LABEL_KEYS, SPLIT_KEYS, decoded, delimiter_of, header_key
from .layout import split_of
from .raw import Raw

MAX_TABLE = 2**29
"""Bytes of a table that is read."""
MAX_COLUMNS = 10_000

_MOST_CLASSES = 1000
_SWITCHES = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
_INDEX = re.compile(r"|index|id|row|rowid|unnamed0")  # of `header_key`


def read_table(path: Path, known: Sequence[str] = ()) -> Raw:
    """Read a table with a header; columns of the names that are `known` are numbers, whatever they are called.

    Raises
    ------
    DataError
        Where it is too large, has no header or no column of numbers, or a row lacks a number; row and column are named.
    """
    try:
        text = decoded(read_bytes(path, MAX_TABLE))
        delimiter = delimiter_of(text)
        lines = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(map(str.strip, row))
        ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' is no table: {error}.") from None
    if len(lines) < 2 or len(lines[0]) > MAX_COLUMNS:
        raise DataError(f"'{path}' is no table: a header, then a row an example, of at most {MAX_COLUMNS:,} columns.")
    header, rows = [name.strip() for name in lines[0]], lines[1:]
    if any(map(_number(delimiter), header)):
        header, rows = [f"x{index}" for index in range(len(header))], lines
    odd = next((index for index, row in enumerate(rows) if len(row) != len(header)), None)
    if odd is not None:
        raise DataError(f"'{path}' has {len(rows[odd])} cells in row {odd + 1}, and {len(header)} columns.")
    return _raw(path, header, list(zip(*rows, strict=True)), delimiter, known)


def _raw(
    path: Path, header: Sequence[str], columns: Sequence[Sequence[str]], delimiter: str, known: Sequence[str]
) -> Raw:
    keys = ["" if name in known else header_key(name) for name in header]
    raw = Raw(path.stem, np.empty((len(columns[0]), 0)))
    label = next((keys.index(key) for key in LABEL_KEYS if key in keys), None)
    if label is not None and not _are_classes(columns[label]):
        label = None
    split = next((index for index, key in enumerate(keys) if key in SPLIT_KEYS and _are_splits(columns[index])), None)
    values, names, left = [], [], []
    for index, (name, cells) in enumerate(zip(header, columns, strict=True)):
        if index in (label, split):
            continue
        if index == 0 and name not in known and _INDEX.fullmatch(keys[0]) and _counts(cells):
            raw.notes.append(f"column '{name}' numbers the rows: left out")
            continue
        numbers, what = _values(cells, delimiter)
        if numbers is None:
            left.append(name)
            continue
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise DataError(
                f"'{path}' has no number in row {row + 1} of column '{name}' ({cells[row].strip()[:40] or 'empty'}): fill "
                "it, or leave that row or column out."
            )
        if what:
            raw.notes.append(f"column '{name}' holds {what}")
        values.append(numbers)
        names.append(name)
    if left:
        shown = ", ".join(f"'{name}'" for name in left[:10]) + (", …" if len(left) > 10 else "")
        raw.notes.append(f"{len(left)} column(s) of text are left out, since rows here are numbers: {shown}")
    if not values:
        raise DataError(f"'{path}' has no column of numbers.")
    raw.values, raw.columns = np.column_stack(values), tuple(names)
    if label is not None:
        words = [cell.strip() for cell in columns[label]]
        numbers, _ = _values(words, delimiter)
        raw.labels = np.array(words) if numbers is None else numbers
        raw.notes.append(f"classes are read from column '{header[label]}'")
    if split is not None:
        told = np.array([split_of(cell)[0] for cell in columns[split]])
        raw.splits = {name: np.flatnonzero(told == name) for name in np.unique(told).tolist()}
        raw.notes.append(f"splits are read from column '{header[split]}'")
    return raw


def _number(delimiter: str) -> Callable[[str], bool]:
    return lambda cell: _values([cell], delimiter)[0] is not None and bool(cell.strip())


def _values(cells: Sequence[str], delimiter: str) -> tuple[np.ndarray | None, str]:
    """A column as numbers, not finite where a cell is empty, and what it was where it was none; None for text."""
    stripped = [cell.strip() for cell in cells]
    filled = [cell for cell in stripped if cell]
    if not filled:
        return None, ""
    for read, what in _READERS:
        if read is _comma and delimiter == ",":
            continue
        try:
            return np.array([read(cell) if cell else np.nan for cell in stripped]), what
        except (ValueError, KeyError, OverflowError):
            continue
    return None, ""


def _comma(cell: str) -> float:
    return float(cell.replace(",", "."))


def _switch(cell: str) -> float:
    return _SWITCHES[cell.casefold()]


def _seconds(cell: str) -> float:
    moment = datetime.fromisoformat(cell)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_READERS: tuple[tuple[Callable[[str], float], str], ...] = (
    (float, ""),
    (_comma, ""),
    (_switch, "true and false: read as 1 and 0"),
    (_seconds, "dates: read as seconds since 1970-01-01 (UTC)"),
)


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2 ... or 1, 2, 3 ..."""
    return any(all(cell.strip() == str(row + first) for row, cell in enumerate(cells)) for first in (0, 1))


def _are_classes(cells: Sequence[str]) -> bool:
    """Whether a column that is called a label's name holds classes, and not a quantity."""
    words = {cell.strip() for cell in cells}
    numbers, _ = _values(sorted(words), ",")
    fractions = numbers is not None and bool((np.nan_to_num(numbers) % 1 != 0).any())
    return not fractions and "" not in words and len(words) <= min(_MOST_CLASSES, max(2, len(cells) // 2))


def _are_splits(cells: Sequence[str]) -> bool:
    words = {cell.strip() for cell in cells}
    return len(words) <= 6 and all(split_of(word)[0] for word in words)
