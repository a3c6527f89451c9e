"""The variational autoencoder (Kingma & Welling 2014, "Auto-Encoding Variational Bayes").

An encoder gives a Gaussian posterior q(z|x), a decoder a likelihood p(x|z), and both maximise the evidence lower bound on
log p(x). It is for everything that needs an encoder or a likelihood: reduction, reconstruction, detection, comparison of
models by bits; and it generates by decoding draws from the prior N(0, I).

Where we differ from the paper: the default likelihood is a Gaussian whose variance is *learned* (Rybkin et al. 2021), since
a fixed one is the main cause of the blur VAEs are known for; Adam instead of Adagrad; weights served are averaged.
With `importance_samples` K > 1 the objective is the importance-weighted bound (Burda et al. 2016).

Shapes: N batch, K samples, L latent dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar, get_args

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..data import Batch, Schema
from ..game import AdamConfig, AdamGame, Capability, Draw, OnePlayerGame, normal
from ..kinds import NetworkConfig, kind_of
from ..objectives.likelihoods import LikelihoodName, dequantisation_term, make_likelihood, quantisation_step
from ..objectives.variational import (
    beside,
    free_bits,
    importance_bound,
    kl_to_standard_normal,
    normal_log_density,
    posterior_of,
    reparameterise,
    standard_normal_log_density,
)

MOST_VALUES = 2**23  # of decoded data held at once while a bound is measured


class VAE(AdamGame, OnePlayerGame):
    """Gaussian posterior, standard normal prior, likelihood of choice."""

    class Config(AdamConfig):
        """Settings.

        Attributes
        ----------
        latent_dim : int, optional
            L; by default a size that fits the data.
        likelihood : {"gaussian", "bernoulli", "logistic", "categorical"}
        sigma : float, optional
            Fixes the Gaussian's standard deviation (in units where images span [-1, 1]); learned when absent.
        beta : float
            Weight of the KL term (Higgins et al. 2017); 1 is the bound.
        free_bits : float
            Nats each latent dimension may use for nothing (Kingma et al. 2016).
        warmup_images : int
            Images over which `beta` rises from 0 (Bowman et al. 2016).
        importance_samples : int
            K of the importance-weighted objective; 1 is the ELBO.
        network : NetworkConfig
        """

        latent_dim: int | None = Field(default=None, ge=1, le=65536)
        likelihood: LikelihoodName = "gaussian"
        sigma: float | None = Field(default=None, gt=0)
        beta: float = Field(default=1.0, ge=0)
        free_bits: float = Field(default=0.0, ge=0)
        warmup_images: int = Field(default=0, ge=0)
        importance_samples: int = Field(default=1, ge=1, le=1000)
        network: NetworkConfig = NetworkConfig()

        @model_validator(mode="after")
        def _one_objective(self) -> Any:
            if self.importance_samples > 1 and (self.beta != 1 or self.free_bits or self.warmup_images):
                raise ValueError(
                    "beta, free_bits and warmup_images shape the ELBO: leave them with importance_samples > 1"
                )
            return self

    title = "Variational autoencoder"
    summary = "learns a code with a known distribution by maximising a bound on the likelihood"
    players: ClassVar = {"vae": ("encoder", "decoder", "likelihood")}
    sampler = "decoder"

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        spec = schema.target
        self.kind = kind_of(spec)
        self.latent_dim = config.latent_dim or self.kind.default_latent_dim(spec)
        self.likelihood = make_likelihood(config.likelihood, spec, config.sigma)
        self.encoder = self.kind.encoder(spec, 2 * self.latent_dim, config.network)
        latent_dim = self.latent_dim + self.classes
        self.decoder = self.kind.decoder(spec, latent_dim, config.network, self.likelihood.parameters_per_value)
        start = self.likelihood.start()
        if start is not None:
            self.decoder.start_at(start)

    def posterior(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each ``(N, L)``; of q(z|x, y) where the model is told classes."""
        return posterior_of(self.encoder(self.likelihood.encoder_input(x)))

    def log_weights(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x, z_k) - log q(z_k | x), nats, ``(K, N)``, for posterior noise ``(K, N, L)``; of class `y` where given."""
        mean, log_variance = self.posterior(x, y)
        z = reparameterise(mean, log_variance, noise)
        raw = self.decoder(beside(z, y).flatten(0, 1))
        log_likelihood = self.likelihood.log_prob(raw, x.repeat(len(noise), *[1] * (x.ndim - 1)))
        return (
            log_likelihood.view(z.shape[:2])
            + standard_normal_log_density(z)
            - normal_log_density(z, mean, log_variance)
        )

    def loss(self, batch: Batch, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        x, y = self.likelihood.observe(batch.x), self.told(batch)
        if config.importance_samples > 1:
            k = config.importance_samples
            noise = self.noise(len(x), k, self.latent_dim, like=x).transpose(0, 1)
            bound = importance_bound(self.log_weights(x, noise, y)).mean()
            return -bound, {"bound": bound}
        mean, log_variance = self.posterior(x, y)
        z = reparameterise(mean, log_variance, self.noise(len(x), self.latent_dim, like=x))
        kl = kl_to_standard_normal(mean, log_variance)
        rate, distortion = kl.sum(1).mean(), -self.likelihood.log_prob(self.decoder(beside(z, y)), x).mean()
        beta = config.beta * (min(1.0, draw.images / config.warmup_images) if config.warmup_images else 1.0)
        loss = distortion + beta * (free_bits(kl, config.free_bits) if config.free_bits else rate)
        return loss, {"kl": rate, "distortion": distortion}

    def capabilities(self) -> dict[Capability, str | None]:
        can: dict[Capability, str | None] = dict.fromkeys(get_args(Capability))
        return {**can, "condition": self.untold()}

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        return self.beside_labels(normal(n, self.latent_dim, generator, truncation), generator)

    def decode(self, z: Tensor) -> Tensor:
        """E[x | z]: the mean of the likelihood, without observation noise."""
        return self.likelihood.mean(self.decoder(z))

    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean."""
        return self.posterior(x)[0]

    def log_prob(self, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """The K-sample importance-weighted lower bound on log p(x), ``(N,)`` nats; K = 1 is the ELBO."""
        if self.likelihood.discrete:
            x = self._observe(x, generator)
            offset = 0.0
        else:
            step = quantisation_step(self.schema.target)
            if step:
                x = x + step * (torch.rand(x.shape, generator=generator).to(x) - 0.5)
            offset = dequantisation_term(self.schema.target)
        most = max(1, MOST_VALUES // x.numel())  # posterior samples decoded at once
        parts = [min(most, samples - start) for start in range(0, samples, most)]
        noises = (torch.randn(k, len(x), self.latent_dim, generator=generator).to(x) for k in parts)
        return importance_bound(torch.cat([self.log_weights(x, noise) for noise in noises])) + offset

    def _observe(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Binarise with a generator of our own, where the likelihood binarises."""
        if self.config.likelihood != "bernoulli":
            return x
        return torch.where(torch.rand(x.shape, generator=generator).to(x) < (x + 1) / 2, 1.0, -1.0)

    def energy(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Minus the bound at the posterior mean: distortion + KL, nats, ``(N,)``; as of class `y` where given."""
        mean, log_variance = self.posterior(x, y)
        distortion = -self.likelihood.log_prob(self.decoder(beside(mean, y)), x)
        return distortion + kl_to_standard_normal(mean, log_variance).sum(1)

    def anomaly_score(self, x: Tensor) -> Tensor:
        """Minus the bound at the posterior mean."""
        return self.energy(x)
