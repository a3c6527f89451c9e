"""Random changes to the images a discriminator is shown, real and fake alike, that gradients pass through.

Shown few images, a discriminator soon knows them by heart; shown altered ones, it cannot. What the generator makes is altered
before it is judged, so that it learns to make plain images, as long as the alterations do not hide what they altered
(Karras et al. 2020a, "Training Generative Adversarial Networks with Limited Data", section 2.2).

Both augmentations are the identity in eval mode and differentiable to any order in the image, as gradient penalties need. They
draw from torch's default generator, for the global batch where several processes share one.

Where we differ from Karras et al. 2020a: their resampler goes up by 2 and down again with the wavelet sym6, ours with the pair
CDF 5/3, whose way up is linear interpolation. It is shorter (5 taps, not 12) and symmetric: an image that stays, or is flipped,
turned by quarters or moved by whole pixels, comes out as it was. It lets more alias through where images shrink. Images that
are not square are not turned by quarters. Images are mirrored again and again beyond their borders, as far as needed.

Shapes: N batch, C channels (1 or 3), H height, W width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import distributed

TARGET = 0.6  # mean sign of the logits of real images that AdaptiveAugment holds
INTERVAL = 4  # turns of the discriminator from one move of its probability to the next
RAMP = 500_000  # images in which its probability goes from 0 to 1
LOW_PASS = (-1 / 8, 2 / 8, 6 / 8, 2 / 8, -1 / 8)  # CDF 5/3; its partner (1/2, 1, 1/2) is linear interpolation


def in_layout_of(x: Tensor, result: Tensor) -> Tensor:
    """`result` with channels last in memory where `x` has them so."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return result.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class DiffAugment(nn.Module):
    """Colour, translation and cutout on every image (Zhao et al. 2020, section 4.1).

    Brightness moves by up to 0.5, saturation and contrast change by factors in [0, 2] and [0.5, 1.5]; translation is by up to
    1/8 of each side, over zeros; a rectangle of half of each side becomes zero.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same."""
        if not self.training:
            return x
        n = len(x) * distributed.world()
        uniform = distributed.shard(torch.rand(n, 7, dtype=x.dtype, device=x.device))
        brightness, saturation, contrast = uniform[:, :3, None, None, None].unbind(1)
        y = x + (brightness - 0.5)
        y = torch.lerp(y.mean(1, keepdim=True), y, 2 * saturation)
        y = torch.lerp(y.mean((1, 2, 3), keepdim=True), y, contrast + 0.5)
        height, width = x.shape[2:]
        y = _shift(height, uniform[:, 3]) @ y @ _shift(width, uniform[:, 4]).mT
        hidden = _covered(height, uniform[:, 5])[:, :, None] & _covered(width, uniform[:, 6])[:, None, :]
        return in_layout_of(x, y * ~hidden[:, None])


def _shift(size: int, uniform: Tensor) -> Tensor:
    """Matrices ``(N, 1, size, size)`` that move a line of pixels by up to an eighth, over zeros."""
    most = (size + 4) // 8
    by = (uniform * (2 * most + 1)).floor() - most
    place = torch.arange(size, device=uniform.device)
    moved = place[:, None] - place == by[:, None, None]
    return moved[:, None].to(uniform.dtype)


def _covered(size: int, uniform: Tensor) -> Tensor:
    """Which pixels of a line a stretch of half its length covers, wherever its middle lies, ``(N, size)``."""
    side = (size + 1) // 2
    start = (uniform * (size + 1 - side % 2)).floor()[:, None] - side // 2
    place = torch.arange(size, device=uniform.device)
    return (place >= start) & (place < start + side)


