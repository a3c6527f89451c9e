"""Splits made by a hash of each example's content.

The order of files or rows cannot move an example from one split to another, and exact duplicates stay together, so
that no test example was also trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from ..errors import DataError

FEWEST = 3  # examples: one a split
TEST_SHARE, VAL_SHARE, LARGEST = 0.2, 0.1, 5_000


def content_hashes(values: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash (BLAKE2b) of each row's bytes, as uint64 ``(N,)``.

    The order of float64 rows is that of their hashes in float32, so that a table has the same splits with all its digits
    and with few; the lower half tells rows apart that differ in the others.
    """
    if values.dtype == np.float64:
        few = _hashes(values.astype(np.float32)) if np.abs(values).max(initial=0) < 3e38 else _hashes(values)
        return few >> 32 << 32 | _hashes(values) >> 32
    return _hashes(values)


def _hashes(values: np.ndarray) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in values)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def make_splits(
    values: np.ndarray, given: Mapping[str, np.ndarray], among: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Complete the given splits to ``train``, ``val`` and ``test``.

    Without a test split, 20 % of the examples (5,000 at most) become one; without a val split, 10 % of the remaining
    training examples (5,000 at most). The examples with the smallest hashes are taken. Splits given without a
    ``train`` are pooled and split anew, since nothing can be trained on otherwise.

    Parameters
    ----------
    values : numpy.ndarray
        All examples, first axis N.
    given : mapping of str to numpy.ndarray
        The splits that the source fixes; may be empty.
    among : numpy.ndarray, optional
        The examples that are split, bool ``(N,)``; all by default.

    Returns
    -------
    splits : dict of str to numpy.ndarray
        Sorted, disjoint, non-empty int64 indices.
    notes : list of str
        What was made, and how many exact copies splits share.

    Raises
    ------
    DataError
        If there are too few examples for non-empty splits.
    """
    usable = np.ones(len(values), bool) if among is None else among
    splits = {name: rows[usable[rows]] for name, rows in _as_indices(given) if usable[rows].any()}
    notes = []
    if "train" not in splits:
        if splits:
            notes.append(f"only {' and '.join(splits)} examples were given: pooled and split anew by content")
        splits = {"train": np.flatnonzero(usable)}
    needed = FEWEST - sum(name in splits for name in ("val", "test"))
    if len(splits["train"]) < needed:
        raise DataError(
            f"{len(splits['train'])} example(s) are too few: train, val and test need at least one each, so give "
            f"{needed} or more to train on."
        )
    missing = [name for name in ("test", "val") if name not in splits]
    hashes = content_hashes(values)
    for name in missing:
        share = TEST_SHARE if name == "test" else VAL_SHARE
        rows = splits["train"]
        count = min(max(1, round(share * len(rows))), LARGEST)
        still_needed = 2 if name == "test" and "val" in missing else 1
        splits[name], splits["train"] = _cut(rows, hashes, count, still_needed)
        notes.append(f"{name}: {len(splits[name])} of {len(rows)} examples, set apart by a hash of their content")
    return {name: np.sort(splits[name]) for name in ("train", "val", "test")}, notes + _leaks(hashes, splits)


def _leaks(hashes: np.ndarray, splits: Mapping[str, np.ndarray]) -> list[str]:
    """A warning for each split that shares exact copies with earlier ones: those that come with the data may."""
    warnings = []
    for split, earlier in (("val", ["train"]), ("test", ["train", "val"])):
        copies = {other: np.isin(hashes[splits[split]], hashes[splits[other]]) for other in earlier}
        count = int(np.logical_or.reduce(list(copies.values())).sum())
        if count:
            where = " and ".join(other for other, found in copies.items() if found.any())
            warnings.append(
                f"warning: {count} of the {len(splits[split])} {split} examples are also in {where}, exactly alike: what is "
                "measured on them says too little. Remove them from one of the two"
            )
    return warnings


def _as_indices(given: Mapping[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    return [(name, np.asarray(rows, dtype=np.int64)) for name, rows in given.items()]


def _cut(rows: np.ndarray, hashes: np.ndarray, count: int, reserve: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut about ``count`` rows off, between different contents where possible, leaving at least ``reserve``."""
    order = rows[np.argsort(hashes[rows], kind="stable")]
    ordered = hashes[order]
    edges = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    edges = edges[edges <= len(rows) - reserve]
    end = int(edges[np.abs(edges - count).argmin()]) if edges.size else count
    return order[:end], order[end:]
