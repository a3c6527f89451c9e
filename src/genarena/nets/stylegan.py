"""The networks of StyleGAN 1 and 2 (Karras et al. 2019, 2020), for square images whose side is a power of two.

Shapes: N batch, L dimensions of the noise z, D dimensions of a style w, S style inputs, C channels, H height, W width.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..precision import mixed
from .minibatch import MinibatchStddev
from .stylegan_layers import (
    GAIN,
    AdaptiveLayer,
    Convolution,
    EqualisedLinear,
    ModulatedConvolution,
    ModulatedLayer,
    downsample,
    normalise,
    rectify,
    upsample,
)

SMALLEST = 4  # pixels of the learned constant


def sides(size: int) -> list[int]:
    """Resolutions from the learned constant's to the image's: 4, 8, ..., `size`."""
    return [SMALLEST * 2**stage for stage in range(int(math.log2(size // SMALLEST)) + 1)]


def channels_at(side: int, size: int, width: int, channel_max: int) -> int:
    """Channels of maps of some resolution: `width` next to the image, twice as many at every halving, up to a limit."""
    return min(width * size // side, channel_max)


class Mapping(nn.Module):
    """Noise to styles: normalised, then `depth` layers that learn a hundred times slower (Karras et al. 2019, section 2)."""

    def __init__(self, latent_dim: int, w_dim: int, depth: int):
        super().__init__()
        widths = [latent_dim, *[w_dim] * depth]
        self.layers = nn.ModuleList(EqualisedLinear(i, o, rate=0.01, gain=GAIN) for i, o in pairwise(widths))

    def forward(self, z: Tensor) -> Tensor:
        """``(N, L)`` to ``(N, D)``."""
        x = normalise(z)
        for layer in self.layers:
            x = rectify(layer(x))
        return x


class Synthesis(nn.Module):
    """Styles to images: a learned constant, two layers a resolution, and RGB.

    Generation 2 sums RGB outputs of all resolutions (skip generator: Karras et al. 2020, section 4); generation 1 has one at
    the last. Noise that is not given is constant.

    Attributes
    ----------
    layers : int
        S.
    noise_sides : list of int
        Resolutions of the noise maps.
    """

    def __init__(self, size: int, channels: int, width: int, channel_max: int, w_dim: int, generation: int):
        super().__init__()
        self.skip = generation == 2
        self.stages = nn.ModuleList()
        self.to_rgb = nn.ModuleList()
        self.noise_sides: list[int] = []
        before = 0
        for side in sides(size):
            after = channels_at(side, size, width, channel_max)
            stage = _stage(before, after, w_dim, generation)
            self.stages.append(stage)
            self.noise_sides += [side] * len(stage)
            if self.skip:
                self.to_rgb.append(ModulatedConvolution(after, channels, 1, w_dim, demodulate=False))
            before = after
        if not self.skip:
            self.to_rgb.append(Convolution(before, channels, 1))
        self.constant = nn.Parameter(
            torch.randn(1, channels_at(SMALLEST, size, width, channel_max), SMALLEST, SMALLEST)
        )
        self.upsample = upsample()
        self.layers = 2 * len(self.stages)
        for index, side in enumerate(self.noise_sides):
            self.register_buffer(f"noise_{index}", torch.randn(1, 1, side, side))

    @mixed
    def forward(self, w: Tensor, noise: list[Tensor] | None = None) -> Tensor:
        """Styles ``(N, D)`` or ``(N, S, D)``, and noise ``(N, 1, h, h)`` of each of `noise_sides`, to ``(N, C, H, W)``."""
        styles = w if w.ndim == 3 else w[:, None].expand(-1, self.layers, -1)
        noise = noise or [self.get_buffer(f"noise_{index}") for index in range(len(self.noise_sides))]
        x = self.constant.expand(w.shape[0], -1, -1, -1)
        image: Tensor | None = None
        index = 0
        for number, stage in enumerate(self.stages):
            for layer in stage:  # type: ignore[attr-defined]
                x = layer(x, styles[:, index], noise[index])
                index += 1
            if self.skip:  # the style of the next convolution
                rgb = self.to_rgb[number](x, styles[:, index])
                image = rgb if image is None else self.upsample(image) + rgb
        return self.to_rgb[0](x) if image is None else image


def _stage(before: int, after: int, w_dim: int, generation: int) -> nn.ModuleList:
    """The layers of one resolution; `before` is 0 at the first, where the constant is."""
    if generation == 1:
        first = AdaptiveLayer(before or None, after, w_dim, upsample=before > 0)
        return nn.ModuleList([first, AdaptiveLayer(after, after, w_dim)])
    last = ModulatedLayer(after, after, w_dim)
    return nn.ModuleList([ModulatedLayer(before, after, w_dim, upsample=True), last] if before else [last])


class Generator(nn.Module):
    """Mapping and synthesis.

    Parameters
    ----------
    size, channels : int
        Of the images, which have no activation.
    latent_dim, w_dim : int
        L and D.
    depth : int
        Layers of the mapping.
    width, channel_max : int
        See `channels_at`.
    generation : {1, 2}

    Attributes
    ----------
    layers : int
        S: styles that an image takes, from coarse to fine.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        *,
        latent_dim: int,
        w_dim: int,
        depth: int,
        width: int,
        channel_max: int,
        generation: int = 2,
    ):
        super().__init__()
        self.mapping = Mapping(latent_dim, w_dim, depth)
        self.synthesis = Synthesis(size, channels, width, channel_max, w_dim, generation)
        self.layers = self.synthesis.layers

    def forward(self, z: Tensor) -> Tensor:
        """``(N, L)`` to ``(N, C, H, W)``."""
        return self.synthesis(self.mapping(z))


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second to half the resolution; `residual`: beside a linear path, the sum of unit variance."""

    def __init__(self, inputs: int, outputs: int, residual: bool):
        super().__init__()
        share = math.sqrt(0.5) if residual else 1.0
        self.first = Convolution(inputs, inputs, 3, gain=GAIN)
        self.second = Convolution(inputs, outputs, 3, gain=GAIN * share, resample="down")
        self.skip = (
            nn.Sequential(downsample(), Convolution(inputs, outputs, 1, gain=share, bias=False)) if residual else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, O, H/2, W/2)``."""
        y = rectify(self.second(rectify(self.first(x))))
        return y if self.skip is None else y + self.skip(x)


