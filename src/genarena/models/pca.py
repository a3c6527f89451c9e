"""Principal component analysis as a probabilistic model (Tipping & Bishop 1999).

x = W z + mean + noise with z ~ N(0, I) and noise N(0, sigma^2 I), fitted in closed form. It is the baseline every
learned code has to beat: seconds to fit, exact likelihood, and a linear autoencoder can do no better (Baldi & Hornik 1989;
claim C7 of the survey). The decomposition is scikit-learn's.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import torch
from pydantic import Field
from sklearn.decomposition import PCA as ScikitPCA
from torch import Tensor

from ..data import Schema
from ..game import Capability, Model, ModelConfig, normal
from ..kinds import kind_of
from ..objectives.likelihoods import dequantisation_term, quantisation_step


class PCA(Model):
    """Probabilistic PCA: a linear decoder and an exact likelihood."""

    class Config(ModelConfig):
        """Settings.

        Attributes
        ----------
        latent_dim : int, optional
            Components kept; by default as many as the other models have latent dimensions.
        """

        latent_dim: int | None = Field(default=None, ge=1, le=65536)

    title = "Principal components"
    summary = "the linear baseline: closed form, exact likelihood"
    mean: Tensor
    components: Tensor
    variances: Tensor
    noise_variance: Tensor

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        spec = schema.target
        self.kind = kind_of(spec)
        self.dimensions = math.prod(spec.shape)
        self.latent_dim = min(config.latent_dim or self.kind.default_latent_dim(spec), self.dimensions)
        self.register_buffer("mean", torch.zeros(self.dimensions))
        self.register_buffer("components", torch.zeros(self.latent_dim, self.dimensions))
        self.register_buffer("variances", torch.ones(self.latent_dim))
        self.register_buffer("noise_variance", torch.ones(()))

    def fit(self, x: np.ndarray, seed: int) -> None:
        """Fit to normalised examples ``(N, *shape)``."""
        flat = x.reshape(len(x), -1)
        found = ScikitPCA(min(self.latent_dim, len(x) - 1), random_state=seed).fit(flat)
        rank = len(found.components_)
        self.mean.copy_(torch.from_numpy(found.mean_))
        self.components[:rank] = torch.from_numpy(found.components_)
        # The mean over all directions left, of which few examples leave some with no variance at all (Tipping & Bishop
        # 1999, eq. 8). With no direction left over there is no noise; a floor keeps the density proper.
        left = (min(len(x), self.dimensions) - rank) / max(self.dimensions - rank, 1)
        noise = max(float(found.noise_variance_) * left, 1e-6)
        self.noise_variance.fill_(noise)
        self.variances.fill_(noise)
        self.variances[:rank] = torch.from_numpy(np.maximum(found.explained_variance_, noise))

    def capabilities(self) -> dict[Capability, str | None]:
        can: dict[Capability, str | None] = dict.fromkeys(get_args(Capability))
        return {**can, "condition": self.untold()}

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        return normal(n, self.latent_dim, generator, truncation)

    def encode(self, x: Tensor) -> Tensor:
        """Whitened scores."""
        return (x.flatten(1) - self.mean) @ self.components.T / self.variances.sqrt()

    def decode(self, z: Tensor) -> Tensor:
        flat = (z * self.variances.sqrt()) @ self.components + self.mean
        return flat.unflatten(1, self.schema.target.shape)

    def log_prob(self, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """The exact log-density (of dequantised values for images), nats; `samples` makes no difference."""
        step = quantisation_step(self.schema.target)
        if step:
            x = x + step * (torch.rand(x.shape, generator=generator).to(x) - 0.5)
        centred = x.flatten(1) - self.mean
        scores = centred @ self.components.T
        outside = (centred.square().sum(1) - scores.square().sum(1)).clamp(min=0)
        left = self.dimensions - self.latent_dim
        quadratic = (scores.square() / self.variances).sum(1) + outside / self.noise_variance
        log_determinant = self.variances.log().sum() + left * self.noise_variance.log()
        log_density = -0.5 * (self.dimensions * math.log(2 * math.pi) + log_determinant + quadratic)
        return log_density + dequantisation_term(self.schema.target)

    def anomaly_score(self, x: Tensor) -> Tensor:
        """Squared reconstruction error, summed over values."""
        return (self.reconstruct(x) - x).flatten(1).square().sum(1)
