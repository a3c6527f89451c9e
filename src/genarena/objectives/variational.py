"""The evidence lower bound and its parts, in nats per example.

ELBO(x) = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)) <= log p(x)   (Kingma & Welling 2014, eq. 3)

It is to be *maximised*; a loss is minus the ELBO. The survey prints it as a loss and drops the factor 1/2 and the square
inside the logarithm of the KL term; `docs/errata.md` (X1, X3) shows what that would do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import distributed

LOG_2PI = math.log(2 * math.pi)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag exp(log_variance)) || N(0, I)) by dimension (Kingma & Welling 2014, appendix B).

    Parameters
    ----------
    mean, log_variance : Tensor
        ``(N, L)``.

    Returns
    -------
    Tensor
        ``(N, L)``, nats: 1/2 (sigma^2 + mu^2 - 1 - log sigma^2) >= 0, zero only at mu = 0, sigma = 1.
    """
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance)


def posterior_of(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of q(z|x), each ``(N, L)``, from an encoder's ``(N, 2 L)``.

    The soft clamp keeps the variance within e^+-15: out of range of any trained posterior, safe from overflow.
    """
    mean, log_variance = raw.chunk(2, 1)
    return mean, 15 * torch.tanh(log_variance / 15)


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = mu + sigma * epsilon (Kingma & Welling 2014, section 2.4): a differentiable path from z to mu and sigma."""
    return mean + (0.5 * log_variance).exp() * noise


def beside(z: Tensor, y: Tensor | None) -> Tensor:
    """Latents ``(..., N, L)`` with the classes ``(N, K)`` they belong to, ``(..., N, L + K)``; alone where there are none."""
    return z if y is None else torch.cat([z, y.expand(*z.shape[:-1], -1)], -1)


def normal_log_density(value: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(value; mean, exp(log_variance)), summed over the last axis."""
    return -0.5 * (LOG_2PI + log_variance + (value - mean).square() / log_variance.exp()).sum(-1)


def standard_normal_log_density(value: Tensor) -> Tensor:
    """log N(value; 0, I), summed over the last axis."""
    return -0.5 * (LOG_2PI + value.square()).sum(-1)


def free_bits(kl: Tensor, floor: float) -> Tensor:
    """Sum over dimensions of max(mean KL, floor) (Kingma et al. 2016, eq. 15).

    Parameters
    ----------
    kl : Tensor
        ``(N, L)``, nats.
    floor : float
        Nats a latent dimension may use for nothing; 0 gives the mean KL.

    Returns
    -------
    Tensor
        Scalar: nats per example.
    """
    # The floor is a kink, so the mean under it has to be that of the global batch.
    return distributed.mean(kl.mean(0)).clamp(min=floor).sum()


def importance_bound(log_weights: Tensor) -> Tensor:
    """log 1/K sum_k w_k over the first axis: the K-sample bound (Burda et al. 2016, eq. 8).

    Parameters
    ----------
    log_weights : Tensor
        ``(K, N)``: log p(x, z_k) - log q(z_k | x).

    Returns
    -------
    Tensor
        ``(N,)``, nats. K = 1 gives the ELBO; the bound rises with K towards log p(x).
    """
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
