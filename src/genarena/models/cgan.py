"""The conditional GAN (Mirza & Osindero 2014, "Conditional Generative Adversarial Nets").

Generator and discriminator are told the class of every example: a fake is made for a label and judged with that same label,
which is drawn as often as the data have it. It is for drawing examples of a wanted class.

Where we differ from the paper: the discriminator compares by projection (Miyato & Koyama 2018), which works better than the
paper's own joint hidden layer (``condition="joint"``); the nets and settings are those of `gan`. The label enters the
generator's first layer beside the noise, one-hot, which gives every class a learned vector of its own there.

Shapes: N batch, K classes, L dimensions of the noise; latents are ``(N, L + K)``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from torch import Tensor, nn

from ..nets.labelled import FEATURES, JointDiscriminator, ProjectionDiscriminator
from .gan import GAN, AdversarialConfig, AdversarialGame


class ConditionalConfig(AdversarialConfig):
    """Settings of every game whose discriminator is told labels.

    Attributes
    ----------
    condition : {"projection", "joint"}
        How the discriminator compares an example with its label.
    """

    condition: Literal["projection", "joint"] = "projection"

    @model_validator(mode="after")
    def _one_label_an_example(self) -> Any:
        if self.packing > 1:
            raise ValueError("packing judges several examples together, which have several labels: leave it at 1")
        return self


class ConditionalGame(AdversarialGame):
    """An adversarial game that is told the class of every example."""

    conditional = True

    def make_discriminator(self, outputs: int = 1) -> nn.Module:
        if self.config.condition == "projection":
            return ProjectionDiscriminator(super().make_discriminator(outputs + self.classes))
        spectral = getattr(self.config.network, "discriminator_norm", "none") == "spectral"
        return JointDiscriminator(super().make_discriminator(FEATURES), self.classes, spectral)

    def classify(self, top: Tensor, y: Tensor | None) -> Tensor:
        return self.discriminator.classify(top, y).squeeze(1)  # type: ignore[operator]


class ConditionalGAN(ConditionalGame, GAN):
    """Generator against discriminator, both told the class."""

    class Config(ConditionalConfig, GAN.Config):
        """The settings of `GAN` and `ConditionalConfig`."""

    title = "Conditional GAN"
    summary = "a GAN that is told classes, and makes examples of the class it is asked for"

    def suspicion(self, x: Tensor) -> Tensor:
        """Minus the logit under the classes' distribution, -log sum_y p(y) exp(logit(x, y)): how fake it looks as anything."""
        hidden = self.hidden(x)[-1]
        return -self.by_class(x.shape[0], lambda y: self.classify(hidden, y)).logsumexp(1)
