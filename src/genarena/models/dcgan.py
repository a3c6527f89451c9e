"""DCGAN: the GAN with the nets and settings of Radford et al. 2016, "Unsupervised Representation Learning with Deep
Convolutional Generative Adversarial Networks".

Its five guidelines: strided convolutions instead of pooling; batch norm in both nets, except on the generator's output and
the discriminator's input; no fully connected hidden layers; ReLU in the generator with tanh on its output; LeakyReLU 0.2
in the discriminator. Weights start from N(0, 0.02), noise is uniform on [-1, 1]^100, Adam has rate 2e-4 and beta1 0.5,
batches hold 128. It is the historical baseline of image GANs, without what was learned since: use `gan` to generate.

Where we differ from the paper: 64 channels next to the image instead of 128 (set network.width=128), as many layers as the
image size asks for, 4x4 kernels instead of 5x5, and biases in the three layers without batch norm.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import nn
from torch.nn.utils import parametrize

from ..data import ImageSpec, Schema
from ..errors import UsageError
from ..game import Betas
from ..kinds import NetworkConfig
from .gan import GAN, PenaltyName


class DCGAN(GAN):
    """The GAN of Radford et al. 2016."""

    class Config(GAN.Config):
        """The settings of `GAN`, with the paper's values (section 4)."""

        batch_size: int = Field(default=128, ge=1, le=65536)
        learning_rate: float | None = Field(default=2e-4, gt=0, le=10)
        betas: Betas = (0.5, 0.999)
        average_images: int = Field(default=0, ge=0)
        latent_dim: int | None = Field(default=100, ge=1, le=65536)
        prior: Literal["normal", "uniform"] = "uniform"
        penalty: PenaltyName = "none"
        network: NetworkConfig = NetworkConfig(width=64, decoder_norm="batch", discriminator_norm="batch")

    title = "Deep convolutional GAN"
    summary = "the GAN with the convolutional nets and settings of its 2016 paper"

    def __init__(self, config: Any, schema: Schema):
        if not isinstance(schema.target, ImageSpec) or config.network.architecture == "mlp":
            raise UsageError("dcgan is made of convolutions and needs images; use 'gan' for an MLP or rows of numbers.")
        super().__init__(config, schema)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                if parametrize.is_parametrized(module, "weight"):
                    norm: Any = module.parametrizations.weight  # type: ignore[union-attr]
                    nn.init.normal_(norm.original, 0.0, 0.02)  # what is learned, and not what it is divided to
                    norm[0].fit(norm.original)
                else:
                    nn.init.normal_(module.weight, 0.0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
