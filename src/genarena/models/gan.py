"""The generative adversarial network (Goodfellow et al. 2014, "Generative Adversarial Nets").

A generator turns noise into data; a discriminator learns to tell its fakes from real data; each learns from the other. It
is for generating: it has no encoder and no likelihood, so it neither compresses nor scores data by probability.

Where we differ from the paper: the generator's default loss is the paper's own non-saturating alternative; the
discriminator has an R1 penalty, without which the game need not converge even in one dimension (Mescheder et al. 2018);
strided convolutions for images instead of maxout; Adam instead of momentum; the weights served are averaged.
Real and fake pass the discriminator in batches of their own. The generator's turn judges the last fakes again: it has not
moved since they were made, and fresh noise cost a forward pass without making samples better.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from .. import distributed
from ..data import Schema
from ..game import AdamConfig, AdamGame, Betas, Capability, Draw, Play, Turn
from ..kinds import NetworkConfig, kind_of
from ..objectives.adversarial import LOSSES, LossName, gradient_penalty, r1_penalty

NO_ENCODER = "no encoder: it maps noise to data and not back"
IMPLICIT = "no likelihood: an implicit model"
WEIGHTS = {"r1": 0.3, "gradient": 10.0}  # of the penalties, where none is set


class AdversarialConfig(AdamConfig):
    """Settings of every game with a discriminator.

    Attributes
    ----------
    latent_dim : int, optional
        Dimensions of the noise; by default a size that fits the data.
    loss : {"non-saturating", "minimax", "least-squares", "hinge", "wasserstein"}
    penalty : {"r1", "gradient", "none"}
        R1 on real data (Mescheder et al. 2018), the Wasserstein gradient penalty (Gulrajani et al. 2017), or none.
    penalty_weight : float, optional
        gamma of R1 (0.3 when absent), lambda of the gradient penalty (10, as in its paper).
    penalty_every : int
        Discriminator turns from one penalty to the next; its weight is multiplied to match (Karras et al. 2020).
    network : NetworkConfig
    """

    betas: Betas = (0.0, 0.99)
    latent_dim: int | None = Field(default=None, ge=1, le=65536)
    loss: LossName = "non-saturating"
    penalty: Literal["r1", "gradient", "none"] = "r1"
    penalty_weight: float | None = Field(default=None, ge=0)
    penalty_every: int = Field(default=4, ge=1, le=1000)
    network: NetworkConfig = NetworkConfig()

    @model_validator(mode="after")
    def _critic_is_lipschitz(self) -> Any:
        if self.loss == "wasserstein" and self.penalty != "gradient":
            raise ValueError("loss=wasserstein needs penalty=gradient, which keeps its critic Lipschitz")
        return self


class AdversarialGame(AdamGame):
    """A generator, a discriminator and what any game between them needs."""

    sampler = "generator"

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        spec = schema.target
        self.kind = kind_of(spec)
        self.latent_dim = config.latent_dim or self.kind.default_latent_dim(spec)
        self.generator = self.kind.decoder(spec, self.latent_dim, config.network)
        self.discriminator = self.kind.discriminator(spec, config.network)
        self.adversarial = LOSSES[config.loss]

    def prior(self, n: int, like: Tensor) -> Tensor:
        """Fresh noise for `n` fakes, ``(n, L)``."""
        return self.noise(n, self.latent_dim, like=like)

    def logit(self, x: Tensor) -> Tensor:
        """The discriminator's opinion, ``(N,)``: positive for real."""
        return self.discriminator(x).squeeze(1)

    def penalty(self, real: Tensor, fake: Tensor, draw: Draw) -> Tensor:
        """The discriminator's penalty in this turn; zero in turns without."""
        config = self.config
        if config.penalty == "none" or draw.batches % config.penalty_every:
            return real.new_zeros(())
        weight = config.penalty_weight if config.penalty_weight is not None else WEIGHTS[config.penalty]
        weight = weight * config.penalty_every
        if config.penalty == "r1":
            return weight * r1_penalty(self.logit, real)
        mix = distributed.shard(torch.rand(len(real) * distributed.world(), device=real.device))
        return weight * gradient_penalty(self.logit, real, fake, mix)

    def latents(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.latent_dim, generator=generator)

    def decode(self, z: Tensor) -> Tensor:
        return self.kind.squash(self.generator(z))


class GAN(AdversarialGame):
    """Generator against discriminator."""

    class Config(AdversarialConfig):
        """Settings beside those of `AdversarialConfig`.

        Attributes
        ----------
        prior : {"normal", "uniform"}
            Noise N(0, I), or uniform on [-1, 1].
        discriminator_steps : int
            Discriminator turns a round, each on a batch of its own.
        """

        prior: Literal["normal", "uniform"] = "normal"
        discriminator_steps: int = Field(default=1, ge=1, le=100)

    title = "Generative adversarial network"
    summary = "turns noise into data by trying to fool a discriminator"
    players: ClassVar = {"discriminator": ("discriminator",), "generator": ("generator",)}

    def prior(self, n: int, like: Tensor) -> Tensor:
        return self._shaped(super().prior(n, like))

    def latents(self, n: int, generator: torch.Generator) -> Tensor:
        return self._shaped(super().latents(n, generator))

    def _shaped(self, noise: Tensor) -> Tensor:
        """Normal noise as the prior has it: the normal's distribution function makes it uniform."""
        return noise if self.config.prior == "normal" else torch.special.ndtr(noise) * 2 - 1

    def play(self, draw: Draw) -> Play:
        for _ in range(self.config.discriminator_steps):
            real = draw().x
            fake = self.decode(self.prior(len(real), real))
            real_logit, fake_logit = self.logit(real), self.logit(fake.detach())
            loss = self.adversarial.discriminator(real_logit, fake_logit)
            terms = {"logit_real": real_logit.mean(), "logit_fake": fake_logit.mean()}
            yield Turn(terms, discriminator=loss + self.penalty(real, fake, draw))
        # The generator has not moved since: the same fakes, judged by the discriminator as it is now.
        yield Turn(generator=self.adversarial.generator(self.logit(fake)))

    def capabilities(self) -> dict[Capability, str | None]:
        return {
            "sample": None,
            "encode": NO_ENCODER,
            "reconstruct": NO_ENCODER,
            "log_prob": IMPLICIT,
            "anomaly_score": None,
        }

    def anomaly_score(self, x: Tensor) -> Tensor:
        """Minus the discriminator's logit: how fake it looks."""
        return -self.logit(x)
