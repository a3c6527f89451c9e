"""Fidelity and diversity from nearest-neighbour balls: precision, recall, density, coverage."""

from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors

from .score import Undefined, require

_ROWS = 1024
_TIE = 1e-10  # of the largest squared norm: what rounding may do to a squared distance, and no more


def manifold_scores(x: np.ndarray, y: np.ndarray, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of samples ``y`` against real ``x``, in one pass over the distances.

    A real (or generated) manifold is the union of balls around its points, each reaching to the point's k-th neighbour
    in its own set. Precision is the share of samples inside the real one, recall the share of real points inside the
    generated one (Kynkäänniemi et al. 2019, "Improved precision and recall metric", eqs. 1 and 2); neither is 1 for equal
    distributions, so they are read against the floor. Density is the mean number of real balls around a sample over ``k``,
    1 in expectation for equal distributions and unbounded above; coverage the share of real balls that hold a sample, then
    `null_coverage` (Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", section 3).

    Parameters
    ----------
    x, y : numpy.ndarray
        Real and generated features, ``(N, D)`` and ``(M, D)``, float64.
    k : int
        The neighbour that sets a ball's radius.

    Raises
    ------
    Undefined
        Where a set has no more than ``k`` points, or features that are not finite.
    """
    require(x, y, k + 1)
    radius_x, radius_y = _radii(x, k), _radii(y, k)
    inside = np.zeros(len(y), dtype=np.int64)  # real balls that hold each sample
    recalled, covered = 0, 0
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        distance = euclidean_distances(x[rows], y)
        held = distance <= radius_x[rows, None]
        inside += held.sum(0)
        covered += int(held.any(1).sum())
        recalled += int((distance <= radius_y).any(1).sum())
    return {
        "precision": float((inside > 0).mean()),
        "recall": recalled / len(x),
        "density": float(inside.mean() / k),
        "coverage": covered / len(x),
    }


def in_manifold(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """Whether each of ``y`` ``(M, D)`` lies in some ball of the real manifold of ``x``: ``(M,)`` of bool.

    Unlike `manifold_scores` it asks nothing of the number of ``y``. Raises `Undefined` as that does.
    """
    require(x, y, 1)
    require(x, x, k + 1)
    radius = _radii(x, k)
    return np.concatenate(
        [(euclidean_distances(y[i : i + _ROWS], x) <= radius).any(1) for i in range(0, len(y), _ROWS)]
    )


def null_coverage(n: int, m: int, k: int) -> float:
    """Expected coverage of ``n`` real points by ``m`` samples of the same distribution.

    A ball stays empty exactly where the k nearest of the other ``n - 1 + m`` exchangeable points are all real
    (Naeem et al. 2020, section 3, here for unequal counts).
    """
    index = np.arange(k)
    return float(1 - np.prod((n - 1 - index) / (n + m - 1 - index)))


def null_k(n: int, m: int, level: float = 0.95) -> int:
    """The smallest ``k`` whose `null_coverage` reaches ``level``.

    Raises
    ------
    Undefined
        Where no ``k < n`` reaches it.
    """
    for k in range(1, n):
        if null_coverage(n, m, k) >= level:
            return k
    raise Undefined(f"{n} real and {m} generated points are too few for a coverage of {level}")


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance of each point to its k-th neighbour in its own set, itself not counted.

    A hair more, so that a point which lies as far away as that, or at the same place, is within reach.
    """
    radius = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors()[0][:, -1]
    return np.sqrt(radius**2 + _TIE * np.square(points).sum(1).max())
