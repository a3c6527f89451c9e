"""The residual nets of BigGAN (Brock et al. 2019, appendix B), for square images of 8 to 256 pixels.

Shapes: N batch, C channels, H height, W width, L latent dimensions, K classes, F numbers a norm is conditioned on. Labels are
one-hot rows ``(N, K)``; latents are noise with the label beside it, ``(N, L + K)``.

Every linear and convolutional layer starts orthogonal and is spectrally normalised, but for the generator's embedding of the
classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..precision import mixed
from .norm import BatchNorm, spectral_norm

SMALLEST = 4  # pixels of the generator's first map
EPSILON = 1e-6  # of the spectral norm
# Channels, in widths, of the generator's maps from the first to the image: appendix B, its 32-pixel net cut shorter below.
GENERATOR = {
    8: (4, 4),
    16: (4, 4, 4),
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}
# Channels, in widths, of the discriminator's maps after each block, and how many blocks halve the resolution.
DISCRIMINATOR = {
    8: (4, 4),
    16: (4, 4, 4),
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}
HALVINGS = {8: 1, 16: 1, 32: 2, 64: 4, 128: 5, 256: 6}


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> nn.Module:
    """A layer whose filters start orthogonal (Saxe et al. 2014), of length `gain`, and whose bias starts from 0."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def normalised(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """An orthogonal layer divided by its largest singular value."""
    return spectral_norm(orthogonal(layer), EPSILON)


def embedding_of(classes: int, dimensions: int) -> nn.Module:
    """A vector ``(dimensions,)`` for each class, orthogonal and of mean square 1 a number, as the noise they stand next to."""
    return orthogonal(nn.Linear(classes, dimensions, bias=False), max(classes, dimensions) ** 0.5)


def filters(net: nn.Module) -> list[Tensor]:
    """The weights under every spectral norm, as they are learned: all but biases, gains and embeddings of classes."""
    return [m.parametrizations.weight.original for m in net.modules() if parametrize.is_parametrized(m)]  # type: ignore


@torch.no_grad()
def standing_statistics(net: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Set the statistics of every batch norm to the plain average of those of some batches (Brock et al. 2019, appendix B).

    Each batch is normalised by its own, which are put in the place of the running ones: the net is in eval mode, since norms
    that train would wait for other processes.

    Parameters
    ----------
    net : Module
        In eval mode.
    inputs : iterable of Tensor
        At least one batch.
    """
    norms = [m for m in net.modules() if isinstance(m, BatchNorm)]
    totals = {norm: torch.zeros_like(torch.stack([norm.running_mean, norm.running_var])) for norm in norms}  # type: ignore

    def measure(norm: BatchNorm, arguments: tuple[Tensor, ...]) -> None:
        (x,) = arguments
        variance, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(variance)  # type: ignore[union-attr]
        count = x.numel() // x.shape[1]
        totals[norm] += torch.stack([mean, variance * (count / (count - 1))])

    handles = [norm.register_forward_pre_hook(measure) for norm in norms]
    batches = 0
    for batch in inputs:
        net(batch)
        batches += 1
    for handle in handles:
        handle.remove()
    for norm, total in totals.items():
        norm.running_mean.copy_(total[0] / batches)  # type: ignore[union-attr]
        norm.running_var.copy_(total[1] / batches)  # type: ignore[union-attr]