class Discriminator(nn.Module):
    """Image to logit: blocks down to 4x4 pixels, minibatch deviation, one more convolution, one hidden layer.

    Parameters
    ----------
    size, channels : int
        Of the images.
    width, channel_max : int
        See `channels_at`.
    outputs : int
    residual : bool
        As in generation 2.
    """

    def __init__(
        self, size: int, channels: int, *, width: int, channel_max: int, outputs: int = 1, residual: bool = True
    ):
        super().__init__()
        widths = [channels_at(side, size, width, channel_max) for side in reversed(sides(size))]
        self.stem = Convolution(channels, widths[0], 1, gain=GAIN)
        self.layers = nn.ModuleList(DiscriminatorBlock(i, o, residual) for i, o in pairwise(widths))
        top = widths[-1]
        self.deviation = MinibatchStddev()
        self.last = Convolution(top + 1, top, 3, gain=GAIN)
        self.dense = EqualisedLinear(top * SMALLEST**2, top, gain=GAIN)
        self.head = EqualisedLinear(top, outputs)

    @mixed
    def hidden(self, x: Tensor) -> list[Tensor]:
        """Maps after each block, from the image up, each ``(N, C', H', W')``."""
        maps = [rectify(self.stem(x))]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]

    @mixed
    def classify(self, top: Tensor) -> Tensor:
        """The output ``(N, outputs)`` from the last hidden map."""
        x = rectify(self.last(self.deviation(top)))
        return self.head(rectify(self.dense(x.permute(0, 2, 3, 1).flatten(1))))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, outputs)``."""
        return self.classify(self.hidden(x)[-1])
