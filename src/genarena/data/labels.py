"""Labels of any sensible form, as indices into class names."""

from __future__ import annotations

import unicodedata

import numpy as np

from ..errors import DataError


def encode_labels(
    labels: np.ndarray, count: int, classes: tuple[str, ...] = ()
) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Map labels to class indices.

    Strings become classes sorted by their bytes, in Unicode's composed form (NFC). Integers 0 .. K-1 keep their values, and
    other integers are numbered in order (a note says so). Whole floats are integers, and rows with a single one are the
    column it stands in. Negative integers are errors, since they are nearly always a marker of missing labels, unless all
    labels are -1 and 1.

    Parameters
    ----------
    labels : numpy.ndarray
        One label an example, ``(N,)``, ``(N, 1)``, or one-hot ``(N, K)``.
    count : int
        The number of examples.
    classes : tuple of str
        Names of the integer labels, or empty.

    Returns
    -------
    indices : numpy.ndarray
        int64 ``(N,)``.
    classes : tuple of str
        Empty where examples have several labels, or none, of ``(N, K)`` or in lists: then they are no classes, and a note
        says so.
    notes : list of str

    Raises
    ------
    DataError
        For labels of another length, of another type, negative, or beyond the class names; the row is named.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or 0 in labels.shape[1:]:
        raise DataError(f"labels have shape {labels.shape}: one class index or name an example is needed, shape (N,).")
    if len(labels) != count:
        raise DataError(f"{len(labels)} labels for {count} examples: give one label an example.")
    if labels.ndim == 2:
        return _encode_columns(labels, classes)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels):
        labels = labels.astype(str)
    if labels.dtype.kind == "O" and any(isinstance(label, list | tuple | set | np.ndarray) for label in labels):
        return _no_classes(labels, np.array([np.size(label) != 1 for label in labels]))
    if labels.dtype.kind in "US":
        return _encode_strings(labels)
    if labels.dtype.kind == "f" and not _first_not_whole(labels):
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biu":
        bad = _first_not_whole(labels)
        raise DataError(
            f"labels are of type {labels.dtype}{bad}: give integers 0 .. K-1 or strings, or leave them out (--no-labels)."
        )
    return _encode_integers(labels, classes)


def _first_not_whole(labels: np.ndarray) -> str:
    if labels.dtype.kind == "O":
        row = next(i for i, label in enumerate(labels) if not isinstance(label, str))
        return f" (row {row} is {labels[row]!r:.40})"
    if labels.dtype.kind != "f":
        return ""
    rows = np.flatnonzero((labels != np.floor(labels)) | (np.abs(labels) >= 2**53))  # NaN differs from itself
    return f" (row {rows[0]} is {labels[rows[0]]})" if len(rows) else ""


def _encode_columns(labels: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """One-hot rows as their columns; rows of several labels, or of none, as no classes."""
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"labels have shape {labels.shape}: one class index or name an example is needed, shape (N,), or one-hot rows "
            "of 0 and 1. To do without labels: --no-labels."
        )
    several = labels.sum(1) != 1
    if several.any():
        return _no_classes(labels, several)
    indices, names, notes = _encode_integers(labels.argmax(1), classes)
    return indices, names, [f"one-hot labels of {labels.shape[1]} columns were taken as classes", *notes]


def _no_classes(labels: np.ndarray, several: np.ndarray) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    what = f"{several.sum()} of {len(labels)} examples have several labels or none (first row {several.argmax()})"
    return np.zeros(len(labels), np.int64), (), [f"{what}: such labels are no classes, treated as unlabelled"]


def _encode_strings(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    written, place = np.unique(labels, return_inverse=True)
    found, form = np.unique([unicodedata.normalize("NFC", str(name)) for name in written], return_inverse=True)
    inverse = form[place]
    names = [str(name) for name in found]
    by_bytes = sorted(range(len(names)), key=lambda i: names[i].encode("utf-8", "surrogateescape"))
    rank = np.empty(len(names), dtype=np.int64)
    rank[by_bytes] = np.arange(len(names))
    return rank[inverse], tuple(names[i] for i in by_bytes), []


def _encode_integers(labels: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    rows = np.flatnonzero(labels < 0)
    if len(rows) and set(np.unique(labels).tolist()) == {-1, 1} and not classes:
        return (labels > 0).astype(np.int64), ("-1", "1"), []
    if len(rows):
        raise DataError(f"label {labels[rows[0]]} in row {rows[0]} is negative: labels are class indices from 0 up.")
    if classes:
        rows = np.flatnonzero(labels >= len(classes))
        if len(rows):
            raise DataError(
                f"label {labels[rows[0]]} in row {rows[0]} is out of range: there are {len(classes)} class names."
            )
        return labels.astype(np.int64), classes, []
    found, inverse = np.unique(labels, return_inverse=True)
    notes = []
    if found[-1] != len(found) - 1:
        notes.append(f"labels {found[0]} .. {found[-1]} were numbered 0 .. {len(found) - 1}, and keep their names")
    return inverse.astype(np.int64), tuple(str(value) for value in found.astype(np.int64)), notes
