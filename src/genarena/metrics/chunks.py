"""Measure examples a few at a time: memory then depends on the size of an image and not on how many there are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_VALUES = 2**24  # of one array at a time


def by_chunk(measure: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """``measure(*arrays)`` of a measure that gives one row an example, computed on consecutive parts.

    Parameters
    ----------
    measure : callable
        Of arrays ``(N, ...)``, giving ``(N, ...)``; each row depends on that example alone.
    *arrays : numpy.ndarray
        All with the same N.
    """
    count = len(arrays[0])
    size = max(1, _VALUES // max(1, arrays[0][:1].size))
    if count <= size:
        return measure(*arrays)
    return np.concatenate([measure(*(a[i : i + size] for a in arrays)) for i in range(0, count, size)])
