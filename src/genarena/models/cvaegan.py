"""The conditional VAE-GAN: the VAE-GAN (Larsen et al. 2016) whose decoder and discriminator are told the class.

Its decoder makes an example from a code and a class, and its discriminator judges both together, as in `cgan`; the encoder sees
the example alone, as in `cvae`. It is for drawing examples of a wanted class and for changing the class of a given one.
An example without a label is encoded with the class under which it is reconstructed best in the discriminator's features.

Shapes: N batch, K classes, L latent dimensions; latents are ``(N, L + K)``.
"""

from __future__ import annotations

from torch import Tensor

from ..game import one_hot
from ..objectives.variational import beside
from .cgan import ConditionalConfig, ConditionalGame
from .vaegan import VAEGAN


class ConditionalVAEGAN(ConditionalGame, VAEGAN):
    """Encoder, generator and discriminator, the latter two told the class."""

    class Config(ConditionalConfig, VAEGAN.Config):
        """The settings of `VAEGAN` and `ConditionalConfig`."""

    title = "Conditional VAE-GAN"
    summary = "a VAE-GAN that is told classes, and makes examples of the class it is asked for"

    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean with the class that explains `x` best."""
        mean = self.posterior(x)[0]
        features = self.features(x)

        def likelihood(y: Tensor) -> Tensor:
            error = (features - self.features(self.decode(beside(mean, y)))).flatten(1).square()
            return -0.5 * error.shape[1] * (error.mean(1) + 1e-8).log()  # the variance fitted to each example

        return beside(mean, one_hot(self.by_class(len(x), likelihood).argmax(1), self.classes))
