"""VAE/GAN (Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric").

A VAE whose reconstruction error is measured in the discriminator's features instead of pixels, and whose decoder is also
the generator of a GAN. With D_l the features, x~ = G(z), z ~ q(z|x), and x_p = G(z_p), z_p ~ N(0, I):

    L_prior = KL(q(z|x) || p(z)),   L_like = 1/2 ||D_l(x) - D_l(x~)||^2   (up to a constant; algorithm 1)

    encoder <- L_prior + L_like     generator <- gamma L_like + L_fool     discriminator <- its adversarial loss alone

It is for data where both an encoder and sharp samples are wanted. The adversarial loss never reaches the encoder and the
reconstruction never reaches the discriminator; all three move simultaneously from one shared forward. (The survey prints
the reconstruction as the distance of an image to a feature map, with the wrong sign: `docs/errata.md`, X25.)

Where we differ from the paper: the feature error is scaled by its own size, which is the likelihood of a Gaussian
whose variance is learned, since the scale of the features drifts as the discriminator learns (`feature_noise="unit"` is
the paper's); losses of the two kinds of fakes are averaged instead of added, which halves the decoder's adversarial loss
against gamma; it fools by the non-saturating loss (``loss="minimax"`` is the paper's); R1 penalty; Adam instead of RMSProp;
averaged weights.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from .. import distributed
from ..data import Schema
from ..errors import UsageError
from ..game import Capability, Draw, Play, Stats, Turn
from ..objectives.variational import beside, kl_to_standard_normal, posterior_of, reparameterise
from .gan import IMPLICIT, AdversarialConfig, AdversarialGame


class VAEGAN(AdversarialGame):
    """Encoder, generator and discriminator."""

    class Config(AdversarialConfig):
        """Settings beside those of `AdversarialConfig`.

        Attributes
        ----------
        gamma : float
            Weight of the feature reconstruction against fooling the discriminator, in the generator's loss.
        layer : int
            Index of the discriminator's hidden map that measures reconstruction; -1 is the last.
        fakes : {"both", "prior", "reconstruction"}
            What the discriminator sees as fake.
        feature_noise : {"calibrated", "unit"}
        beta : float
            Weight of the KL term.
        balance : bool
            The authors' rule: the discriminator rests while a cost of its is `margin` below the `equilibrium`, the
            generator while one is as far above; where both would rest, both play.
        equilibrium, margin : float
            Of the mean cost of real and fake, in nats (0.68 and 0.35 in the authors' code).
        """

        gamma: float = Field(default=1e-5, ge=0)
        layer: int = -1
        fakes: Literal["both", "prior", "reconstruction"] = "both"
        feature_noise: Literal["calibrated", "unit"] = "calibrated"
        beta: float = Field(default=1.0, ge=0)
        balance: bool = False
        equilibrium: float = Field(default=0.68, gt=0)
        margin: float = Field(default=0.35, gt=0)

        @model_validator(mode="after")
        def _features_of_single_examples(self) -> Any:
            if self.packing > 1:
                raise ValueError("packing: reconstructions are measured in features of single examples: leave it at 1")
            return self

    title = "VAE-GAN"
    summary = "a VAE that measures reconstructions in the features of a GAN's discriminator"
    players: ClassVar = {"encoder": ("encoder",), "generator": ("generator",), "discriminator": ("discriminator",)}

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        self.encoder = self.kind.encoder(schema.target, 2 * self.latent_dim, config.network)
        layers = len(self.discriminator.layers)  # type: ignore[arg-type]
        if not -layers <= config.layer < layers:
            raise UsageError(f"layer={config.layer}: the discriminator has {layers} hidden maps, 0 to {layers - 1}.")

    def posterior(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each ``(N, L)``; of q(z|x, y) where the model is told classes."""
        return posterior_of(self.encoder(x))

    def _judge(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """The discriminator's logit ``(N,)`` and its features D_l(x)."""
        hidden = self.hidden(x)
        return self.classify(hidden[-1], y), hidden[self.config.layer]

    def features(self, x: Tensor) -> Tensor:
        """D_l(x), the features that measure reconstruction."""
        return self.hidden(x)[self.config.layer]

    def _feature_distortion(self, features: Tensor, reconstructed: Tensor) -> Tensor:
        """-log N(D_l(x); D_l(x~), sigma^2) up to a constant, nats per example (Larsen et al. 2016, eq. 7)."""
        squared = (features.float() - reconstructed.float()).flatten(1).square()
        if self.config.feature_noise == "unit":
            return 0.5 * squared.sum(1).mean()
        # The variance that maximises the likelihood is the mean squared error itself (Rybkin et al. 2021).
        return 0.5 * squared.shape[1] * (distributed.mean(squared.mean()) + 1e-8).log()

    def play(self, draw: Draw) -> Play:
        config = self.config
        batch = draw()
        real, y = batch.x, self.told(batch)
        mean, log_variance = self.posterior(real, y)
        z = reparameterise(mean, log_variance, self.noise(len(real), self.latent_dim, like=real))
        prior = self.prior(len(real), real)
        reconstructed, sampled = self.decode(beside(z, y)), self.decode(prior)
        real_logit, real_features = self._judge(real, y)
        reconstructed_logit, reconstructed_features = self._judge(reconstructed, y)
        sampled_logit = self.logit(sampled, self.class_of(prior))

        kl = kl_to_standard_normal(mean, log_variance).sum(1).mean()
        distortion = self._feature_distortion(real_features, reconstructed_features)
        fakes = {
            "both": [reconstructed_logit, sampled_logit],
            "prior": [sampled_logit],
            "reconstruction": [reconstructed_logit],
        }[config.fakes]
        discriminate = sum(self.discriminator_loss(real_logit, f) for f in fakes) / len(fakes)
        fool = sum(self.generator_loss(f, lambda: real_logit) for f in fakes) / len(fakes)
        penalty = self.penalty(real, sampled, draw.batches, y, prior)
        losses = {
            "encoder": config.beta * kl + distortion,
            "generator": config.gamma * distortion + fool,
            "discriminator": discriminate + penalty,
        }
        if config.balance:
            resting = yield from self._resting(real_logit, torch.cat(fakes))
            losses.pop(resting, None)
        terms = {
            "kl": kl,
            "distortion": distortion,
            "logit_real": real_logit.mean(),
            "logit_fake": sampled_logit.mean(),
            "penalty": penalty,
        }
        yield Turn(terms, **losses)
        self.clip_weights()

    def _resting(self, real_logit: Tensor, fake_logit: Tensor) -> Any:
        """The player that sits this round out, or None (the balance rule of the authors' code)."""
        softplus = torch.nn.functional.softplus
        costs = yield Stats(real=softplus(-real_logit).mean(), fake=softplus(fake_logit).mean())
        low, high = self.config.equilibrium - self.config.margin, self.config.equilibrium + self.config.margin
        discriminator_ahead = bool((costs["real"] < low) | (costs["fake"] < low))
        discriminator_behind = bool((costs["real"] > high) | (costs["fake"] > high))
        if discriminator_ahead == discriminator_behind:
            return None
        return "discriminator" if discriminator_ahead else "generator"

    def capabilities(self) -> dict[Capability, str | None]:
        return {
            "sample": None,
            "condition": self.untold(),
            "encode": None,
            "reconstruct": None,
            "log_prob": f"{IMPLICIT}; its likelihood is of features, not of data",
            "anomaly_score": None,
        }

    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean."""
        return self.posterior(x)[0]

    def suspicion(self, x: Tensor) -> Tensor:
        """Squared error of the reconstruction in the discriminator's features, summed."""
        return (self.features(x) - self.features(self.reconstruct(x))).flatten(1).square().sum(1)