class StandardBatchNorm(BatchNorm):
    """Batch norm whose gain is 1 and whose bias is 0: they are not learned."""

    def __init__(self, channels: int):
        super().__init__(channels, affine=False)
        for name, value in (("weight", 1.0), ("bias", 0.0)):
            delattr(self, name)
            self.register_buffer(name, torch.full((channels,), value), persistent=False)


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a gain 1 + W c and a bias U c (de Vries et al. 2017; linear, without a hidden layer).

    Parameters
    ----------
    channels, conditions : int
        C and F.
    embeds : bool
        Whether W and U hold vectors of the classes themselves: then they are not spectrally normalised.
    """

    def __init__(self, channels: int, conditions: int, embeds: bool):
        super().__init__()
        start = orthogonal if embeds else normalised
        self.norm = StandardBatchNorm(channels)
        self.gain = start(nn.Linear(conditions, channels, bias=False))
        self.bias = start(nn.Linear(conditions, channels, bias=False))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """``(N, C, H, W)`` and conditions ``(N, F)`` to ``(N, C, H, W)``."""
        gain, bias = 1 + self.gain(c), self.bias(c)
        return torch.addcmul(bias[:, :, None, None], self.norm(x), gain[:, :, None, None])


class Attention(nn.Module):
    """Self-attention: x + gamma o(v softmax(k^T q)), gamma from 0 (Zhang et al. 2019, eq. 1 to 3; k and v max-pooled)."""

    def __init__(self, channels: int):
        super().__init__()
        few, half = max(1, channels // 8), max(1, channels // 2)
        self.query = normalised(nn.Conv2d(channels, few, 1, bias=False))
        self.key = normalised(nn.Conv2d(channels, few, 1, bias=False))
        self.value = normalised(nn.Conv2d(channels, half, 1, bias=False))
        self.output = normalised(nn.Conv2d(half, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def weights(self, x: Tensor) -> Tensor:
        """How much each of HW places looks at each of HW/4, ``(N, HW, HW/4)``."""
        query, key = self.query(x).flatten(2), F.max_pool2d(self.key(x), 2).flatten(2)
        return torch.softmax(query.transpose(1, 2) @ key, 2)

    def forward(self, x: Tensor) -> Tensor:
        value = F.max_pool2d(self.value(x), 2).flatten(2)
        seen = value @ self.weights(x).transpose(1, 2)
        return x + self.gamma * self.output(seen.unflatten(2, x.shape[2:]))


class GeneratorBlock(nn.Module):
    """norm, ReLU, twice the resolution, 3x3; norm, ReLU, 3x3; beside it a 1x1 shortcut (figure 15b).

    The shortcut comes before the doubling of neighbours, with which it commutes, at a quarter of the work.
    """

    def __init__(self, before: int, after: int, conditions: int, embeds: bool):
        super().__init__()
        self.norm1 = ConditionalBatchNorm(before, conditions, embeds)
        self.conv1 = normalised(nn.Conv2d(before, after, 3, padding=1))
        self.norm2 = ConditionalBatchNorm(after, conditions, embeds)
        self.conv2 = normalised(nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = normalised(nn.Conv2d(before, after, 1))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """``(N, C, H, W)`` and conditions ``(N, F)`` to ``(N, C', 2H, 2W)``."""
        h = self.conv1(F.interpolate(F.relu(self.norm1(x, c)), scale_factor=2.0))
        h = self.conv2(F.relu(self.norm2(h, c)))
        return h + F.interpolate(self.shortcut(x), scale_factor=2.0)


class DiscriminatorBlock(nn.Module):
    """ReLU, 3x3, ReLU, 3x3 and half the resolution, beside a shortcut (figure 15c).

    Parameters
    ----------
    before, after : int
        Channels.
    halve : bool
        Average neighbours in two by two.
    first : bool
        The block that sees the image, which no ReLU may clip.
    """

    def __init__(self, before: int, after: int, halve: bool, first: bool):
        super().__init__()
        self.first = first
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()
        self.conv1 = normalised(nn.Conv2d(before, after, 3, padding=1))
        self.conv2 = normalised(nn.Conv2d(after, after, 3, padding=1))
        same = before == after and not halve
        self.shortcut = nn.Identity() if same else normalised(nn.Conv2d(before, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else F.relu(x))
        return self.pool(self.conv2(F.relu(h))) + self.shortcut(self.pool(x))


class BigGANGenerator(nn.Module):
    """Noise and label to image.

    Parameters
    ----------
    size, channels : int
        Pixels a side, one of `GENERATOR`, and colours.
    latent_dim, classes : int
        L and K.
    width : int
        The paper's ch.
    shared : int, optional
        Dimensions of an embedding of the classes that all norms share; without it each norm has its own.
    hierarchical : bool
        Noise in equal parts: one for the first map, one for each block's norms, next to the class.
    attention : int, optional
        Resolution of the map that attends to itself.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        latent_dim: int,
        classes: int,
        width: int,
        shared: int | None,
        hierarchical: bool,
        attention: int | None,
    ):
        super().__init__()
        maps = [width * multiple for multiple in GENERATOR[size]]
        self.split = [latent_dim, classes]
        self.part = latent_dim // len(maps) if hierarchical else latent_dim
        self.embedding = embedding_of(classes, shared) if shared else nn.Identity()
        conditions = (shared or classes) + (self.part if hierarchical else 0)
        self.top = (SMALLEST, SMALLEST, maps[0])
        self.stem = normalised(nn.Linear(self.part, SMALLEST**2 * maps[0]))
        self.layers = nn.ModuleList()
        self.attention = nn.ModuleList()
        resolution = SMALLEST
        for before, after in pairwise(maps):
            resolution *= 2
            self.layers.append(GeneratorBlock(before, after, conditions, embeds=not shared))
            self.attention.append(Attention(after) if resolution == attention else nn.Identity())
        self.norm = BatchNorm(maps[-1])
        self.head = normalised(nn.Conv2d(maps[-1], channels, 3, padding=1))

    @mixed
    def forward(self, z: Tensor) -> Tensor:
        """``(N, L + K)`` to ``(N, C, size, size)``, without an activation at the end."""
        noise, y = z.split(self.split, 1)
        y = self.embedding(y)
        first, *others = noise.split(self.part, 1)
        conditions = [torch.cat([y, part], 1) for part in others] or [y] * len(self.layers)
        x = self.stem(first).unflatten(1, self.top).permute(0, 3, 1, 2)
        for layer, attention, c in zip(self.layers, self.attention, conditions, strict=True):
            x = attention(layer(x, c))
        return self.head(F.relu(self.norm(x)))


class BigGANDiscriminator(nn.Module):
    """Image and label to a logit: sum-pooled features, a linear map and a projection on the label's vector.

    Parameters
    ----------
    size, channels, classes, width : int
        As of the generator.
    attention : int, optional
        The first map of this resolution attends to itself.
    """

    def __init__(self, size: int, channels: int, classes: int, width: int, attention: int | None):
        super().__init__()
        self.layers = nn.ModuleList()
        before, resolution = channels, size
        for index, multiple in enumerate(DISCRIMINATOR[size]):
            after, halve = width * multiple, index < HALVINGS[size]
            block: nn.Module = DiscriminatorBlock(before, after, halve, first=index == 0)
            if halve:
                resolution //= 2
                block = nn.Sequential(block, Attention(after)) if resolution == attention else block
            self.layers.append(block)
            before = after
        self.head = normalised(nn.Linear(before, 1))
        self.embedding = normalised(nn.Linear(classes, before, bias=False))

    @mixed
    def hidden(self, x: Tensor) -> list[Tensor]:
        """The map after each block, from the image up, each ``(N, C', H', W')``; the last one rectified."""
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        maps[-1] = F.relu(x)
        return maps

    @mixed
    def classify(self, top: Tensor, y: Tensor) -> Tensor:
        """The logit ``(N, 1)`` from the last hidden map and the labels (Miyato & Koyama 2018, eq. 3)."""
        features = top.sum((2, 3))
        return self.head(features) + (self.embedding(y) * features).sum(1, keepdim=True)
