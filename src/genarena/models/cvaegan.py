"""The conditional VAE-GAN: the VAE-GAN (Larsen et al. 2016) whose decoder and discriminator are told the class.

Its decoder makes an example from a code and a class, and its discriminator judges both together, as in `cgan`; the encoder sees
the example alone, and each class has a Gaussian prior of its own, as in `cvae`. It is for drawing examples of a wanted class
and for changing the class of a given one. An example without a label is encoded with the class that explains it best, by its
reconstruction in the discriminator's features and by its code under the prior of the class.

Where we differ from the paper: the priors, whose means and scales the encoder learns with its KL term. With one prior for all
the encoder goes on writing the class into the code, and fewer samples are of the class that was asked for.

Shapes: N batch, K classes, L latent dimensions; latents are ``(N, L + K)``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..data import Schema
from ..game import one_hot
from ..nets.labelled import ClassPrior
from ..objectives.variational import beside, kl_to_standard_normal
from .cgan import ConditionalConfig, ConditionalGame
from .vaegan import VAEGAN


class ConditionalVAEGAN(ConditionalGame, VAEGAN):
    """Encoder, generator and discriminator, the latter two told the class."""

    class Config(ConditionalConfig, VAEGAN.Config):
        """The settings of `VAEGAN` and `ConditionalConfig`."""

    title = "Conditional VAE-GAN"
    summary = "a VAE-GAN that is told classes, and makes examples of the class it is asked for"

    players: ClassVar = {**VAEGAN.players, "encoder": ("encoder", "class_prior")}

    def __init__(self, config: Any, schema: Schema):
        super().__init__(config, schema)
        self.class_prior = ClassPrior(self.latent_dim, self.classes)

    def posterior(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x, y) in the coordinates of class `y`; of the place v without one."""
        mean, log_variance = super().posterior(x)
        return (mean, log_variance) if y is None else self.class_prior.standardise(mean, log_variance, y)

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(self.class_prior(z))

    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean with the class that explains `x` best."""
        features = self.features(x)

        def evidence(y: Tensor) -> Tensor:
            mean, log_variance = self.posterior(x, y)
            error = (features - self.features(self.decode(beside(mean, y)))).flatten(1).square()
            distortion = 0.5 * error.shape[1] * (error.mean(1) + 1e-8).log()  # the variance fitted to each example
            return -distortion - kl_to_standard_normal(mean, log_variance).sum(1)

        y = one_hot(self.by_class(x.shape[0], evidence).argmax(1), self.classes)
        return beside(self.posterior(x, y)[0], y)
