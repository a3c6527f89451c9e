"""Labels in a table beside pictures: a CSV file with a column of file names and a column of classes.

The column of files is the one whose cells name pictures, whatever it is called. Any delimiter of ``, ; |`` or tab, a byte order
mark, any line ends and quoted cells are read, and names may be relative to the table or to the root, with an ending or without.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import PurePosixPath

from .decoding import Member
from .layout import named, split_of

SUFFIXES = (".csv", ".tsv")
MAX_TABLE, MAX_LINE = 2**25, 100_000
"""Bytes of a table, and characters of a line; larger ones are not read."""

_NAMES = ("label", "labels", "class", "classes", "classname", "labelname", "category", "categoryname", "target", "y")
LABEL_KEYS = (*_NAMES, "classid", "labelid", "categoryid", "groundtruth")
SPLIT_KEYS = ("split", "set", "subset", "partition", "phase")
_SEEN = 200  # rows by which the column of files is told


@dataclass
class Listed:
    """What tables say of the pictures.

    Attributes
    ----------
    labels : dict of int to str
        The class of a picture, by its row.
    splits : dict of int to str
        The split of a picture, where a table has such a column.
    certain : bool
        Whether a column was called a label's name, and not merely left over.
    notes : list of str
    """

    labels: dict[int, str] = field(default_factory=dict)
    splits: dict[int, str] = field(default_factory=dict)
    certain: bool = False
    notes: list[str] = field(default_factory=list)


def read_tables(tables: Sequence[Member], paths: Sequence[str], splits: Sequence[str]) -> Listed:
    """Read every table that names pictures.

    Parameters
    ----------
    tables : sequence of Member
    paths, splits : sequence of str
        Of each picture; a table called ``train.csv`` speaks of the pictures of that split, where there are such.
    """
    pictures, found = _Pictures(paths, splits), Listed()
    several = 0
    for table in tables:
        try:
            several += _read(table.path, _rows(table), pictures, found)
        except Exception as error:  # a damaged member of a zip raises nearly anything
            found.notes.append(f"table '{table.path}' was not read: {error or type(error).__name__}")
    if several:
        found.labels = {}
        found.notes.append(
            f"{several} image(s) have several labels: such labels are not known here, treated as unlabelled"
        )
    return found


def _read(path: str, rows: Iterator[list[str]], pictures: _Pictures, found: Listed) -> int:
    """Add what one table says; returns how many pictures it gives several labels."""
    head = list(islice(rows, _SEEN + 1))
    width = max(map(len, head), default=0)
    head = [_padded(row, width) for row in head]
    hits = [sum(pictures.find(row[i], path) is not None for row in head) for i in range(width)]
    column = max(range(width), key=lambda i: (hits[i], -i), default=0)
    if not any(hits):
        if head and any(header_key(cell) in LABEL_KEYS for cell in head[0]):
            found.notes.append(f"no row of '{path}' names an image that is there")
        return 0
    header = [""] * width if pictures.find(head[0][column], path) is not None else head.pop(0)
    keys = [header_key(cell) for cell in header]
    others = [
        i for i in range(width) if i != column and keys[i] not in SPLIT_KEYS and any(row[i].strip() for row in head)
    ]
    label = next((keys.index(key) for key in LABEL_KEYS if key in keys and keys.index(key) != column), None)
    certain = label is not None
    if label is None and len(others) == 1 and 2 * len({row[others[0]] for row in head}) <= max(4, len(head)):
        label = others[0]
    split = next((i for i in range(width) if keys[i] in SPLIT_KEYS), None)
    labels: dict[int, set[str]] = {}
    lost: Counter[str] = Counter()
    for row in chain(head, rows):
        cells = _padded(row, width)
        place = pictures.find(cells[column], path)
        if place is None:
            lost[cells[column]] += 1
            continue
        if split is not None and split_of(cells[split])[0]:
            found.splits[place] = split_of(cells[split])[0]
        said = _class(cells, header, label, others)
        if said is not None:
            labels.setdefault(place, set()).update(said)
    if lost:
        found.notes.append(f"{lost.total()} row(s) of '{path}' name no image that is there: {named(lost)}")
    several = [place for place, words in labels.items() if len(words) > 1]
    if not several and label is not None:
        several = _joined(labels)
    if not labels and split is None:
        found.notes.append(f"'{path}' names images and no column of it is a label: call one of them label")
    if label is not None and _are_fractions({word for some in labels.values() for word in some}):
        found.notes.append(f"the labels of '{path}' are fractions: they are no classes, treated as unlabelled")
        return len(several)
    if labels:
        which = f", column '{header[label]}'" if label is not None and header[label] else ""
        found.notes.append(f"labels are read from '{path}'{which}")
    found.certain |= certain and bool(labels)
    found.labels |= {place: words.pop() for place, words in labels.items() if len(words) == 1}
    return len(several)


def _padded(row: list[str], width: int) -> list[str]:
    return row + [""] * (width - len(row))


def _class(cells: list[str], header: list[str], label: int | None, others: list[int]) -> set[str] | None:
    """The labels a row gives: none yet (None), one, or several; from one column, or from columns of 0 and 1."""
    if label is not None:
        word = _plain(cells[label])
        return {word} if word else None
    marks = [_plain(cells[i]) for i in others]
    if len(others) < 2 or not set(marks) <= {"0", "1", "-1"}:
        return None
    return {header[i].strip() for i, mark in zip(others, marks, strict=True) if mark == "1"} or None


def _are_fractions(words: set[str]) -> bool:
    numbers = [word for word in words if re.fullmatch(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", word)]
    return len(numbers) == len(words) and any(float(word) % 1 for word in numbers)


def header_key(cell: str) -> str:
    """A column's name without what people write differently."""
    return re.sub(r"[\W_]+", "", cell).casefold()


