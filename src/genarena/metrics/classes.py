"""Are the classes there, in the right shares? Judged by one classifier on real and generated examples alike."""

from __future__ import annotations

import numpy as np

from .score import Undefined

LOST_BELOW = 0.1


def class_shares(classes: np.ndarray, count: int) -> np.ndarray:
    """Share of each of ``count`` classes among predicted indices ``(N,)``; raises `Undefined` on none."""
    if not len(classes):
        raise Undefined("no samples")
    return np.bincount(classes, minlength=count) / len(classes)


def class_total_variation(real: np.ndarray, fake: np.ndarray, count: int) -> float:
    """Half the summed absolute difference of the class shares: the share of samples that would have to change class.

    Both shares come from the classifier's predictions, so that its own errors cancel where the distributions agree.

    Raises
    ------
    Undefined
        Where a set is empty or the real examples are of one class.
    """
    p, q = class_shares(real, count), class_shares(fake, count)
    if (p > 0).sum() < 2:
        raise Undefined("the reference holds one class only")
    return float(np.abs(p - q).sum() / 2)


def lost_classes(real: np.ndarray, fake: np.ndarray, count: int) -> float:
    """Share of the real classes that get less than a tenth of their real share.

    Raises
    ------
    Undefined
        Where a set is empty or the real examples are of one class.
    """
    p, q = class_shares(real, count), class_shares(fake, count)
    present = p > 0
    if present.sum() < 2:
        raise Undefined("the reference holds one class only")
    return float((q[present] < LOST_BELOW * p[present]).mean())
