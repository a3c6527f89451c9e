"""Fréchet distance between feature distributions, and its limit for infinitely many samples."""

from __future__ import annotations

import numpy as np

from .score import require

SIZES = 15


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Fréchet distance between the Gaussians fitted to two sets of features.

    ``|mu_x - mu_y|^2 + Tr(S_x + S_y - 2 (S_x S_y)^(1/2))`` (Heusel et al. 2017, eq. 6, in any feature space). The last
    trace is the sum of the square roots of the eigenvalues of the symmetric ``S_x^(1/2) S_y S_x^(1/2)``, which has the
    spectrum of ``S_x S_y`` and stays real where a covariance is singular.

    Parameters
    ----------
    x, y : numpy.ndarray
        Features ``(N, D)`` and ``(M, D)``, float64, at least two rows each.

    Raises
    ------
    Undefined
        With fewer than two rows or features that are not finite.
    """
    require(x, y, 2)
    difference = x.mean(0) - y.mean(0)
    s_x, s_y = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    values, vectors = np.linalg.eigh(s_x)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ s_y @ root)
    trace = np.trace(s_x) + np.trace(s_y) - 2 * np.sqrt(np.clip(cross, 0, None)).sum()
    return float(difference @ difference + trace)


def frechet_infinity(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> float:
    """Fréchet distance extrapolated to infinitely many samples, by a fit of ``a + b / N``; returns ``a``.

    The distance's bias falls as 1/N with a slope that depends on the model, so that it can turn a ranking round (Chong
    & Forsyth 2020, "Effectively unbiased FID and Inception Score and where to find them"). The paper thins the samples
    only; here the reference is thinned with them, since a small reference has the same bias. Near zero the result can
    be negative.

    Parameters
    ----------
    x, y : numpy.ndarray
        Features ``(N, D)`` and ``(M, D)``, float64.
    rng : numpy.random.Generator
        Draws the subsets.

    Raises
    ------
    Undefined
        With fewer than 8 rows or features that are not finite.
    """
    require(x, y, 8)
    largest = min(len(x), len(y))
    # below about three samples a dimension the bias is not yet linear in 1/N
    smallest = min(max(largest // 10, 3 * x.shape[1], 4), largest // 2)
    inverse = np.linspace(1 / smallest, 1 / largest, SIZES)
    sizes = np.round(1 / inverse).astype(int)
    distances = [
        frechet_distance(
            x[rng.choice(len(x), size, replace=False, shuffle=False)],
            y[rng.choice(len(y), size, replace=False, shuffle=False)],
        )
        for size in sizes
    ]
    _, limit = np.polyfit(1 / sizes, distances, 1)
    return float(limit)