class AdaptiveAugment(nn.Module):
    """Each of many transformations with a probability that follows how much the discriminator overfits (Karras et al. 2020a).

    The pipelines "bgc" of their appendix B: pixel blitting, general geometry and colour. The overfitting is r_t = E sign D(x)
    on real images (eq. 1).

    Attributes
    ----------
    probability : Tensor
        p, a scalar buffer; at 0 images pass unchanged.
    signs, seen : Tensor
        Sum of the mean signs of the turns since p moved, and how many these are.
    """

    probability: Tensor
    signs: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def adapt(self, sign: Tensor, images: int) -> None:
        """Follow a turn of the discriminator; p moves after every fourth (Karras et al. 2020a, section 3).

        Parameters
        ----------
        sign : Tensor
            Mean sign of the logits of real images.
        images : int
            Real images of that turn.
        """
        self.signs.add_(sign)
        self.seen.add_(1)
        if self.seen < INTERVAL:
            return
        self.probability.add_((self.signs / INTERVAL - TARGET).sign() * (INTERVAL * images / RAMP)).clamp_(0, 1)
        self.signs.zero_()
        self.seen.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same."""
        if not self.training or not self.probability:
            return x
        draws = Draws(x, self.probability)
        return in_layout_of(x, recolour(warp(x, geometry(x.shape[2], x.shape[3], draws)), draws))


class Draws:
    """Strengths of transformations for each image: zero, which changes nothing, where one is not applied.

    Parameters
    ----------
    x : Tensor
        The images of this process.
    probability : Tensor
        Of applying a transformation, to each image independently.
    """

    def __init__(self, x: Tensor, probability: Tensor):
        self.kind: dict[str, Any] = {"dtype": x.dtype, "device": x.device}
        self.n = len(x) * distributed.world()
        self.probability = probability

    def _applied(self, strength: Tensor, probability: Tensor | None = None) -> Tensor:
        chance = torch.rand(self.n, *[1] * (strength.ndim - 1), **self.kind)
        applied = chance < (self.probability if probability is None else probability)
        return distributed.shard(strength * applied)

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """N(0, deviation^2), ``(N, *shape)``."""
        return self._applied(deviation * torch.randn(self.n, *shape, **self.kind))

    def uniform(self, limit: float, *shape: int, probability: Tensor | None = None) -> Tensor:
        """Between -limit and limit, ``(N, *shape)``."""
        return self._applied(limit * (2 * torch.rand(self.n, *shape, **self.kind) - 1), probability)

    def choice(self, options: int) -> Tensor:
        """0 to ``options - 1``, ``(N,)``."""
        return self._applied((options * torch.rand(self.n, **self.kind)).floor())


def _matrices(*rows: tuple[Tensor | float, ...]) -> Tensor:
    """``(N, rows, columns)`` from entries ``(N,)`` or numbers."""
    like = next(entry for row in rows for entry in row if isinstance(entry, Tensor))
    return torch.stack([torch.stack([e + torch.zeros_like(like) for e in row], -1) for row in rows], -2)


def _scaling(x: Tensor | float, y: Tensor | float) -> Tensor:
    return _matrices((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, 1.0))


def _rotation(angle: Tensor) -> Tensor:
    return _matrices((angle.cos(), -angle.sin(), 0.0), (angle.sin(), angle.cos(), 0.0), (0.0, 0.0, 1.0))


def _translation(x: Tensor, y: Tensor) -> Tensor:
    return _matrices((1.0, 0.0, x), (0.0, 1.0, y), (0.0, 0.0, 1.0))


def geometry(height: int, width: int, draws: Draws) -> Tensor:
    """Where in the image each place of the altered one is found, ``(N, 2, 3)``, for `warp`.

    The way back from the last transformation to the first. Each strength is as likely as its inverse, and drawn for that way.
    """
    flip = draws.choice(2)
    turns = draws.choice(4) if height == width else torch.zeros_like(flip)
    size = torch.tensor([width, height], **draws.kind)
    whole = (draws.uniform(1 / 8, 2) * size).round()
    scale, stretch = draws.normal(0.2).exp2(), draws.normal(0.2).exp2()
    either = 1 - (1 - draws.probability).sqrt()  # so that p is the probability of one rotation or the other
    before, after = (draws.uniform(math.pi, probability=either) for _ in range(2))
    fraction = draws.normal(1 / 8, 2) * size
    place = (
        _scaling(1 - 2 * flip, 1.0)
        @ _rotation(turns * (math.pi / 2))
        @ _translation(*whole.unbind(1))
        @ _scaling(scale, scale)
        @ _rotation(before)
        @ _scaling(stretch, 1 / stretch)
        @ _rotation(after)
        @ _translation(*fraction.unbind(1))
    )
    return place[:, :2]


def warp(x: Tensor, place: Tensor) -> Tensor:
    """Images resampled once, mirrored beyond their borders.

    Parameters
    ----------
    x : Tensor
        ``(N, C, H, W)``.
    place : Tensor
        ``(N, 2, 3)``: from (x, y, 1) in the result to (x, y) in the image, in pixels from the middle of each.
    """
    height, width = x.shape[2:]
    rows, columns = _half_pixels(height, x), _half_pixels(width, x)
    place = place * place.new_tensor(
        [[2 / (width - 1)], [2 / (height - 1)]]
    )  # -1 and 1 are the outermost pixels' centres
    along, down, shift = place[..., None, None].unbind(2)
    doubled = _Lookup.apply(x, (along * columns + (down * rows[:, None] + shift)).movedim(1, -1))
    return _low_pass(height, x) @ doubled @ _low_pass(width, x).T


def _half_pixels(size: int, like: Tensor) -> Tensor:
    """A line of pixels and the places halfway, from its middle, with two more at each end for the filter, ``(2 size + 3,)``."""
    return torch.arange(-2, 2 * size + 1, dtype=like.dtype, device=like.device) / 2 - (size - 1) / 2


def _low_pass(size: int, like: Tensor) -> Tensor:
    """The matrix that filters such a line and keeps every second place, ``(size, 2 size + 3)``."""
    tap = torch.arange(2 * size + 3, device=like.device) - 2 * torch.arange(size, device=like.device)[:, None]
    taps = like.new_tensor(LOW_PASS)
    return torch.where((tap >= 0) & (tap < len(taps)), taps[tap.clamp(0, len(taps) - 1)], 0)


class _Lookup(torch.autograd.Function):
    """Linear interpolation of images at the places of a grid.

    torch's own has no second derivative. It is linear in the image, so the derivative of its adjoint is the lookup again.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, grid: Tensor) -> Tensor:
        context.save_for_backward(grid)
        context.shape = x.shape
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=True)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (grid,) = context.saved_tensors
        return _Adjoint.apply(gradient, grid, context.shape), None