def _joined(labels: dict[int, set[str]]) -> list[int]:
    """The pictures whose one label is several of the others', as in ``cat|dog``."""
    words = {word for some in labels.values() for word in some}
    parts = {word: re.split(r"\s*[|;,]\s*", word) for word in words}
    joined = {word for word, some in parts.items() if len(some) > 1 and words & set(some)}
    return [place for place, some in labels.items() if some & joined]


def _plain(text: str) -> str:
    """A label without spaces around it, in one Unicode form, and whole numbers without their ``.0``."""
    text = unicodedata.normalize("NFC", text.strip())
    return text[: text.index(".")] if re.fullmatch(r"-?\d+\.0*", text) else text


def _rows(table: Member) -> Iterator[list[str]]:
    """The rows of a table that hold anything."""
    with table.open() as stream:
        content = stream.read(MAX_TABLE + 1)
    if len(content) > MAX_TABLE:
        raise ValueError(f"it is larger than {MAX_TABLE >> 20} MB")
    text = decoded(content)
    if max(map(len, io.StringIO(text)), default=0) > MAX_LINE:
        raise ValueError(f"a line is longer than {MAX_LINE:,} characters")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text))
    return (row for row in rows if any(map(str.strip, row)))


def delimiter_of(text: str) -> str:
    """What separates the cells of a table, by its first line."""
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    return max(",;\t|", key=first.count)


def decoded(content: bytes) -> str:
    """The text of a table: UTF-8 or UTF-16 by its mark, else UTF-8, else as Windows writes it."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


class _Pictures:
    """Pictures by what a table may call them."""

    def __init__(self, paths: Sequence[str], splits: Sequence[str]):
        self.paths, self.splits = [_key(path) for path in paths], splits
        self.exact = {path: place for place, path in enumerate(self.paths)}
        self.called: dict[str, list[int]] = {}
        for place, path in enumerate(self.paths):
            pure = PurePosixPath(path)
            for name in {pure.name, pure.stem}:
                self.called.setdefault(name, []).append(place)

    def find(self, cell: str, table: str) -> int | None:
        """The one picture that a cell of a table names, or None."""
        text = posixpath.normpath(_key(cell.strip().replace("\\", "/"))) if cell.strip() else ""
        if not text:
            return None
        folder = posixpath.dirname(_key(table))
        for path in (posixpath.normpath(posixpath.join(folder, text)), text):
            if path in self.exact:
                return self.exact[path]
        places = self.called.get(posixpath.basename(text), [])
        split = split_of(PurePosixPath(table).stem)[0]
        for fits in (
            lambda i: (
                f"/{self.paths[i]}".endswith(f"/{text}") or f"/{self.paths[i]}".rpartition(".")[0].endswith(f"/{text}")
            ),
            lambda i: self.paths[i].startswith(f"{folder}/"),
            lambda i: self.splits[i] == split,
        ):
            if len(places) > 1:
                places = [place for place in places if fits(place)] or places
        return places[0] if len(places) == 1 else None


def _key(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
