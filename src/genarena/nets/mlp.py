"""Fully connected nets for vectors, and for images flattened to vectors.

Shapes: N batch, D data dimensions, L latent dimensions.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..precision import mixed
from .minibatch import minibatch_layer_of
from .norm import activation_of, layer_norm_of, spectral_normalise


class MLPDecoder(nn.Module):
    """Latent vector to data: decoder and generator. No activation on the output.

    Parameters
    ----------
    latent_dim : int
    shape : tuple of int
        Shape of one output.
    width, depth : int
        Units of a hidden layer, and how many there are.
    norm : {"batch", "none"}
    activation : str
    """

    def __init__(self, latent_dim: int, shape: tuple[int, ...], width: int, depth: int, norm: str, activation: str):
        super().__init__()
        self.shape = shape
        sizes = [latent_dim] + [width] * depth
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), layer_norm_of(norm, after), activation_of(activation)]
        self.body = nn.Sequential(*layers, nn.Linear(sizes[-1], math.prod(shape)))

    def start_at(self, value: Tensor) -> None:
        """Set the outputs' bias, the same ``(C,)`` for all values of a channel."""
        with torch.no_grad():
            self.body[-1].bias.view(len(value), -1).copy_(value[:, None])  # type: ignore[operator]

    @mixed
    def forward(self, z: Tensor) -> Tensor:
        """``(N, L)`` to ``(N, *shape)``."""
        return self.body(z).unflatten(1, self.shape)


class MLPEncoder(nn.Module):
    """Data to vector: encoder and discriminator.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input.
    outputs : int
    width, depth : int
    norm : {"batch", "none", "spectral"}
        Batch norm is left out of the first layer.
    activation : str
    minibatch : {"none", "stddev", "discrimination"}
        What the head is told of the rest of the batch.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: int,
        depth: int,
        norm: str,
        activation: str,
        minibatch: str = "none",
    ):
        super().__init__()
        sizes = [math.prod(shape)] + [width] * depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        kinds = ["batch" if norm == "batch" and i > 0 else "none" for i in range(depth)]
        self.norms = nn.ModuleList(layer_norm_of(kind, width) for kind in kinds)
        self.activation = activation_of(activation)
        self.minibatch, features = minibatch_layer_of(minibatch, width)
        self.head = nn.Linear(features, outputs)
        if norm == "spectral":
            spectral_normalise(self)

    @mixed
    def hidden(self, x: Tensor) -> list[Tensor]:
        """Activations after each layer, each ``(N, width)``."""
        x = x.flatten(1)
        maps = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x)))
            maps.append(x)
        return maps

    @mixed
    def classify(self, top: Tensor) -> Tensor:
        """The output from the last hidden layer."""
        return self.head(self.minibatch(top))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, *shape)`` to ``(N, outputs)``."""
        return self.classify(self.hidden(x)[-1])
