"""How the latents of a fitted model are spread: the unit of every edit.

Shapes: M draws, L dimensions of the noise, K classes. Latents are ``(N, L)``, or ``(N, L + K)`` where a model is told classes,
one-hot in the last columns; those of a StyleGAN may also be ``(N, layers, L)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from ..errors import CapabilityError, UsageError
from ..fitted import FittedModel
from ..game import Model

DRAWS = 4000
_SIGMAS = 6.0  # standard errors within which a moment counts as the standard normal's


@dataclass(frozen=True)
class Direction:
    """A way to go in latent space.

    Attributes
    ----------
    vector : numpy.ndarray
        Unit length, ``(L,)``, or ``(L + K,)`` with zeros in the columns of the class.
    scale : float
        Standard deviation of the model's latents along it: the unit of amounts.
    """

    vector: np.ndarray
    scale: float


@dataclass(frozen=True)
class LatentSpace:
    """Draws of a model's latents, and what they show.

    Attributes
    ----------
    draws : numpy.ndarray
        ``(M, L)``, without the columns of the class.
    classes : int
        K.
    """

    draws: np.ndarray
    classes: int = 0

    @classmethod
    def of(cls, fitted: FittedModel, values: np.ndarray | None = None, seed: int = 0) -> LatentSpace:
        """Draws from the prior; of a model without one, the codes of examples ``(N, ...)``.

        Raises
        ------
        CapabilityError
            Where the model has no decoder, or neither prior nor examples are there.
        """
        require_decoder(fitted)
        classes = fitted.model.classes
        reason = fitted.capabilities()["sample"]
        if reason is not None and values is None:
            raise CapabilityError(f"{fitted.name} has {reason}; name data whose codes can stand in for one.")
        z = fitted.latents(DRAWS, seed) if reason is None else fitted.encode(np.asarray(values))
        return cls(z[:, : z.shape[1] - classes], classes)

    @cached_property
    def centre(self) -> np.ndarray:
        """The mean latent ``(L,)``; exactly zero of a standard normal prior."""
        return np.zeros(self.draws.shape[1], np.float32) if self.normal else self.draws.mean(0)

    @cached_property
    def spread(self) -> np.ndarray:
        """Standard deviation by dimension, ``(L,)``; 1 where it cannot be told, and of a standard normal prior."""
        spread = self.draws.std(0)
        return np.where((spread > 0) & (not self.normal), spread, 1).astype(np.float32)

    @cached_property
    def isotropic(self) -> bool:
        """Whether no direction has more variance than chance gives it (the edge of Marchenko & Pastur 1967, and a tenth)."""
        count, dimensions = self.draws.shape
        variances = np.linalg.svd(self.draws - self.draws.mean(0), compute_uv=False) ** 2 / count
        edge = (1 + math.sqrt(dimensions / count)) ** 2
        return bool(variances[0] <= 1.1 * edge * variances.sum() / dimensions)

    @cached_property
    def normal(self) -> bool:
        """Whether the draws look standard normal by their first, second and fourth moments."""
        count = len(self.draws)
        if count < DRAWS:
            return False
        centred = np.abs(self.draws.mean(0)).max() < _SIGMAS / math.sqrt(count)
        unit = np.abs(self.draws.var(0) - 1).max() < _SIGMAS * math.sqrt(2 / count)
        fourth = np.mean(self.draws.astype(np.float64) ** 4)
        gaussian = abs(fourth - 3) < _SIGMAS * math.sqrt(96 / self.draws.size)
        return bool(centred and unit and gaussian) and self.isotropic

    def along(self, vector: np.ndarray) -> Direction:
        """The direction of a vector ``(L,)``.

        Raises
        ------
        UsageError
            Where it has no length.
        """
        length = float(np.linalg.norm(vector))
        if not length > 0:
            raise UsageError("the direction has no length: both ends are the same.")
        unit = (vector / length).astype(np.float32)
        scale = 1.0 if self.normal else float((self.draws @ unit).std())
        return Direction(np.pad(unit, (0, self.classes)), scale)

    def axes(self) -> list[Direction]:
        """Every dimension as a direction."""
        eye = np.eye(len(self.spread), len(self.spread) + self.classes, dtype=np.float32)
        return [Direction(vector, float(scale)) for vector, scale in zip(eye, self.spread, strict=True)]


def require_decoder(fitted: FittedModel) -> None:
    """Raise `CapabilityError` where nothing turns latents into data."""
    if type(fitted.model).decode is Model.decode:
        raise CapabilityError(f"{fitted.name} has no decoder: nothing turns latents into data.")


def checked_amounts(amounts: Sequence[float]) -> np.ndarray:
    """Amounts as float32 ``(A,)``; `UsageError` where there are none, or one is no number."""
    try:
        found = np.asarray(amounts, np.float32)
    except (TypeError, ValueError):
        found = np.empty(0, np.float32)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise UsageError(f"amounts {amounts!r} are not numbers: give some, such as -3, 0, 3.")
    return found


def normalised(fitted: FittedModel, values: np.ndarray) -> Tensor:
    """Stored values as networks see them, after checking that they are such."""
    return fitted._normalise(fitted._stored(values))


def measured(fitted: FittedModel, values: np.ndarray, function: Callable[[Tensor], Tensor]) -> np.ndarray:
    """A function of normalised examples, over stored values of any number."""
    return fitted._map(fitted._stored(values), lambda v: function(fitted._normalise(v)))
