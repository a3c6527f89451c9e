"""Layers that show a discriminator how much the examples of a batch differ: a collapsed generator cannot hide that.

What is said of an example while training depends on those beside it. Outside training it is a running mean of what was said,
so that the score of an example is its own. Shapes: N batch, C channels, F features, B kernels, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import distributed

KERNELS = 32  # the code of Salimans et al. 2016 has 100 of 5 dimensions, which take three times as long
DIMENSIONS = 5
GROUP = 4  # examples whose deviation is taken, at most
MOMENTUM = 0.01  # of a running mean, by batch


def group_size(n: int, most: int = GROUP) -> int:
    """Examples of a group in a batch of `n`: the largest number that divides it, up to `most`."""
    return next(size for size in range(min(most, n), 0, -1) if n % size == 0)


def minibatch_stddev(x: Tensor, group: int = GROUP) -> Tensor:
    """`x` with one more channel: how much the examples of a group differ (Karras et al. 2018, section 3; 2020).

    The standard deviation over a group of neighbours in the batch, averaged over features and pixels.

    Parameters
    ----------
    x : Tensor
        ``(N, C, H, W)`` or ``(N, F)``.
    group : int
        Examples of a group at most, see `group_size`. Processes that each hold a multiple of it equal one.
    """
    n, size = len(x), group_size(len(x), group)
    variance = x.reshape(n // size, size, *x.shape[1:]).var(1, correction=0)
    deviation = (variance + 1e-8).sqrt().flatten(1).mean(1).repeat_interleave(size).to(x)
    return torch.cat([x, deviation.view(-1, *[1] * (x.ndim - 1)).expand(-1, 1, *x.shape[2:])], 1)


class _Usual(nn.Module):
    """A running mean of what a layer says of a batch.

    Parameters
    ----------
    *shape : int
        Of what it says of an example.
    """

    usual: Tensor

    def __init__(self, *shape: int):
        super().__init__()
        self.register_buffer("usual", torch.zeros(shape))

    @torch.no_grad()
    def remember(self, said: Tensor) -> None:
        """Move towards the mean of what was said of a batch, ``(N, *shape)``."""
        self.usual.lerp_(distributed.mean(said.mean(0)).to(self.usual), MOMENTUM)


class MinibatchStddev(_Usual):
    """`minibatch_stddev` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` or ``(N, F)`` to one channel or feature more."""
        if not self.training:
            return torch.cat([x, self.usual.to(x).expand(len(x), 1, *x.shape[2:])], 1)
        x = minibatch_stddev(x)
        self.remember(x[:, -1].flatten(1)[:, 0] if x.ndim > 2 else x[:, -1])
        return x


class MinibatchDiscrimination(_Usual):
    """How close an example is to all others of the batch, in B learned ways (Salimans et al. 2016, section 3.2).

    M_i = T f(x_i), a matrix of B rows; o(x_i)_b = mean_{j != i} exp(-||M_ib - M_jb||_1). The paper has the sum, whose size is
    that of the batch: one step of Adam then moves logits by tens (its code starts from a batch of data to prevent that).

    Parameters
    ----------
    features : int
        F.
    kernels, dimensions : int
        B and D, the rows and columns of M.
    """

    def __init__(self, features: int, kernels: int = KERNELS, dimensions: int = DIMENSIONS):
        super().__init__(kernels)
        self.kernels = kernels
        self.project = nn.Linear(features, kernels * dimensions, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, F)`` to ``(N, F + B)``."""
        if not self.training:
            return torch.cat([x, self.usual.to(x).expand(len(x), -1)], 1)
        own = self.project(x).unflatten(1, (self.kernels, -1))
        every = _of_all_processes(own)
        distance = sum((a[:, None] - b).abs() for a, b in zip(own.unbind(2), every.unbind(2), strict=True))
        closeness = (-distance).exp().sum(1) - 1  # exp(0) = 1 is an example's closeness to itself
        closeness = closeness / max(len(every) - 1, 1)
        self.remember(closeness)
        return torch.cat([x, closeness.to(x)], 1)


def _of_all_processes(rows: Tensor) -> Tensor:
    """This process's examples and those of the others, ``(world * N, ...)``; gradients reach all of them."""
    world, rank = distributed.world(), distributed.rank()
    if world == 1:
        return rows
    places = torch.zeros(world, *rows.shape, dtype=rows.dtype, device=rows.device)
    mine = torch.arange(world, device=rows.device) == rank
    placed = torch.where(mine.view(-1, *[1] * rows.ndim), rows, places)
    return distributed.mean(placed).flatten(0, 1) * world


def minibatch_layer_of(name: str, features: int) -> tuple[nn.Module, int]:
    """The layer of a name (``none``, ``stddev``, ``discrimination``) for `features`, and how many it gives."""
    if name == "stddev":
        return MinibatchStddev(), features + 1
    if name == "discrimination":
        return MinibatchDiscrimination(features), features + KERNELS
    return nn.Identity(), features
