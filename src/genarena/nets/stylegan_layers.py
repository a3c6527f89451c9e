"""Layers of StyleGAN 1 and 2 (Karras et al. 2019, 2020): equalised learning rate, filters, modulation.

Shapes: N batch, C channels in, O channels out, H height, W width, D dimensions of a style, k kernel. Every layer takes the
gain sqrt 2 of the leaky ReLU that follows into its own weights, since lrelu(g x) = g lrelu(x): a pass over the maps saved.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = math.sqrt(2)  # keeps the second moment through a leaky ReLU (He et al. 2015)
FILTER = (1, 3, 3, 1)  # also what nearest-neighbour upsampling and then the [1, 2, 1] blur of StyleGAN 1 amount to
EPSILON = 1e-8


def rectify(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, in place."""
    return F.leaky_relu_(x, 0.2)


def normalise(x: Tensor) -> Tensor:
    """Rows ``(N, D)`` of mean square one (pixel norm: Karras et al. 2018, section 4.2)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


class EqualisedLinear(nn.Module):
    """A linear layer whose weights start from N(0, 1) and are scaled as they are used (Karras et al. 2018, section 4.1).

    Parameters
    ----------
    inputs, outputs : int
    bias : float
        Where the bias starts.
    rate : float
        Factor on the layer's learning rate.
    gain : float
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale = gain * rate / math.sqrt(inputs)
        self.bias_scale = gain * rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.bias_scale)


class Filter(nn.Module):
    """The filter [1, 3, 3, 1] along both axes of every channel, with zeros around the map; its taps sum to `gain`.

    Parameters
    ----------
    padding : int
        Of each side, in pixels.
    stride : int
        2 keeps every other pixel: downsampling.
    upsample : bool
        Filter what has zeros between its pixels (stride 2): upsampling, for which `padding` is what is cut off instead.
    gain : float
    """

    taps: Tensor

    def __init__(self, padding: int, *, stride: int = 1, upsample: bool = False, gain: float = 1.0):
        super().__init__()
        taps = torch.tensor(FILTER, dtype=torch.float32)
        self.register_buffer("taps", torch.outer(taps, taps) * (gain / sum(FILTER) ** 2), persistent=False)
        self.padding, self.stride, self.upsample = padding, stride, upsample

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.taps.expand(channels, 1, *self.taps.shape)
        convolve = F.conv_transpose2d if self.upsample else F.conv2d
        return convolve(x, kernel, stride=self.stride, padding=self.padding, groups=channels)


def downsample() -> Filter:
    """``(N, C, H, W)`` to ``(N, C, H/2, W/2)``."""
    return Filter(1, stride=2)


def upsample() -> Filter:
    """``(N, C, H, W)`` to ``(N, C, 2H, 2W)``."""
    return Filter(1, stride=2, upsample=True, gain=4.0)


class Convolution(nn.Module):
    """A convolution of equalised learning rate that keeps, halves or doubles the resolution.

    Where it doubles, zeros go between the pixels, the kernel runs over them (a transposed convolution) and the filter over
    the result; where it halves, the filter comes first (Karras et al. 2020, appendix B; Zhang 2019). One pass of the filter
    on its own costs less than a convolution with both kernels in one of 6x6.

    Parameters
    ----------
    inputs, outputs, kernel : int
    gain : float
    bias : bool
    resample : {"keep", "up", "down"}
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        gain: float = 1.0,
        bias: bool = True,
        resample: Literal["keep", "up", "down"] = "keep",
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain = gain
        self.scale = gain / math.sqrt(inputs * kernel**2)
        self.resample = resample
        self.filter = {"keep": None, "up": Filter(1, gain=4.0), "down": Filter(2)}[resample]

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, O, H', W')``."""
        weight = self.weight * self.scale
        bias = None if self.bias is None else self.bias * self.gain
        if self.resample == "up":
            x = self.filter(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))  # type: ignore[misc]
            return x if bias is None else x + bias[:, None, None].to(x)
        if self.resample == "down":
            return F.conv2d(self.filter(x), weight, bias, stride=2)  # type: ignore[misc]
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


class ModulatedConvolution(nn.Module):
    """A convolution whose input channels a style scales, and whose outputs are scaled back to unit variance.

    w'_ijk = s_i w_ijk (Karras et al. 2020, eq. 1), w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + eps) (eq. 3), j the output
    channel. Both scale whole channels, so here they scale the maps around one convolution that all examples share, and
    no example needs weights of its own.

    Parameters
    ----------
    inputs, outputs, kernel, style_dim : int
    demodulate : bool
        Whether eq. 3 is applied.
    gain : float
    upsample : bool
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        style_dim: int,
        *,
        demodulate: bool = True,
        gain: float = 1.0,
        upsample: bool = False,
    ):
        super().__init__()
        self.style = EqualisedLinear(style_dim, inputs, bias=1.0)
        self.convolution = Convolution(inputs, outputs, kernel, bias=False, resample="up" if upsample else "keep")
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.demodulate = demodulate
        self.gain = gain

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` and styles ``(N, D)`` to ``(N, O, H', W')``."""
        style = self.style(w)
        x = self.convolution(x * style[:, :, None, None])
        bias = (self.bias * self.gain)[:, None, None].to(x)
        if not self.demodulate:
            return x + bias
        power = (self.convolution.weight * self.convolution.scale).square().sum((2, 3))
        scale = torch.rsqrt(style.square() @ power.t() + EPSILON) * self.gain
        return torch.addcmul(bias, x, scale[:, :, None, None].to(x))


class ModulatedLayer(nn.Module):
    """Modulated convolution, noise, leaky ReLU (Karras et al. 2020, figure 2d)."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, *, upsample: bool = False):
        super().__init__()
        self.convolution = ModulatedConvolution(inputs, outputs, 3, style_dim, gain=GAIN, upsample=upsample)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)``, styles ``(N, D)``, noise ``(N, 1, H', W')``."""
        x = self.convolution(x, w)
        return rectify(torch.addcmul(x, noise.to(x), (self.strength * GAIN).to(x)))


class AdaptiveLayer(nn.Module):
    """Convolution, noise, leaky ReLU, adaptive instance norm (Karras et al. 2019, figure 1b and eq. 1).

    Parameters
    ----------
    inputs : int or None
        None for the layer that the learned constant meets, which has no convolution.
    outputs, style_dim : int
    upsample : bool
    """

    def __init__(self, inputs: int | None, outputs: int, style_dim: int, *, upsample: bool = False):
        super().__init__()
        self.convolution: nn.Module = nn.Identity()
        if inputs:
            self.convolution = Convolution(inputs, outputs, 3, gain=GAIN, resample="up" if upsample else "keep")
        self.strength = nn.Parameter(torch.zeros(outputs, 1, 1))  # one a channel
        self.style = EqualisedLinear(style_dim, 2 * outputs)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)``, styles ``(N, D)``, noise ``(N, 1, H', W')``."""
        x = self.convolution(x)
        x = rectify(torch.addcmul(x, noise.to(x), (self.strength * GAIN).to(x)))
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, 1)
        scale = (1 + scale) * torch.rsqrt(variance + EPSILON).to(x)
        return torch.addcmul(shift - mean * scale, x, scale)
