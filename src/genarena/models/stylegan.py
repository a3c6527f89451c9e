"""StyleGAN (Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks") and StyleGAN2
(Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

A mapping turns noise z into a style w, which sets the statistics of every layer of the synthesis: coarse layers decide pose
and shape, fine ones colour and detail, so styles of several images can be mixed. It is for images where quality counts
and where generation is to be steered. Latents here are styles w, not z.

    z -> w = mapping(z) -> image = synthesis(w_1 = w, ..., w_S = w, noise)

Generation 1 sets channel statistics (AdaIN); generation 2 scales weights instead, sums RGB outputs over resolutions, has a
residual discriminator, and keeps the length of paths from w to images even.

Where we differ from the papers: no progressive growing in generation 1 (generation 2 shows that it does harm), which also
has the lazy R1 penalty of generation 2; below 256 pixels the networks are small enough for a CPU, learn faster and have a
stronger R1, since budgets are smaller too; penalties are added to the loss of their turn instead of making a step of their
own; styles are mixed by example and not by batch; an example's score does not depend on its batch (`MinibatchStddev`).

Shapes: N batch, L dimensions of z, D dimensions of w, S style inputs of the synthesis.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from .. import distributed
from ..data import ImageSpec, Schema
from ..errors import UsageError
from ..game import Draw, normal
from ..nets.stylegan import Discriminator, Generator
from ..precision import products_in
from .gan import GAN

SIZES = tuple(2**power for power in range(3, 11))  # 8 to 1024 pixels
AVERAGE_DECAY = 0.995  # of the mean style, by batch
PATH_DECAY = 0.01  # weight of a new path length in the running mean
OFFICIAL = 256  # pixels from which on networks are as large as the authors'
SMALL_GAMMA = 10.0  # of R1 below that


class StyleGANNetwork(BaseModel):
    """Sizes of mapping, synthesis and discriminator, chosen by the size of the images where absent.

    From 256 pixels up they are the authors', below they are made for a CPU.

    Attributes
    ----------
    width : int, optional
        Channels next to the image, twice as many at every halving of the resolution (default 16; 64 at 256 and 512
        pixels, 32 at 1024).
    channel_max : int, optional
        Most channels (default 128; 512 from 256 pixels).
    w_dim : int, optional
        Dimensions of a style (default 128; 512 from 256 pixels).
    depth : int, optional
        Layers of the mapping (default 2; 8 from 256 pixels).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    discriminator_minibatch: ClassVar[str] = "stddev"

    width: int | None = Field(default=None, ge=1, le=4096)
    channel_max: int | None = Field(default=None, ge=1, le=4096)
    w_dim: int | None = Field(default=None, ge=1, le=4096)
    depth: int | None = Field(default=None, ge=1, le=32)

    def chosen(self, size: int) -> StyleGANNetwork:
        """The same with every default decided, for images of `size` pixels."""
        if size < OFFICIAL:
            defaults = {"width": 16, "channel_max": 128, "w_dim": 128, "depth": 2}
        else:
            defaults = {"width": min(64, 32768 // size), "channel_max": 512, "w_dim": 512, "depth": 8}
        return StyleGANNetwork(**{**defaults, **self.model_dump(exclude_none=True)})


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """||J_w^T y|| of each example, ``(N,)``, the root of its mean square over layers, differentiable again.

    Karras et al. 2020, eq. 4, as in the authors' code.

    Parameters
    ----------
    images : Tensor
        ``(N, C, H, W)``, made from `styles`.
    styles : Tensor
        ``(N, S, D)``.
    noise : Tensor
        Standard normal, of the images' shape: y is it over sqrt(H W).
    """
    projected = (images * noise).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (slope,) = torch.autograd.grad(projected, styles, create_graph=True)
    return slope.square().sum(2).mean(1).sqrt()


class StyleGAN(GAN):
    """Mapping, synthesis and discriminator of Karras et al."""

    class Config(GAN.Config):
        """Settings beside those of `GAN`; from 256 pixels up with the values of the authors' code.

        Attributes
        ----------
        learning_rate : float, optional
            5e-3 below 256 pixels, 2.5e-3 from there and 2e-3 for 1024, when absent.
        latent_dim : int, optional
            Dimensions of z; those of a style when absent.
        penalty_weight : float, optional
            gamma of R1; when absent 0.0002 size^2 / batch_size from 256 pixels, and 10, the value of Karras et al. 2019, below.
        generation : {1, 2}
            StyleGAN or StyleGAN2.
        style_mixing : float
            Share of the fakes, while training, whose fine layers have the style of another z.
        path_length_weight : float, optional
            Of the path-length penalty; 2 in generation 2 from 64 pixels up, 0 otherwise, when absent.
        path_length_every : int
            Rounds from one path-length penalty to the next; its weight is multiplied to match.
        network : StyleGANNetwork
        """

        batch_size: int = Field(default=16, ge=1, le=65536)
        penalty_every: int = Field(default=16, ge=1, le=1000)
        fresh_fakes: bool = True
        generation: Literal[1, 2] = 2
        style_mixing: float = Field(default=0.9, ge=0, le=1)
        path_length_weight: float | None = Field(default=None, ge=0)
        path_length_every: int = Field(default=4, ge=1, le=1000)
        network: StyleGANNetwork = StyleGANNetwork()  # type: ignore[assignment]

    title = "StyleGAN"
    summary = "a GAN whose layers are steered by styles, which can be mixed"
    generator: Generator
    w_average: Tensor
    path_length_mean: Tensor

    def __init__(self, config: Any, schema: Schema):
        size = _size_of(schema)
        super().__init__(_chosen(config, size), schema)
        self.register_buffer("w_average", torch.zeros(self.config.network.w_dim))
        self.register_buffer("path_length_mean", torch.zeros(()))

    def make_generator(self) -> nn.Module:
        spec: Any = self.schema.target
        network = self.config.network.model_dump()
        return Generator(
            spec.height, spec.channels, latent_dim=self.latent_dim, generation=self.config.generation, **network
        )

    def make_discriminator(self, outputs: int = 1) -> nn.Module:
        spec: Any = self.schema.target
        network = self.config.network
        return Discriminator(
            spec.height,
            spec.channels * self.config.packing,
            width=network.width,
            channel_max=network.channel_max,
            outputs=outputs,
            residual=self.config.generation == 2,
        )

    def optimizer(self, player: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Adam, slowed down as the authors do where a penalty is lazy (Karras et al. 2020, appendix B).

        That makes up for the penalty's own step, which there is none of here: k / (k + 1) of the learning rate is left.
        """
        optimizer = super().optimizer(player, parameters)
        every = self._penalty_interval(player)
        if every > 1:
            share = every / (every + 1)
            for group in optimizer.param_groups:
                group["lr"] *= share
                group["betas"] = tuple(beta**share for beta in group["betas"])
        return optimizer

    def _penalty_interval(self, player: str) -> int:
        """Turns from one penalty of a player to the next; 1 where it has none."""
        config = self.config
        if player == "discriminator":
            return config.penalty_every if config.penalty != "none" else 1
        return config.path_length_every if config.path_length_weight else 1

    # -- styles ------------------------------------------------------------------------------------------------------

    def styles(self, z: Tensor) -> Tensor:
        """Noise ``(N, L)`` to styles ``(N, D)``."""
        return self.generator.mapping(z)

    def mix(self, coarse: Tensor, fine: Tensor, layer: int | Tensor) -> Tensor:
        """Styles by layer, ``(N, S, D)``: `coarse` before a layer, `fine` from it on (Karras et al. 2019, section 3.1).

        Parameters
        ----------
        coarse, fine : Tensor
            ``(N, D)``.
        layer : int or Tensor
            From 0 to S; one for all, or one an example, ``(N,)``.
        """
        layers = torch.arange(self.generator.layers, device=coarse.device)
        before = layers < torch.as_tensor(layer, device=coarse.device).view(-1, 1)
        return torch.where(before[:, :, None], coarse[:, None], fine[:, None])

    def training_styles(self, z: Tensor) -> Tensor:
        """Styles ``(N, S, D)`` from z, most of them mixed with those of another z; keeps account of the mean style."""
        n, layers = len(z), self.generator.layers
        w, other = self.styles(z), self.styles(self.prior(n, z))
        with torch.no_grad():
            self.w_average.lerp_(distributed.mean(w.mean(0)), 1 - AVERAGE_DECAY)
        total = n * distributed.world()
        crossover = torch.randint(1, layers, (total,), device=z.device)
        mixed = torch.rand(total, device=z.device) < self.config.style_mixing
        return self.mix(w, other, distributed.shard(torch.where(mixed, crossover, layers)))

    def render(self, styles: Tensor) -> Tensor:
        """Images from styles with fresh noise, as the output layer gives them."""
        synthesis = self.generator.synthesis
        return synthesis(
            styles, [self.noise(len(styles), 1, side, side, like=styles) for side in synthesis.noise_sides]
        )

    # -- training ----------------------------------------------------------------------------------------------------

    def make_fakes(self, z: Tensor) -> Tensor:
        return self.render(self.training_styles(z))

    def generator_penalty(self, draw: Draw, like: Tensor) -> Tensor:
        """The path-length penalty, of half a batch: (||J_w^T y|| - a)^2, a their running mean (Karras et al. 2020, eq. 4)."""
        config = self.config
        rounds = self.turns(draw) // config.discriminator_steps
        if not config.path_length_weight or rounds % config.path_length_every:
            return super().generator_penalty(draw, like)
        styles = self.training_styles(self.prior(max(1, len(like) // 2), like))
        with products_in(torch.float32):
            images = self.render(styles)
        lengths = path_lengths(images, styles, self.noise(len(images), *images.shape[1:], like=images))
        mean = torch.lerp(self.path_length_mean, distributed.mean(lengths.mean()), PATH_DECAY)
        self.path_length_mean.copy_(mean.detach())
        return config.path_length_weight * config.path_length_every * (lengths - mean).square().mean()

    # -- sampling ----------------------------------------------------------------------------------------------------

    def latents(self, n: int, generator: torch.Generator, truncation: float | None = None) -> Tensor:
        """`n` styles ``(n, D)``; `truncation` psi moves them to the mean style, w' = w_mean + psi (w - w_mean).

        Karras et al. 2019, appendix B.
        """
        noise = self.shape_noise(normal(n, self.latent_dim, generator))
        w = self.styles(noise.to(self.w_average.device))
        return w if truncation is None else torch.lerp(self.w_average, w, truncation)

    @property
    def straight(self) -> bool:
        return True

    def decode(self, z: Tensor) -> Tensor:
        """Styles ``(N, D)``, or one a layer ``(N, S, D)``, to images, with constant noise."""
        x = self.generator.synthesis(z)
        return x.clamp(-1, 1).detach() + (x - x.detach())  # inversion needs a gradient beyond the range too


def _size_of(schema: Schema) -> int:
    """The side of the images, in pixels.

    Raises
    ------
    UsageError
        Where they are not images, or of a size that the networks cannot have.
    """
    spec = schema.target
    if not isinstance(spec, ImageSpec):
        raise UsageError("stylegan is made of convolutions and needs images; use 'gan' for rows of numbers.")
    if spec.height != spec.width or spec.height not in SIZES:
        raise UsageError(
            f"stylegan makes square images of {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]} pixels, and these have "
            f"{spec.height} x {spec.width}: resize with --size "
            f"{next((size for size in SIZES if size >= max(spec.height, spec.width)), SIZES[-1])}."
        )
    return spec.height


def _chosen(config: Any, size: int) -> Any:
    """The settings with every default decided that depends on the size of the images."""
    network = config.network.chosen(size)
    heuristic = 0.0002 * size**2 / config.batch_size
    evens_paths = config.generation == 2 and size >= 64
    defaults = {
        "learning_rate": 5e-3 if size < OFFICIAL else 2.5e-3 if size < SIZES[-1] else 2e-3,
        "latent_dim": network.w_dim,
        "penalty_weight": None if "r1" not in config.penalty else SMALL_GAMMA if size < OFFICIAL else heuristic,
        "path_length_weight": 2.0 if evens_paths else 0.0,
    }
    absent = {name: value for name, value in defaults.items() if getattr(config, name) is None}
    return config.model_copy(update={"network": network, **absent})
