"""Find the latents of given examples by gradient, for models without an encoder and beyond what an encoder does.

Adam on the latents (Abdal et al. 2019, "Image2StyleGAN") minimises the squared error of values plus that of a frozen random
network's features, which see layout and texture from further away than values do, each as a share of the variance between
the model's own examples, plus a weak pull to the middle of the prior. Of several starts, the best end is kept.

Shapes: N examples, R starts of each, L dimensions of the noise, K classes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UsageError, whole
from ..fitted import FittedModel
from ..game import one_hot
from ..nets.features import random_features
from .space import LatentSpace, normalised

STEPS = 300
STARTS = 4
POOL = 500  # draws among which starts are sought
RATE = 0.1  # of Adam at the first step, in standard deviations of the prior; it falls to zero along a cosine
PRIOR = 1e-3  # weight of the mean squared distance from the middle of the prior, in its standard deviations
_AT_ONCE = 256  # latents optimised together


class Inversion(NamedTuple):
    """Latents found for examples.

    Attributes
    ----------
    latents : numpy.ndarray
        ``(N, L)``, or ``(N, L + K)`` with the class of the best start.
    loss, before : numpy.ndarray
        What is minimised, at the end and at the best start, ``(N,)``.
    """

    latents: np.ndarray
    loss: np.ndarray
    before: np.ndarray


class _Distance:
    """How unlike decoded and wanted examples are, each part in units of the variance between the model's own examples."""

    def __init__(self, net: nn.Module, pool: Tensor):
        self.net: Any = net
        self.scales = [part.var(0, correction=0).mean().clamp(min=1e-6) for part in self.parts(pool)]

    def parts(self, x: Tensor) -> list[Tensor]:
        """Values and features, ``(N, P)`` and ``(N, F)``."""
        return [x.flatten(1), self.net.features(x)]

    def __call__(self, x: Tensor, wanted: list[Tensor]) -> Tensor:
        """``(N,)``."""
        pairs = zip(self.parts(x), wanted, self.scales, strict=True)
        return torch.stack([(a - b).square().mean(1) / scale for a, b, scale in pairs]).sum(0)

    def between(self, wanted: list[Tensor], pool: list[Tensor]) -> Tensor:
        """Every wanted example against every one of a pool, ``(N, M)``."""
        pairs = zip(wanted, pool, self.scales, strict=True)
        return torch.stack([torch.cdist(a, b).square() / (a.shape[1] * scale) for a, b, scale in pairs]).sum(0)


def invert(
    fitted: FittedModel,
    values: np.ndarray,
    steps: int = STEPS,
    seed: int = 0,
    *,
    labels: np.ndarray | None = None,
    starts: int = STARTS,
) -> Inversion:
    """Latents whose decodings match examples.

    Starts are the draws from the prior that match best and, where the model encodes, the code. A class is not optimised: it is
    that of the start.

    Parameters
    ----------
    fitted : FittedModel
    values : numpy.ndarray
        Stored values ``(N, ...)``.
    steps : int
        Of Adam, for each start.
    seed : int
        Of draws and random features.
    labels : numpy.ndarray, optional
        Class indices ``(N,)`` of the examples, for models that are told classes.
    starts : int

    Raises
    ------
    UsageError
        For fewer than one step or start.
    CapabilityError
        Where the model has no decoder.
    """
    steps, starts, seed = whole(steps, "steps", 1), whole(starts, "starts", 1), whole(seed, "seed")
    if labels is not None and fitted.model.classes and not set(np.unique(labels)) <= set(range(fitted.model.classes)):
        raise UsageError(f"the labels are not among the {fitted.model.classes} classes that {fitted.name} was told.")
    space = LatentSpace.of(fitted, values, seed)
    starting, distance = _starts(fitted, values, space, seed, starts, labels)
    wanted = normalised(fitted, values)
    size = max(1, _AT_ONCE // starting.shape[1])
    parts = [
        _descend(fitted, x.to(fitted.device), z.to(fitted.device), space, distance, steps)
        for x, z in zip(wanted.split(size), starting.split(size), strict=True)
    ]
    return Inversion(*(torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)))


def _starts(
    fitted: FittedModel, values: np.ndarray, space: LatentSpace, seed: int, count: int, labels: np.ndarray | None
) -> tuple[Tensor, _Distance]:
    """Where to begin, ``(N, R, L + K)``: the code where there is an encoder, and the nearest of many draws."""
    can = fitted.capabilities()
    model, device = fitted.model, fitted.device
    encodes = can["encode"] is None
    z = fitted.latents(POOL, seed) if can["sample"] is None else fitted.encode(values)
    pool = normalised(fitted, fitted.decode(z)).to(device)
    distance = _Distance(random_features(fitted.spec, seed).to(device), pool)
    found = []
    if encodes:
        found.append(torch.from_numpy(fitted.encode(values))[:, None])
    if can["sample"] is None and count > len(found):
        with torch.no_grad():
            wanted = normalised(fitted, values).to(device)
            apart = distance.between(distance.parts(wanted), distance.parts(pool)).cpu()
        if labels is not None and model.classes:
            other = torch.from_numpy(z[:, -model.classes :].argmax(1)) != torch.from_numpy(np.asarray(labels))[:, None]
            apart = apart + 1e6 * other
        nearest = apart.topk(min(count - len(found), POOL), largest=False).indices
        found.append(torch.from_numpy(z)[nearest])
    starting = torch.cat(found, 1)
    if labels is not None and model.classes:
        told = one_hot(torch.from_numpy(np.asarray(labels, np.int64)), model.classes)
        starting[..., -model.classes :] = told[:, None]
    return starting, distance


def _descend(
    fitted: FittedModel, x: Tensor, z: Tensor, space: LatentSpace, distance: _Distance, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, their loss and that of the best start, of examples ``(N, ...)`` from starts ``(N, R, L + K)``."""
    n, r = z.shape[:2]
    centre, spread = (torch.from_numpy(np.asarray(a, np.float32)).to(z) for a in (space.centre, space.spread))
    flat = z.flatten(0, 1)
    noise, classes = flat[:, : len(centre)], flat[:, len(centre) :]
    with torch.no_grad():
        wanted = [part.repeat_interleave(r, 0) for part in distance.parts(x)]
    u = ((noise - centre) / spread).requires_grad_()
    adam = torch.optim.Adam([u], lr=RATE)
    best = torch.full((n * r,), math.inf, device=z.device)
    kept, first = u.detach().clone(), best
    for step in range(steps + 1):
        decoded = fitted.model.decode(torch.cat([centre + spread * u, classes], 1))
        loss = distance(decoded, wanted) + PRIOR * u.square().mean(1)
        better = loss.detach() < best
        best = torch.where(better, loss.detach(), best)
        kept = torch.where(better[:, None], u.detach(), kept)
        if step == 0:
            first = best
        if step < steps:
            (u.grad,) = torch.autograd.grad(loss.sum(), u)
            adam.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            adam.step()
    end, winner = best.view(n, r).min(1)
    rows = torch.arange(n, device=z.device) * r + winner
    latents = torch.cat([centre + spread * kept, classes], 1)[rows]
    return latents, end, first.view(n, r).min(1).values


def codes_of(
    fitted: FittedModel,
    values: np.ndarray,
    steps: int = STEPS,
    seed: int = 0,
    *,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Latents of examples: those of the encoder where there is one, else by inversion."""
    if fitted.capabilities()["encode"] is None:
        return fitted.encode(values)
    return invert(fitted, values, steps, seed, labels=labels).latents
