"""Fidelity and diversity from nearest-neighbour balls: precision, recall, density, coverage."""

from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors

from .score import Undefined, require

_ROWS = 1024


def manifold_scores(x: np.ndarray, y: np.ndarray, k: int) -> dict[str, float]:
    """Precision, recall, density and coverage of samples ``y`` against real ``x``, in one pass over the distances.

    A real (or generated) manifold is the union of balls around its points, each reaching to the point's k-th neighbour
    in its own set. See `precision_recall` and `density_coverage` for what is made of it.

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


def precision_recall(x: np.ndarray, y: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Share of samples inside the real manifold, and of real points inside the generated one.

    Kynkäänniemi et al. 2019, "Improved precision and recall metric", eqs. 1 and 2. Neither is 1 for equal
    distributions: in many dimensions both fall well below, so they are read against the floor. Parameters as in
    `manifold_scores`.
    """
    scores = manifold_scores(x, y, k)
    return scores["precision"], scores["recall"]


def density_coverage(x: np.ndarray, y: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Mean number of real balls around a sample over ``k``, and share of real balls that hold a sample.

    Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", section 3. For equal
    distributions density is 1 in expectation (it is unbounded above) and coverage `null_coverage`. Parameters as in
    `manifold_scores`.
    """
    scores = manifold_scores(x, y, k)
    return scores["density"], scores["coverage"]


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
    """Distance of each point to its k-th neighbour in its own set, itself not counted."""
    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points).kneighbors()[0][:, -1]
