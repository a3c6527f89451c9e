"""The Inception Score (Salimans et al. 2016), of whichever classifier the evaluator has.

Named after the classifier of its paper; with another one the numbers compare with no published value. It looks at samples
alone: a model that has learnt one perfect example of every class, and nothing else, has the best score.
"""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr

from .score import Undefined


def inception_score(probabilities: np.ndarray) -> float:
    """exp(E_x KL(p(y | x) || p(y))) of class probabilities ``(N, K)``: from 1 (all alike, or all unsure) to K.

    Raises
    ------
    Undefined
        Where there are none.
    """
    if not len(probabilities):
        raise Undefined("no samples")
    p = np.asarray(probabilities, dtype=np.float64)
    return float(np.exp(rel_entr(p, p.mean(0)).sum(1).mean()))


def intra_class_scores(probabilities: np.ndarray, classes: np.ndarray) -> dict[int, float]:
    """The score within each class that was asked for ``(N,)``: 1 where all its samples look like one class."""
    return {int(index): inception_score(probabilities[classes == index]) for index in np.unique(classes)}
