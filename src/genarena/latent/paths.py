"""How fast images change along ways through latent space: perceptual path length (Karras et al. 2019, section 4.1).

Where we differ from the paper: features are those of a fixed random network instead of VGG-16, so figures compare within one
data set alone; the quotient is taken in double precision; nothing is cropped and no outlier is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import CapabilityError, UsageError, whole
from ..fitted import FittedModel, copy_of, slerp
from ..nets.features import random_features
from .space import require_decoder

EPSILON = 1e-4  # the paper's step
_BATCH = 32


def perceptual_path_lengths(
    fitted: FittedModel, n: int = 500, seed: int = 0, *, noise: bool = False, epsilon: float = EPSILON
) -> np.ndarray:
    """Squared distance of features per squared step, at one place on each of `n` ways between two draws.

    Parameters
    ----------
    fitted : FittedModel
        That samples and decodes.
    n : int
        Number of ways; their mean is the path length.
    seed : int
        Of the draws and the places.
    noise : bool
        Ways through the noise that a mapping network takes (the z of a StyleGAN) instead of through its latents (w).
    epsilon : float
        Step, as a share of the way.

    Returns
    -------
    numpy.ndarray
        ``(n,)``: ||f(G(path(t))) - f(G(path(t + epsilon)))||^2 / epsilon^2, with t even on [0, 1]. Ways are arcs where draws
        are normal and straight lines otherwise; a class stays that of the way's start.

    Raises
    ------
    CapabilityError
        Where the model has no prior or no decoder, or `noise` is asked of a model without a mapping network.
    UsageError
        Where `n` or `epsilon` is not positive.
    """
    require_decoder(fitted)
    n, seed = whole(n, "n", 1), whole(seed, "seed")
    if not 0 < epsilon < 1:
        raise UsageError(f"epsilon={epsilon:g}: give a step between 0 and 1.")
    reason = fitted.capabilities()["sample"]
    if reason is not None:
        raise CapabilityError(f"{fitted.name} has {reason}.")
    model = copy_of(fitted.model).double()
    mapping: Any = getattr(model, "styles", None)
    if noise and mapping is None:
        raise CapabilityError(f"{fitted.name} has no mapping network: its latents are the noise.")
    rng = np.random.default_rng(seed)
    if noise:
        start, end = model.shape_noise(torch.from_numpy(rng.standard_normal((2, n, model.latent_dim)))).numpy()
    else:
        start, end = (fitted.latents(n, int(s)).astype(np.float64) for s in rng.integers(2**31, size=2))
    t = rng.random((n, 1))
    arc = model.config.prior == "normal" if noise else not model.straight
    near, far = (_between(start, end, at, arc, 0 if noise else model.classes) for at in (t, t + epsilon))
    features: Any = random_features(fitted.spec, 0).double()
    lengths = []
    with torch.inference_mode():
        for rows in np.array_split(np.arange(n), -(-n // _BATCH)):
            pair = torch.from_numpy(np.concatenate([near[rows], far[rows]]))
            here, there = features.features(model.decode(mapping(pair) if noise else pair)).chunk(2)
            lengths.append((here - there).square().sum(1) / epsilon**2)
    return torch.cat(lengths).numpy()


def _between(start: np.ndarray, end: np.ndarray, t: np.ndarray, arc: bool, classes: int) -> np.ndarray:
    """Points on the ways from `start` to `end`, at `t` of them; the columns of the class are the start's."""
    size = start.shape[1] - classes
    a, b = start[:, :size], end[:, :size]
    return np.concatenate([slerp(a, b, t) if arc else a + t * (b - a), start[:, size:]], 1)
