"""How near a reconstruction is to its original: in the data's own numbers, in structure, in features."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from .score import Undefined

_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2


def squared_errors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean squared difference of each example ``(N, ...)`` and its reconstruction, ``(N,)``."""
    return np.square(x.astype(np.float64) - y).reshape(len(x), -1).mean(1)


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in decibels, from a mean squared error on the [0, 1] scale.

    Raises
    ------
    Undefined
        For a perfect reconstruction, whose ratio is infinite.
    """
    if mse <= 0:
        raise Undefined("the reconstructions are perfect: the ratio is infinite")
    return -10 * math.log10(mse)


def structural_similarities(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Structural similarity of each image and its reconstruction, ``(N,)``.

    Wang et al. 2004, eq. 13, with the paper's constants and its 11-pixel Gaussian window, over all positions of the
    image, mirrored at its border.

    Parameters
    ----------
    x, y : numpy.ndarray
        Images ``(N, C, H, W)`` on the [0, 1] scale, at least 6 x 6 pixels.
    """

    def smooth(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, _SIGMA, axes=(2, 3), radius=_RADIUS, mode="mirror")

    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return (luminance * (2 * covariance + _C2) / (var_x + var_y + _C2)).mean((1, 2, 3))


def feature_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared feature distance of each pair, relative to that of two unrelated originals, ``(N,)``.

    Two independent originals are ``2 Tr(cov)`` apart in expectation: 0 is perfect, 1 no better than another example.

    Parameters
    ----------
    x, y : numpy.ndarray
        Features of originals and reconstructions, ``(N, D)``, float64.

    Raises
    ------
    Undefined
        With fewer than two originals, or originals that do not differ.
    """
    if len(x) < 2:
        raise Undefined(f"{len(x)} originals; at least 2 are needed")
    spread = 2 * x.var(0, ddof=1).sum()
    if not spread > 0:
        raise Undefined("the originals do not differ in this feature space")
    return np.square(x - y).sum(1) / spread
