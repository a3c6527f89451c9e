"""Networks whose hidden layer serves as a space to compare examples in: random ones, and classifiers.

Every network has ``features(x)``, which maps normalised examples (images in [-1, 1], ``(N, C, H, W)``; standardised
rows ``(N, D)``) to ``(N, F)``. None of them is ever trained against a generative model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.fields import ImageSpec, VectorSpec

_CELLS = 2  # features are pooled over a 2 x 2 grid: a coarse layout survives, exact positions do not
_POOLS = 3  # mean, maximum and second moment
_PIXEL_SIDE = 32


def _stem_stride(spec: ImageSpec, side: int) -> int:
    """The first convolution's stride: the cost of an image larger than ``side`` pixels stays bounded."""
    return max(1, min(spec.height, spec.width) // side)


class Pixels(nn.Module):
    """The stored numbers themselves; images are averaged down to at most 32 x 32 pixels."""

    def __init__(self, spec: ImageSpec | VectorSpec):
        super().__init__()
        self.size = (min(spec.height, _PIXEL_SIDE), min(spec.width, _PIXEL_SIDE)) if isinstance(spec, ImageSpec) else ()

    def features(self, x: Tensor) -> Tensor:
        return (F.adaptive_avg_pool2d(x, self.size) if self.size else x).flatten(1)


class RandomConvFeatures(nn.Module):
    """A fixed random convolutional network, sensitive to texture and blur.

    Random features tell image distributions apart where pretrained ones are off their domain (Naeem et al. 2020,
    "Reliable fidelity and diversity metrics for generative models"). Orthogonal initialisation (Saxe et
    al. 2014) keeps the signal's scale through the layers.

    Parameters
    ----------
    spec : ImageSpec
        Images of at least 8 x 8 pixels.
    seed : int
        The weights are a function of it; no global generator is touched.
    dim : int
        Number of features, a multiple of 12 (3 poolings of a 2 x 2 grid).
    """

    def __init__(self, spec: ImageSpec, seed: int, dim: int = 384):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        width = dim // (_POOLS * _CELLS**2)
        stride = _stem_stride(spec, 64)
        depth = max(2, min(4, int(math.log2(min(spec.height, spec.width) / stride)) - 1))
        device = torch.get_default_device()
        layers = [nn.utils.skip_init(nn.Conv2d, spec.channels, width, stride + 2, stride, padding=1, device=device)]
        layers += [nn.utils.skip_init(nn.Conv2d, width, width, 3, padding=1, device=device) for _ in range(depth - 1)]
        self.layers = nn.ModuleList(layers)
        _initialise(self.layers, generator)

    def features(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            x = F.relu(layer(F.avg_pool2d(x, 2) if index else x))
        second = F.adaptive_avg_pool2d(x.square(), _CELLS).sqrt()
        return torch.cat([F.adaptive_avg_pool2d(x, _CELLS), F.adaptive_max_pool2d(x, _CELLS), second], 1).flatten(1)


class RandomMLPFeatures(nn.Module):
    """Two fixed random ReLU layers over standardised rows (random features, Rahimi & Recht 2007)."""

    def __init__(self, spec: VectorSpec, seed: int, dim: int = 384):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        sizes = [spec.dim, dim, dim]
        device = torch.get_default_device()
        layers = [nn.utils.skip_init(nn.Linear, i, o, device=device) for i, o in itertools.pairwise(sizes)]
        self.layers = nn.ModuleList(layers)
        _initialise(self.layers, generator)

    def features(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


def random_features(spec: ImageSpec | VectorSpec, seed: int, dim: int = 384) -> nn.Module:
    """The fixed random network for data of `spec`, which sees texture and layout of images."""
    net = RandomConvFeatures if isinstance(spec, ImageSpec) else RandomMLPFeatures
    return net(spec, seed, dim).eval().requires_grad_(False)  # type: ignore[arg-type]


def _initialise(layers: Iterable[Any], generator: torch.Generator) -> None:
    """Orthogonal weights with the gain of a ReLU; small random biases, so that its kinks do not all meet at zero."""
    for layer in layers:
        if layer.weight.is_meta:  # a sketch, for its shapes alone
            continue
        nn.init.orthogonal_(layer.weight, math.sqrt(2), generator=generator)
        nn.init.uniform_(layer.bias, -0.5, 0.5, generator=generator)


class ClassifierNet(nn.Module):
    """A small convolutional classifier; its 64 penultimate activations are the features.

    Parameters
    ----------
    spec : ImageSpec
    classes : int
        Number of classes.
    width : int
        Channels of the first block; they double with each of the blocks.
    """

    FEATURES = 64
    CELLS = 3

    def __init__(self, spec: ImageSpec, classes: int, width: int = 16):
        super().__init__()
        stride = _stem_stride(spec, 14)
        self.blocks = nn.ModuleList(
            [
                _block(nn.Conv2d(spec.channels, width, stride + 2, stride, padding=1, bias=False)),
                _block(nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)),
                _block(nn.Conv2d(2 * width, 4 * width, 3, padding=1, bias=False)),
            ]
        )
        self.hidden = nn.Linear(4 * width * self.CELLS**2, self.FEATURES)
        self.output = nn.Linear(self.FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        first, second, third = self.blocks
        x = third(second(F.max_pool2d(first(x), 2)))
        return F.relu(self.hidden(F.adaptive_avg_pool2d(x, self.CELLS).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Class logits ``(N, classes)``."""
        return self.output(self.features(x))


def _block(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


class VectorClassifierNet(nn.Module):
    """A small MLP classifier of standardised rows; its 64 penultimate activations are the features."""

    FEATURES = 64

    def __init__(self, spec: VectorSpec, classes: int, width: int = 128):
        super().__init__()
        self.first = nn.Linear(spec.dim, width)
        self.hidden = nn.Linear(width, self.FEATURES)
        self.output = nn.Linear(self.FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.hidden(F.relu(self.first(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Class logits ``(N, classes)``."""
        return self.output(self.features(x))
