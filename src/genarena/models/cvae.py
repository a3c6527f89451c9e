"""The conditional VAE (Sohn et al. 2015, "Learning Structured Output Representation using Deep Conditional Generative Models";
Kingma et al. 2014, "Semi-supervised Learning with Deep Generative Models").

Prior and decoder are told the class: p(x) = sum_y p(y) int p(v | y) p(x | v, y) dv. Sampling asks for a class, and the latent
variable is left with what the class does not say. It is for drawing examples of a wanted class and for changing the class of
a given one. (The survey says that only GANs can be conditioned: `docs/errata.md`, X14.)

Where we differ: the prior of a class is a Gaussian whose mean and scale are learned, and the network of the encoder is not told
the class, which it can see in x wherever the class can be seen there; its posterior is told it by the standardisation below. So
an example without a label can be encoded: its class is the one that explains it best, and its likelihood sums over all.

With m_y and s_y mean and scale of a class, a place v in latent space has the standardised coordinates z = (v - m_y) / s_y, that
are N(0, I) for every class: latents here are z, with the class beside them.

Shapes: N batch, K classes, L latent dimensions, S samples; latents are ``(N, L + K)``.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..data import Schema
from ..game import one_hot
from ..nets.labelled import ClassPrior
from ..objectives.variational import beside
from .vae import VAE


class ConditionalVAE(VAE):
    """A VAE whose prior and decoder are told the class."""

    conditional = True
    title = "Conditional VAE"
    summary = "a VAE that is told classes, and makes examples of the class it is asked for"
    decoder: nn.Sequential

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        prior = ClassPrior(self.latent_dim, self.classes)
        # Takes standardised latents, and puts them where their class lies.
        self.decoder = nn.Sequential(prior, self.decoder)

    @property
    def class_prior(self) -> ClassPrior:
        """p(v | y); it belongs to the decoder."""
        return self.decoder[0]  # type: ignore[return-value]

    def posterior(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x, y) in the coordinates of class `y`; of the place v without one."""
        mean, log_variance = super().posterior(x)
        return (mean, log_variance) if y is None else self.class_prior.standardise(mean, log_variance, y)

    def log_weights(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        """As the VAE's for class `y`; without it log sum_y p(y) p(x, z_k | y) / q(z_k | x, y), ``(S, N)``."""
        if y is not None:
            return super().log_weights(x, noise, y)
        told = super().log_weights
        return self.by_class(x.shape[0], lambda y: told(x, noise, y)).logsumexp(-1)

    def _evidence(self, x: Tensor) -> Tensor:
        """log p(y) + the bound on log p(x | y) at the posterior mean, ``(N, K)``."""
        return self.by_class(x.shape[0], lambda y: -self.energy(x, y))

    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean with the class that explains `x` best."""
        y = one_hot(self._evidence(x).argmax(1), self.classes)
        return beside(self.posterior(x, y)[0], y)

    def anomaly_score(self, x: Tensor) -> Tensor:
        """Minus the bound at the posterior mean, summed over the classes."""
        return -self._evidence(x).logsumexp(1)
