"""BigGAN (Brock, Donahue & Simonyan 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis").

A class-conditional GAN of residual nets: the generator's norms are told the class and a part of the noise, the discriminator
compares by projection, spectral norm keeps both tame, and a hinge loss trains them. It is for pictures of a wanted class, and
for trading their variety for quality after training (truncation).

Where we differ from the paper: defaults are for small images and budgets (batches of 64, narrow nets, learning rates of 1e-3;
the paper has 2,048, a width of 96, and 5e-5 and 2e-4); the embedding of the classes starts as long as noise is, or few classes
go unheard for long; nets for 8 and 16 pixels, which it does not have. `docs/models/biggan.md` has the rest: torch's
spectral norm, unbiased standing variances, biases from zero, one attention a net.

Shapes: N batch, K classes, L dimensions of the noise; latents are ``(N, L + K)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ..data import ImageSpec, Schema
from ..errors import UsageError
from ..game import Betas, Draw
from ..nets.biggan import GENERATOR, BigGANDiscriminator, BigGANGenerator, filters, standing_statistics
from ..objectives.adversarial import LossName
from .cgan import ConditionalGAN
from .gan import PenaltyName

PART = 20  # dimensions of the noise for each of the generator's parts (table 4 to 6)
PASSES = 16  # batches whose statistics a served generator normalises with


class BigGANNetwork(BaseModel):
    """Architecture of generator and discriminator.

    Attributes
    ----------
    width : int
        The paper's ch, which is 96 there: maps have 4 times as many channels up to 32 pixels, 1 to 16 times above.
    shared : int, optional
        Dimensions of the embedding of the classes that the generator's norms share; without it each has its own.
    hierarchical : bool
        Every block of the generator sees a part of the noise of its own, and not the first layer all of it.
    attention : int or "auto", optional
        Resolution at which maps attend to themselves: 64 pixels where images have at least 128, or none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=16, ge=1, le=1024)
    shared: int | None = Field(default=128, ge=1, le=4096)
    hierarchical: bool = True
    attention: Literal["auto"] | int | None = "auto"


class BigGAN(ConditionalGAN):
    """The conditional GAN of Brock et al. 2019."""

    class Config(ConditionalGAN.Config):
        """The settings of `ConditionalGAN`, with the paper's values but for the learning rates, and one more.

        `average_images` is the half-life of a factor 0.9999 a round, ln 2 / 1e-4 rounds of twice 64 images.

        Attributes
        ----------
        orthogonal : float
            beta, the weight of how far the generator's filters are from orthogonal.
        """

        learning_rate: float = Field(default=1e-3, gt=0, le=10)
        betas: Betas = (0.0, 0.999)
        average_images: int = Field(default=887_000, ge=0)
        loss: LossName = "hinge"
        penalty: PenaltyName = "none"
        discriminator_steps: int = Field(default=2, ge=1, le=100)
        fresh_fakes: bool = True
        condition: Literal["projection"] = "projection"
        orthogonal: float = Field(default=1e-4, ge=0)
        network: BigGANNetwork = BigGANNetwork()  # type: ignore[assignment]

    title = "BigGAN"
    summary = "a GAN of residual nets told classes, whose samples can trade variety for quality"
    epsilon = 1e-6

    def __init__(self, config: Any, schema: Schema):
        size = size_of(schema.target)
        parts = len(GENERATOR[size])
        latent_dim = config.latent_dim or PART * parts
        if config.network.hierarchical and latent_dim % parts:
            raise UsageError(
                f"latent_dim={latent_dim} cannot be shared out to the {parts} parts of a generator for {size} pixels: "
                f"give a multiple of {parts}, or network.hierarchical=false."
            )
        super().__init__(config.model_copy(update={"latent_dim": latent_dim}), schema)

    def make_generator(self) -> nn.Module:
        image: Any = self.schema.target
        network = self.config.network
        return BigGANGenerator(
            image.height,
            image.channels,
            self.latent_dim,
            self.classes,
            network.width,
            network.shared,
            network.hierarchical,
            self.attention(),
        )

    def make_discriminator(self, outputs: int = 1) -> nn.Module:
        image: Any = self.schema.target
        width = self.config.network.width
        return BigGANDiscriminator(image.height, image.channels, self.classes, width, self.attention())

    def attention(self) -> int | None:
        """The resolution of the maps that attend to themselves, which both nets have."""
        image: Any = self.schema.target
        asked, side = self.config.network.attention, image.height
        if asked == "auto":
            return 64 if side >= 128 else None
        choices = [size for size in GENERATOR if size < side]
        if asked is not None and asked not in choices:
            raise UsageError(
                f"network.attention={asked}: nets for {side} pixels have maps of "
                f"{' or '.join(map(str, choices)) or 'no'} pixels to choose from; null is without."
            )
        return asked

    def generator_penalty(self, draw: Draw, like: Tensor) -> Tensor:
        """beta times eq. 3, of all the generator's filters; embeddings of the classes are left alone."""
        if not self.config.orthogonal:
            return super().generator_penalty(draw, like)
        return self.config.orthogonal * off_diagonal_penalty(filters(self.generator))

    def prepare(self, generator: torch.Generator) -> None:
        """Standing statistics of these very weights: training left an average of running ones."""
        self.eval()
        device = self.frequencies.device
        draws = (self.latents(self.config.batch_size, generator).to(device) for _ in range(PASSES))
        standing_statistics(self.generator, draws)


def off_diagonal_penalty(weights: Iterable[Tensor]) -> Tensor:
    """||W^T W * (1 - I)||_F^2, summed over weights ``(filters, ...)`` (Brock et al. 2019, eq. 3, without its beta).

    W has one filter a column: filters of any length may do, as long as no two are alike.
    """
    total = []
    for weight in weights:
        rows = weight.flatten(1)
        gram = rows @ rows.T
        total.append((gram - gram.diagonal().diag()).square().sum())
    return torch.stack(total).sum()


def size_of(target: Any) -> int:
    """Pixels a side of the images it makes."""
    if not isinstance(target, ImageSpec):
        raise UsageError("biggan is made of convolutions and needs images; use 'cgan' for rows of numbers.")
    longest = max(target.height, target.width)
    if target.height != target.width or longest not in GENERATOR:
        near = next((size for size in GENERATOR if size >= longest), max(GENERATOR))
        raise UsageError(
            f"biggan makes square images of {', '.join(map(str, GENERATOR))} pixels, and these have "
            f"{target.height} x {target.width}: resize with --size {near}."
        )
    return longest
