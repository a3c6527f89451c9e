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
from ..errors import DataError
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
        """Fit to normalised examples ``(N, *shape)``, two or more."""
        if len(x) < 2:
            raise DataError("pca finds directions between examples: give two to train on at least.")
        # Some values nearly follow from others, which float32 cannot tell from those that do.
        flat = x.reshape(len(x), -1).astype(np.float64)
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
        return self._log_density(x) + dequantisation_term(self.schema.target)

    def _log_density(self, x: Tensor) -> Tensor:
        """log N(x; mean, W W^T + sigma^2 I), nats, ``(N,)``.

        In float64, and with the residual itself: as a difference of squares it is rounding, which sigma^2 divides by. On the
        processor, since some accelerators have no float64.
        """
        mean, components, variances, noise = (
            buffer.cpu().double() for buffer in (self.mean, self.components, self.variances, self.noise_variance)
        )
        centred = x.flatten(1).cpu().double() - mean
        scores = centred @ components.T
        outside = (centred - scores @ components).square().sum(1)
        quadratic = (scores.square() / variances).sum(1) + outside / noise
        log_determinant = variances.log().sum() + (self.dimensions - self.latent_dim) * noise.log()
        log_density = -0.5 * (self.dimensions * math.log(2 * math.pi) + log_determinant + quadratic)
        return log_density.to(x)

    def anomaly_score(self, x: Tensor) -> Tensor:
        """Minus the log-density, without noise of dequantisation, nats."""
        return -self._log_density(x)
