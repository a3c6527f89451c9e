"""What every source hands over before specs and splits are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

import numpy as np

from .fields import Field, Quarantined

Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)``."""

MAX_BYTES = 20 * 10**9
"""No source is read into more memory (or memory-mapped disk) than this."""

_CHUNK = 2**20

SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "t10k": "test",
}
"""Every spelling of a split that sources honour, lower case."""


@dataclass
class Raw:
    """A source's examples as read.

    Attributes
    ----------
    name : str
        For people.
    values : numpy.ndarray
        Images ``(N, C, H, W)`` as numbers of any type, not read as codes yet, or rows of float64 ``(N, D)``.
    labels : numpy.ndarray or None
        Of integers or strings, one for each example that has one; not checked yet.
    classes : tuple of str
        Names of the integer labels where the source gives them.
    splits : dict of str to numpy.ndarray
        The row indices of the splits that the source fixes itself.
    conditions : dict of str to Field
        Further fields, such as the true factors of generated images.
    levels : int or None
        The number of grey levels where it is known, and the values are codes; None to infer it.
    measures : numpy.ndarray or None
        Of the numbers in each file, before they were resized (`ranges.MEASURES`); None where the values tell all.
    resized : int
        How many images were cropped or resized.
    background : {"", "white", "black"}
        What transparency was laid on; empty where there was none.
    files : list of str
        The file of each example, as a path within the source, where each has one.
    labelled : numpy.ndarray or None
        Which examples have a label, bool ``(N,)``; None where all have.
    columns : tuple of str
        Names of the columns of rows, where there are any.
    """

    name: str
    values: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    conditions: dict[str, Field] = field(default_factory=dict)
    levels: int | None = None
    measures: np.ndarray | None = None
    resized: int = 0
    background: str = ""
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    labelled: np.ndarray | None = None
    columns: tuple[str, ...] = ()


def fill(content: np.ndarray, stream: IO[bytes]) -> int:
    """Fill an array ``(N,)`` of uint8 from a stream; return how many bytes there were, one more than N if there are more."""
    there = 0
    while there < len(content) and (part := stream.read(min(_CHUNK, len(content) - there))):
        content[there : there + len(part)] = np.frombuffer(part, np.uint8)
        there += len(part)
    return there + len(stream.read(1))


def consecutive(counts: dict[str, int]) -> dict[str, np.ndarray]:
    """Return the row indices of splits that lie one after the other, with the given numbers of rows."""
    splits, start = {}, 0
    for name, count in counts.items():
        splits[name] = np.arange(start, start + count)
        start += count
    return splits
