"""Strided convolutional nets for images of any size from 8 pixels (Radford et al. 2016).

Shapes: N batch, C channels, H height, W width, L latent dimensions. Maps lie in memory with their channels last, and meet
flat vectors in that order: the other one would have them copied in every pass.

The decoder is also the generator and the encoder is also the discriminator, so that a comparison of learning principles
holds the networks fixed. Both halve or double the resolution with 4x4 kernels (no checkerboard: the stride divides the
kernel) between the image and a smallest map of 2 to 7 pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..precision import mixed
from .minibatch import minibatch_layer_of
from .norm import activation_of, layer_norm_of, spectral_normalise

SMALLEST = 7  # pixels: 28 -> 14 -> 7 stops here, 32 -> 16 -> 8 -> 4
FEWEST_STAGES = 2  # 8 -> 4 -> 2: an 8-pixel image still gets two layers
WIDEST = 8  # channels grow to at most this multiple of the width


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    """Resolutions from the image down to the smallest map, each half of the one before, rounded up."""
    sizes = [(height, width)]
    while min(sizes[-1]) > SMALLEST or len(sizes) <= FEWEST_STAGES:
        h, w = sizes[-1]
        sizes.append(((h + 1) // 2, (w + 1) // 2))
    return sizes


def _channels(stage: int, width: int) -> int:
    """Channels of the map `stage` halvings below the image."""
    return width * min(2 ** (stage - 1), WIDEST)


class ConvDecoder(nn.Module):
    """Latent vector to image: decoder and generator.

    Parameters
    ----------
    latent_dim : int
        L.
    shape : tuple of int
        ``(C, H, W)`` of the output, which has no activation: the likelihood or the game squashes it.
    width : int
        Channels of the layer next to the image.
    norm : {"batch", "none"}
    activation : str
    """

    def __init__(self, latent_dim: int, shape: tuple[int, int, int], width: int, norm: str, activation: str):
        super().__init__()
        self.sizes = pyramid(shape[1], shape[2])[::-1]
        stages = len(self.sizes) - 1
        top = _channels(stages, width)
        self.top = (*self.sizes[0], top)
        biased = norm == "none"
        self.stem = nn.Linear(latent_dim, top * self.sizes[0][0] * self.sizes[0][1], bias=biased)
        self.stem_norm = layer_norm_of(norm, top)
        self.activation = activation_of(activation)
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for stage in range(stages, 1, -1):
            after = _channels(stage - 1, width)
            self.layers.append(nn.ConvTranspose2d(_channels(stage, width), after, 4, 2, 1, bias=biased))
            self.norms.append(layer_norm_of(norm, after))
        self.head = nn.ConvTranspose2d(_channels(1, width), shape[0], 4, 2, 1)

    def start_at(self, value: Tensor) -> None:
        """Set the outputs' bias, one number a channel ``(C,)``."""
        with torch.no_grad():
            self.head.bias.copy_(value)  # type: ignore[union-attr]

    @mixed
    def forward(self, z: Tensor) -> Tensor:
        """``(N, L)`` to ``(N, C, H, W)``."""
        x = self.stem(z).unflatten(1, self.top).permute(0, 3, 1, 2)
        x = self.activation(self.stem_norm(x))
        for layer, norm, (h, w) in zip(self.layers, self.norms, self.sizes[1:-1], strict=True):
            x = self.activation(norm(layer(x)[..., :h, :w]))
        h, w = self.sizes[-1]
        return self.head(x)[..., :h, :w]


class ConvEncoder(nn.Module):
    """Image to vector: encoder and discriminator.

    Parameters
    ----------
    shape : tuple of int
        ``(C, H, W)`` of the input.
    outputs : int
        Numbers an image is mapped to.
    width : int
    norm : {"batch", "none", "spectral"}
        Batch norm is left out of the first layer (DCGAN guideline); spectral norm is on every layer.
    activation : str
    minibatch : {"none", "stddev", "discrimination"}
        What the head is told of the rest of the batch.
    """

    def __init__(
        self, shape: tuple[int, int, int], outputs: int, width: int, norm: str, activation: str, minibatch: str = "none"
    ):
        super().__init__()
        sizes = pyramid(shape[1], shape[2])
        self.activation = activation_of(activation)
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        before = shape[0]
        for stage in range(1, len(sizes)):
            after = _channels(stage, width)
            normed = norm == "batch" and stage > 1
            self.layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=not normed))
            self.norms.append(layer_norm_of("batch" if normed else "none", after))
            before = after
        h, w = shape[1], shape[2]
        for _ in self.layers:
            h, w = h // 2, w // 2
        self.minibatch, features = minibatch_layer_of(minibatch, before * h * w)
        self.head = nn.Linear(features, outputs)
        if norm == "spectral":
            spectral_normalise(self)

    @mixed
    def hidden(self, x: Tensor) -> list[Tensor]:
        """Activations after each layer, from the image up, each ``(N, C', H', W')``."""
        maps = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x)))
            maps.append(x)
        return maps

    @mixed
    def classify(self, top: Tensor) -> Tensor:
        """The output from the last hidden map."""
        return self.head(self.minibatch(top.permute(0, 2, 3, 1).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, outputs)``."""
        return self.classify(self.hidden(x)[-1])
