"""How evenly interpolations move: path length in feature space, and jumps."""

from __future__ import annotations

import numpy as np

from .score import Undefined


def path_lengths(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length and largest step of paths through a feature space.

    A discrete form of the perceptual path length (Karras et al. 2019, section 4.1), relative to the straight distance
    of the endpoints, so that a generator which hardly varies does not win.

    Parameters
    ----------
    features : numpy.ndarray
        ``(P, T, D)``: of ``T >= 3`` decoded points along each of ``P`` interpolations.

    Returns
    -------
    relative length : numpy.ndarray
        ``(P',)``, at least 1 (a straight line), of the paths whose endpoints differ.
    largest share : numpy.ndarray
        ``(P',)``, largest step over the length: ``1 / (T - 1)`` for an even path, 1 for a single jump.

    Raises
    ------
    Undefined
        With fewer than three points, features that are not finite, or endpoints that all coincide.
    """
    if features.ndim != 3 or features.shape[0] < 1 or features.shape[1] < 3:
        raise Undefined("an interpolation needs at least three points")
    if not np.isfinite(features).all():
        raise Undefined("the features of some interpolated points are not finite")
    steps = np.linalg.norm(np.diff(features, axis=1), axis=2)
    straight = np.linalg.norm(features[:, -1] - features[:, 0], axis=1)
    moving = straight > 1e-9 * max(1.0, float(np.abs(features).max()))
    if not moving.any():
        raise Undefined("the endpoints of every interpolation coincide")
    length = steps[moving].sum(1)
    return length / straight[moving], steps[moving].max(1) / length
