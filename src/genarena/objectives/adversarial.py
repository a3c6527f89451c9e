"""Adversarial losses and the penalties that make them converge.

All take raw logits (no sigmoid), shape ``(N,)``, and return a scalar mean. The value of the game is
V(D, G) = E[log D(x)] + E[log(1 - D(G(z)))] (Goodfellow et al. 2014, eq. 1), with D = sigmoid(logit).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import distributed
from ..precision import products_in

LossName = Literal["non-saturating", "minimax", "least-squares", "hinge", "wasserstein", "relativistic"]


class AdversarialLoss(NamedTuple):
    """What each of the two minimises.

    Attributes
    ----------
    discriminator : callable
        Real and fake logits -> loss.
    generator : callable
        Fake logits -> loss; where `relative`, fake logits minus those of real examples.
    relative : bool
    density_ratio : bool
        Whether exp(logit) of the best discriminator is p(x) / q(x), real over fake.
    guess : float
        The logit of a discriminator that cannot tell real from fake.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    relative: bool = False
    density_ratio: bool = False
    guess: float = 0.0


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-V(D, G): -E log D(x) - E log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _minimax(fake: Tensor) -> Tensor:
    """E log(1 - D(G(z))): vanishing gradient where the discriminator wins (Goodfellow et al. 2014, eq. 1)."""
    return -F.softplus(fake).mean()


def _non_saturating(fake: Tensor) -> Tensor:
    """-E log D(G(z)) (Goodfellow et al. 2014, section 3); with it the game is no longer zero-sum."""
    return F.softplus(-fake).mean()


def _least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Mao et al. 2017, eq. 9 with a = 0, b = c = 1."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def _least_squares_generator(fake: Tensor) -> Tensor:
    return 0.5 * (fake - 1).square().mean()


def _hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Lim & Ye 2017; Miyato et al. 2018, eq. 16."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _critic(real: Tensor, fake: Tensor) -> Tensor:
    """-(E f(x) - E f(G(z))): minus the Kantorovich dual (Arjovsky et al. 2017, eq. 2)."""
    return fake.mean() - real.mean()


def _relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(D(x) - D(G(z))): is a real example more real than a fake (Jolicoeur-Martineau 2019, RpGAN)?"""
    return F.softplus(fake - real).mean()


def _raise_score(fake: Tensor) -> Tensor:
    """-E f(G(z)), the generator's loss under hinge (eq. 17) and Wasserstein (eq. 2)."""
    return -fake.mean()


LOSSES: dict[str, AdversarialLoss] = {
    "non-saturating": AdversarialLoss(_cross_entropy, _non_saturating, density_ratio=True),
    "minimax": AdversarialLoss(_cross_entropy, _minimax, density_ratio=True),
    "least-squares": AdversarialLoss(_least_squares_discriminator, _least_squares_generator, guess=0.5),
    "hinge": AdversarialLoss(_hinge_discriminator, _raise_score),
    "wasserstein": AdversarialLoss(_critic, _raise_score),
    "relativistic": AdversarialLoss(_relativistic, _non_saturating, relative=True),
}


def _squared_slope(discriminator: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of what each logit judges, an example or a pack of neighbours, differentiable again; in float32."""
    with products_in(torch.float32):
        score = discriminator(at)
    (slope,) = torch.autograd.grad(score.sum(), at, create_graph=True)
    return slope.reshape(len(score), -1).square().sum(1)


def smoothing(real: Tensor, share: float) -> Tensor:
    """What one-sided label smoothing adds to a cross-entropy: real examples have the target 1 - share (Salimans et al. 2016).

    -(1 - s) log D - s log(1 - D) = softplus(-logit) + s logit.
    """
    return share * real.mean()


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """||E f(x) - E f(G(z))||^2 for features ``(N, ...)`` of a discriminator (Salimans et al. 2016, section 3.1)."""
    difference = distributed.mean(real.float().mean(0)).detach() - distributed.mean(fake.float().mean(0))
    return difference.square().sum()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """1/2 E ||grad D(x)||^2 on real data (Mescheder et al. 2018, eq. 9, without its weight gamma)."""
    real = real.detach().requires_grad_(True)
    return 0.5 * _squared_slope(discriminator, real).mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E (||grad D(x^)|| - 1)^2 on lines between real and fake (Gulrajani et al. 2017, eq. 3, without lambda).

    Parameters
    ----------
    discriminator : callable
    real, fake : Tensor
        ``(N, ...)``.
    mix : Tensor
        ``(N,)`` uniform in [0, 1): the place on each line.
    """
    mix = mix.view(-1, *[1] * (real.ndim - 1))
    return unit_slope(discriminator, torch.lerp(fake.detach(), real.detach(), mix))


def dragan_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, uniform: Tensor) -> Tensor:
    """E (||grad D(x + d)|| - 1)^2 around real data (Kodali et al. 2017, section 2.4; the noise is that of its code).

    Parameters
    ----------
    discriminator : callable
    real : Tensor
        ``(N, ...)``.
    uniform : Tensor
        ``(N, ...)`` uniform in [0, 1); the disturbance is half the standard deviation of the global batch times it.
    """
    real = real.detach()
    spread = distributed.mean((real - distributed.mean(real.mean())).square().mean()).sqrt()
    return unit_slope(discriminator, real + 0.5 * spread * uniform)


def unit_slope(discriminator: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """E (||grad D(x)|| - 1)^2 at given points ``(N, ...)``."""
    at = at.requires_grad_(True)
    # The small constant keeps the root differentiable where the critic is flat.
    return ((_squared_slope(discriminator, at) + 1e-12).sqrt() - 1).square().mean()
