"""Classifier two-sample tests: can a classifier tell samples from real examples?"""

from __future__ import annotations

import math

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .score import require


def c2st_knn(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> float:
    """Held-out accuracy of a nearest-neighbour vote, real against generated.

    Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests", section 3, with their number of neighbours, the
    square root of the training count.

    Parameters
    ----------
    x, y : numpy.ndarray
        Real and generated features, ``(N, D)`` and ``(M, D)``, float64; the larger set is thinned to the other's size.
    rng : numpy.random.Generator
        Draws the halves to train and to test on.

    Returns
    -------
    float
        1/2 for equal distributions, 1 where every held-out example is told apart.

    Raises
    ------
    Undefined
        With fewer than 8 rows or features that are not finite.
    """
    neighbours = int(math.sqrt(2 * (min(len(x), len(y)) // 2))) | 1  # odd, so that no vote is tied
    return _held_out_accuracy(KNeighborsClassifier(neighbours, algorithm="brute"), x, y, rng)


def c2st_logistic(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> float:
    """Held-out accuracy of logistic regression on standardised features; see `c2st_knn`."""
    return _held_out_accuracy(make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)), x, y, rng)


def _held_out_accuracy(classifier: ClassifierMixin, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> float:
    require(x, y, 8)
    n = min(len(x), len(y))
    real, fake = x[rng.permutation(len(x))[:n]], y[rng.permutation(len(y))[:n]]
    half = n // 2
    classifier.fit(np.concatenate([real[:half], fake[:half]]), np.repeat([0, 1], half))
    return float(classifier.score(np.concatenate([real[half:], fake[half:]]), np.repeat([0, 1], n - half)))
