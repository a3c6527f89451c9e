"""Kernel distance: the squared maximum mean discrepancy under a cubic polynomial kernel."""

from __future__ import annotations

import numpy as np

from .score import require

_ROWS = 1024


def kid(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD with the kernel ``(a.b / D + 1)^3`` (Bińkowski et al. 2018, "Demystifying MMD GANs").

    Parameters
    ----------
    x, y : numpy.ndarray
        Features ``(N, D)`` and ``(M, D)``, float64, at least two rows each.

    Returns
    -------
    float
        Zero in expectation for equal distributions; small negative values are legal.

    Raises
    ------
    Undefined
        With fewer than two rows or features that are not finite.
    """
    require(x, y, 2)
    n, m = len(x), len(y)
    same_x = _kernel_sum(x, x) - _kernel(np.einsum("nd,nd->n", x, x), x.shape[1]).sum()
    same_y = _kernel_sum(y, y) - _kernel(np.einsum("nd,nd->n", y, y), y.shape[1]).sum()
    return float(same_x / (n * (n - 1)) + same_y / (m * (m - 1)) - 2 * _kernel_sum(x, y) / (n * m))


def _kernel(products: np.ndarray, dim: int) -> np.ndarray:
    base = products / dim + 1
    return base * base * base


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """The kernel summed over all pairs, a block of rows at a time."""
    return sum(float(_kernel(x[i : i + _ROWS] @ y.T, x.shape[1]).sum()) for i in range(0, len(x), _ROWS))
