"""Directions in latent space that mean something: from labels, and from where the variation is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..data import Dataset
from ..errors import DataError, UsageError, whole
from ..fitted import BATCH, FittedModel
from ..kinds import kind_of
from ..nets.features import random_features
from .space import Direction, LatentSpace, normalised

MOST = 5000  # examples that a labeller or a direction is made from

Labeller = Callable[[np.ndarray], np.ndarray]


def attribute_direction(
    space: LatentSpace, codes: np.ndarray, labels: np.ndarray, attribute: int, other: int | None = None
) -> Direction:
    """From the mean code of the rest, or of another class, to the mean code of a class (Larsen et al. 2016, section 4.1.1).

    Parameters
    ----------
    space : LatentSpace
    codes : numpy.ndarray
        Latents of labelled examples ``(N, L)`` or ``(N, L + K)``; see `codes_of`, and `labelled_latents` for a GAN.
    labels : numpy.ndarray
        Class indices ``(N,)``.
    attribute, other : int
        Class indices.

    Raises
    ------
    UsageError
        Where no code is of a class.
    """
    noise = codes[:, : space.draws.shape[1]]
    away = labels != attribute if other is None else labels == other
    for rows, what in (
        (labels == attribute, f"class {attribute}"),
        (away, "another class" if other is None else f"class {other}"),
    ):
        if not rows.any():
            raise UsageError(f"none of the {len(labels)} codes is of {what}, so there is no direction.")
    return space.along(noise[labels == attribute].mean(0) - noise[away].mean(0))


def labelled_latents(
    fitted: FittedModel, labeller: Labeller, n: int = MOST, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws from the prior, and the class that a labeller sees in what they decode to (Shen et al. 2020, section 3.1).

    Parameters
    ----------
    fitted : FittedModel
    labeller : callable
        Stored values ``(N, ...)`` -> class indices ``(N,)``.
    n, seed : int

    Returns
    -------
    latents, labels : numpy.ndarray
        ``(n, L)`` and ``(n,)``.
    """
    z = fitted.latents(n, seed)
    return z, np.asarray(labeller(fitted.decode(z)))


def linear_labeller(dataset: Dataset, seed: int = 0) -> Labeller:
    """A logistic regression on frozen random features, fitted to the train split.

    Raises
    ------
    DataError
        Where the data have no labels, or one class only.
    """
    labels = dataset.labels("train")
    if labels is None or len(np.unique(labels)) < 2:
        raise DataError(f"'{dataset.name}' has no labels of two classes to learn from.")
    seed = whole(seed, "seed")
    rows = np.random.default_rng(seed).permutation(len(labels))[:MOST]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))
    spec = dataset.schema.target
    classifier.fit(_features(spec, dataset.values("train")[rows], seed), labels[rows])
    return lambda values: classifier.predict(_features(spec, values, seed))


def _features(spec: Any, values: np.ndarray, seed: int) -> np.ndarray:
    net: Any = random_features(spec, seed)
    kind = kind_of(spec)
    with torch.inference_mode():
        parts = kind.to_tensor(values).split(BATCH)
        return torch.cat([net.features(kind.normalise(part, spec)) for part in parts]).numpy()


def principal_directions(
    fitted: FittedModel, k: int, n: int = 2000, seed: int = 0, values: np.ndarray | None = None
) -> list[Direction]:
    """Up to `k` directions in which latents vary most, first the one with most (Härkönen et al. 2020, GANSpace).

    Of a StyleGAN, the principal components of its styles w (section 2.2). Of a model with an encoder, those of the codes
    of `values`. Noise that is the same in all directions has none: there the principal components of what is decoded are
    carried back to the noise by regression (section 2.2, with the outputs in place of an early layer); of a model that is
    told classes, within classes.

    Parameters
    ----------
    fitted : FittedModel
    k, n, seed : int
        Directions; draws; seed of the draws.
    values : numpy.ndarray, optional
        Stored values of examples, ``(N, ...)``.

    Raises
    ------
    UsageError
        For k < 1.
    """
    if k < 1:
        raise UsageError(f"k={k}: ask for at least one direction.")
    space = LatentSpace.of(fitted, values, seed)
    if values is not None and fitted.capabilities()["encode"] is None:
        found = fitted.encode(values)[:, : space.draws.shape[1]]
    elif not space.isotropic:
        found = space.draws
    else:
        return [space.along(_signed(vector)) for vector in _carried_back(fitted, space, k, n, seed)]
    vectors = PCA(min(k, *found.shape), random_state=seed).fit(found).components_
    return [space.along(_signed(vector)) for vector in vectors]


def _carried_back(fitted: FittedModel, space: LatentSpace, k: int, n: int, seed: int) -> np.ndarray:
    """Least squares of the noise on the principal scores of what it decodes to, ``(k, L)``."""
    z = fitted.latents(n, seed)
    noise = z[:, : space.draws.shape[1]]
    x = normalised(fitted, fitted.decode(z)).flatten(1).numpy()
    drawn = z[:, noise.shape[1] :].argmax(1) if space.classes else np.zeros(n, int)
    for index in np.unique(drawn):
        x[drawn == index] -= x[drawn == index].mean(0)
    scores = PCA(min(k, noise.shape[1], *x.shape), random_state=seed).fit_transform(x)
    # Scores are uncorrelated, so that every coefficient stands alone.
    return (scores.T @ (noise - noise.mean(0))) / np.square(scores).sum(0)[:, None].clip(1e-12)


def _signed(vector: np.ndarray) -> np.ndarray:
    """The vector or its opposite, whichever has its largest entry positive."""
    return vector * np.sign(vector[np.abs(vector).argmax()])
