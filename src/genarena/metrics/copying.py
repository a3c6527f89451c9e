"""Does a model copy its training data? Two tests of the distance from samples to the nearest training example."""

from __future__ import annotations

import numpy as np
from scipy.stats import ranksums
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from .score import Undefined

LEAST_IN_CELL = 10


class TrainingSet:
    """The training examples' features, indexed for nearest-neighbour questions.

    Parameters
    ----------
    train : numpy.ndarray
        Features ``(N, D)``, float64; at most 64 dimensions, where nearest neighbours still mean something.
    cells : int
        Number of k-means cells that `c_t` averages over.
    seed : int
        Of the k-means start.
    """

    def __init__(self, train: np.ndarray, cells: int, seed: int):
        self.train = train
        self.index = NearestNeighbors(algorithm="brute").fit(train)
        self.cells = KMeans(cells, n_init=1, random_state=seed).fit(train)

    def nearest(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance to the nearest training example ``(M,)``, and its row ``(M,)``."""
        distance, row = self.index.kneighbors(y, 1)
        return distance[:, 0], row[:, 0]

    def authentic(self, distance: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Whether each sample is further from its nearest training example than that one's own nearest neighbour is.

        Alaa et al. 2022, "How faithful is your synthetic data?".
        """
        rows, inverse = np.unique(row, return_inverse=True)
        # a training example's first neighbour is itself, so its own nearest is the second
        own = self.index.kneighbors(self.train[rows], 2)[0][:, 1]
        return distance > own[inverse]

    def cell(self, y: np.ndarray) -> np.ndarray:
        """The k-means cell of each sample, ``(M,)``."""
        return self.cells.predict(y)


def c_t(test: np.ndarray, fake: np.ndarray, test_cell: np.ndarray, fake_cell: np.ndarray) -> float:
    """Data-copying statistic: are samples nearer to the training data than unseen real examples are?

    Within each cell, the z-score of the Mann-Whitney U of the distances to the training set, averaged over the cells
    with the test set's shares (Meehan, Chaudhuri & Dasgupta 2020, "A non-parametric test to detect data-copying in
    generative models").

    Parameters
    ----------
    test, fake : numpy.ndarray
        Distance to the nearest training example, of test examples ``(N,)`` and of samples ``(M,)``.
    test_cell, fake_cell : numpy.ndarray
        Their cells.

    Returns
    -------
    float
        About standard normal for a perfect model of one cell; far below 0 copies, far above 0 underfits.

    Raises
    ------
    Undefined
        Where no cell holds 10 of both, or distances are not finite.
    """
    if not (np.isfinite(test).all() and np.isfinite(fake).all()):
        raise Undefined("some distances to the training data are not finite")
    scores, weights = [], []
    for cell in np.unique(test_cell):
        real, made = test[test_cell == cell], fake[fake_cell == cell]
        if min(len(real), len(made)) >= LEAST_IN_CELL:
            scores.append(ranksums(made, real).statistic)
            weights.append(len(real))
    if not scores:
        raise Undefined(f"no region of the data holds {LEAST_IN_CELL} test examples and {LEAST_IN_CELL} samples")
    return float(np.average(scores, weights=weights))


def authenticity(authentic: np.ndarray) -> float:
    """Share of authentic samples (see `TrainingSet.authentic`); read against that of unseen real examples."""
    if not len(authentic):
        raise Undefined("no samples")
    return float(authentic.mean())
