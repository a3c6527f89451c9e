"""Layers that show a discriminator how much the examples of a batch differ: a collapsed generator cannot hide that.

What is said of an example then depends on those beside it. Shapes: N batch, C channels, F features, B kernels, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import distributed

KERNELS = 32  # the code of Salimans et al. 2016 has 100 of 5 dimensions, which take three times as long
DIMENSIONS = 5


def minibatch_stddev(x: Tensor, group: int = 4) -> Tensor:
    """`x` with one more channel: how much the examples of a group differ (Karras et al. 2018, section 3; 2020).

    The standard deviation over a group of neighbours in the batch, averaged over features and pixels.

    Parameters
    ----------
    x : Tensor
        ``(N, C, H, W)`` or ``(N, F)``.
    group : int
        Examples of a group at most; the largest number that divides N is taken. Processes that each hold a multiple of it
        equal one.
    """
    n = len(x)
    size = next(size for size in range(min(group, n), 0, -1) if n % size == 0)
    variance = x.reshape(n // size, size, *x.shape[1:]).var(1, correction=0)
    deviation = (variance + 1e-8).sqrt().flatten(1).mean(1).repeat_interleave(size).to(x)
    return torch.cat([x, deviation.view(-1, *[1] * (x.ndim - 1)).expand(-1, 1, *x.shape[2:])], 1)


class MinibatchStddev(nn.Module):
    """`minibatch_stddev` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, F)`` to ``(N, F + 1)``."""
        return minibatch_stddev(x)


class MinibatchDiscrimination(nn.Module):
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
        super().__init__()
        self.kernels = kernels
        self.project = nn.Linear(features, kernels * dimensions, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, F)`` to ``(N, F + B)``."""
        own = self.project(x).unflatten(1, (self.kernels, -1))
        every = _of_all_processes(own) if self.training else own
        distance = sum((a[:, None] - b).abs() for a, b in zip(own.unbind(2), every.unbind(2), strict=True))
        closeness = (-distance).exp().sum(1) - 1  # exp(0) = 1 is an example's closeness to itself
        return torch.cat([x, (closeness / max(len(every) - 1, 1)).to(x)], 1)


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
