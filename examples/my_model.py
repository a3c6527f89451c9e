"""Two models of a user's own: a denoising autoencoder (one player) and a relativistic GAN (two players).

Give one to any verb as ``examples/my_model.py:DenoisingAutoencoder``, or pass the class itself in Python.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field

from genarena.game import AdamConfig, AdamGame, OnePlayerGame, Turn
from genarena.kinds import NetworkConfig, kind_of
from genarena.objectives.adversarial import r1_penalty


class DenoisingAutoencoder(AdamGame, OnePlayerGame):
    """Give back the clean example from a noisy one (Vincent et al. 2008)."""

    class Config(AdamConfig):
        latent_dim: int = Field(default=16, ge=1)
        noise_scale: float = Field(default=0.3, ge=0)
        network: NetworkConfig = NetworkConfig()

    title = "Denoising autoencoder"
    summary = "learns a code by removing noise that was added"
    players: ClassVar = {"autoencoder": ("encoder", "decoder")}
    sampler = "decoder"

    def __init__(self, config, schema):
        super().__init__(config, schema)
        self.kind = kind_of(schema.target)
        self.encoder = self.kind.encoder(schema.target, config.latent_dim, config.network)
        self.decoder = self.kind.decoder(schema.target, config.latent_dim, config.network)

    def loss(self, batch, draw):
        x = batch.x
        noisy = x + self.config.noise_scale * self.noise(len(x), *x.shape[1:], like=x)
        error = (self.reconstruct(noisy) - x).flatten(1).square()
        return error.sum(1).mean(), {"mse": error.mean()}

    def capabilities(self):
        reason = "no distribution of its codes, so nothing to sample or score by probability"
        return {"sample": reason, "log_prob": reason, "encode": None, "reconstruct": None, "anomaly_score": None}

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.kind.squash(self.decoder(z))

    def anomaly_score(self, x):
        return (self.reconstruct(x) - x).flatten(1).square().sum(1)


class RelativisticGAN(AdamGame):
    """Is the real example more real than the fake one? (Jolicoeur-Martineau 2019, with R1)."""

    class Config(AdamConfig):
        learning_rate: float = Field(default=5e-4, gt=0)
        betas: tuple[float, float] = (0.5, 0.99)
        latent_dim: int = Field(default=16, ge=1)
        network: NetworkConfig = NetworkConfig()

    title = "Relativistic GAN"
    summary = "a GAN whose discriminator compares a real example with a fake one"
    players: ClassVar = {"discriminator": ("discriminator",), "generator": ("generator",)}
    sampler = "generator"

    def __init__(self, config, schema):
        super().__init__(config, schema)
        self.kind = kind_of(schema.target)
        self.generator = self.kind.decoder(schema.target, config.latent_dim, config.network)
        self.discriminator = self.kind.discriminator(schema.target, config.network)

    def play(self, draw):
        real = draw().x
        fake = self.decode(self.noise(len(real), self.config.latent_dim, like=real))
        lead = self.discriminator(real) - self.discriminator(fake.detach())
        yield Turn({"lead": lead.mean()}, discriminator=F.softplus(-lead).mean() + r1_penalty(self.discriminator, real))
        yield Turn(generator=F.softplus(self.discriminator(real) - self.discriminator(fake)).mean())

    def capabilities(self):
        reason = "no encoder and no likelihood: an implicit model"
        return {"sample": None, **dict.fromkeys(("encode", "reconstruct", "log_prob", "anomaly_score"), reason)}

    def latents(self, n, generator):
        return torch.randn(n, self.config.latent_dim, generator=generator)

    def decode(self, z):
        return self.kind.squash(self.generator(z))