class _Adjoint(torch.autograd.Function):
    """The gradient of `_Lookup` in the image."""

    @staticmethod
    def forward(context: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        context.save_for_backward(grid)
        with torch.enable_grad():
            x = gradient.new_zeros(shape, requires_grad=True)
            found = F.grid_sample(x, grid, padding_mode="reflection", align_corners=True)
        return torch.autograd.grad(found, x, gradient)[0]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = context.saved_tensors
        return _Lookup.apply(gradient, grid), None, None


def recolour(x: Tensor, draws: Draws) -> Tensor:
    """Brightness, contrast, luma flip, hue rotation and saturation as one affine map of colours.

    With P the projection on the grey axis and K the turn around it, all five act apart on the axis and across it:
    y = c ((1 - 2 i) P + s (cos t (1 - P) + sin t K)) x + c (1 - 2 i) b. Grey images lie on the axis.
    """
    brightness, contrast = draws.normal(0.2), draws.normal(0.5).exp2()
    along = contrast * (1 - 2 * draws.choice(2))
    hue, across = draws.uniform(math.pi), contrast * draws.normal(1.0).exp2()
    shift = (along * brightness)[:, None, None]
    if x.shape[1] == 1:
        return x * along[:, None, None, None] + shift[:, None]
    axis = x.new_full((3, 3), 1 / 3)
    turn = x.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    rest = torch.eye(3, dtype=x.dtype, device=x.device) - axis
    along, cosine, sine = (factor[:, None, None] for factor in (along, across * hue.cos(), across * hue.sin()))
    return torch.baddbmm(shift, along * axis + cosine * rest + sine * turn, x.flatten(2)).view(x.shape)
