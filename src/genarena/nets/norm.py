"""Batch normalisation whose statistics are those of the global batch (Ioffe & Szegedy 2015)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from .. import distributed
from ..precision import unrounded


class BatchNorm(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` for ``(N, C)`` and ``(N, C, H, W)``, synchronised over processes.

    torch's own SyncBatchNorm needs a GPU. With one process this is torch's batch norm, bit for bit.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"expected (N, C) or (N, C, H, W), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or distributed.world() == 1:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        x = input.to(self.running_mean)
        first, second = distributed.mean(torch.stack([x.mean(axes), x.square().mean(axes)]))
        variance = (second - first.square()).clamp(min=0)  # round-off may go below
        count = distributed.world() * input.numel() // input.shape[1]
        momentum = self.momentum or 0.0
        with torch.no_grad():
            self.running_mean.lerp_(first, momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * count / (count - 1), momentum)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        shape = [1, -1] + [1] * (input.dim() - 2)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul((self.bias - first * scale).view(shape), x, scale.view(shape)).to(input)


def layer_norm_of(name: str, channels: int) -> nn.Module:
    """The normalisation layer of a name: ``batch`` or ``none``."""
    return BatchNorm(channels) if name == "batch" else nn.Identity()


def activation_of(name: str) -> nn.Module:
    """The activation of a name."""
    made: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "leaky-relu": partial(nn.LeakyReLU, 0.2),
        "tanh": nn.Tanh,
        "silu": nn.SiLU,
    }
    return made[name]()


class SpectralNorm(_SpectralNorm):
    """torch's, whose power iteration stays in float32 where products are in bfloat16."""

    def forward(self, weight: Tensor) -> Tensor:
        with unrounded(weight.device):
            return super().forward(weight)

    def fit(self, weight: Tensor) -> None:
        """Find the singular vectors of a weight that was set from outside."""
        self._power_method(self._reshape_weight_to_matrix(weight.detach()), 15)


def spectral_norm(layer: nn.Module, epsilon: float = 1e-12) -> nn.Module:
    """A layer whose weight is divided by its largest singular value (Miyato et al. 2018, one power iteration a pass)."""
    weight: Any = layer.weight
    parametrize.register_parametrization(layer, "weight", SpectralNorm(weight, eps=epsilon))
    return layer


def spectral_normalise(net: nn.Module) -> nn.Module:
    """Spectrally normalise every linear and convolutional layer."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            spectral_norm(module)
    return net
