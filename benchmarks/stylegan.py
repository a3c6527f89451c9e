"""CPU seconds of a StyleGAN2 training step against the straightforward implementation: ``python benchmarks/stylegan.py``.

The plain side has a kernel of its own for every example, run as a grouped convolution, and resamples by putting zeros between
pixels, padding and filtering (upfirdn), as the papers describe it. Both sides have the same weights and noise, their losses
are compared, and segments are interleaved A B A B. Prints JSON; the target is a ratio of at most 0.6 at 64 pixels.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genarena.data import Batch, ImageSpec, Schema
from genarena.fitted import build
from genarena.machine import keep_freed_memory
from genarena.models.stylegan import StyleGAN
from genarena.nets import stylegan_layers as layers
from genarena.referee import Referee

ROUNDS = 16  # of a segment: one of the discriminator's and four of the generator's lazy penalties
SEGMENTS = 5


def upfirdn(x: Tensor, taps: Tensor, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """Zeros between pixels, padding, a filter on every channel, every `down`-th pixel."""
    n, c, h, w = x.shape
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    x = F.pad(x, (*padding, *padding))
    return F.conv2d(x, taps[None, None].repeat(c, 1, 1, 1), groups=c)[:, :, ::down, ::down]


def plain_filter(self: Any, x: Tensor) -> Tensor:
    if self.upsample:
        return upfirdn(x, self.taps, up=2, padding=(2, 1))
    return upfirdn(x, self.taps, down=self.stride, padding=(self.padding, self.padding))


def plain_modulation(self: Any, x: Tensor, w: Tensor) -> Tensor:
    n, inputs, height, width = x.shape
    shared = self.convolution.weight * self.convolution.scale
    kernel = shared[None] * self.style(w)[:, None, :, None, None]
    if self.demodulate:
        kernel = kernel * torch.rsqrt(kernel.square().sum((2, 3, 4), keepdim=True) + layers.EPSILON)
    outputs, side = kernel.shape[1], kernel.shape[-1]
    grouped = x.reshape(1, n * inputs, height, width)
    if self.convolution.resample == "up":
        kernel = kernel.transpose(1, 2).reshape(n * inputs, outputs, side, side)
        y = F.conv_transpose2d(grouped, kernel, stride=2, groups=n)
        y = self.convolution.filter(y.reshape(n, outputs, *y.shape[2:]))
    else:
        y = F.conv2d(grouped, kernel.reshape(n * outputs, inputs, side, side), padding=side // 2, groups=n)
        y = y.reshape(n, outputs, *y.shape[2:])
    return self.gain * (y + self.bias[:, None, None])


@contextmanager
def plainly(plain: bool) -> Any:
    """The layers as papers describe them, for as long as this lasts."""
    ours = layers.Filter.forward, layers.ModulatedConvolution.forward
    if plain:
        layers.Filter.forward, layers.ModulatedConvolution.forward = plain_filter, plain_modulation  # type: ignore[method-assign]
    try:
        yield
    finally:
        layers.Filter.forward, layers.ModulatedConvolution.forward = ours  # type: ignore[method-assign]


class RandomBatches:
    """Random images, the same for both sides."""

    def __init__(self, schema: Schema, n: int, size: int):
        self.schema, self.n, self.size = schema, n, size
        self.images = self.batches = 0

    def __call__(self) -> Batch:
        self.images += self.n
        self.batches += 1
        generator = torch.Generator().manual_seed(self.batches)
        return Batch({"image": torch.rand(self.n, 3, self.size, self.size, generator=generator) * 2 - 1}, self.schema)


def side(size: int, plain: bool, settings: dict[str, Any]) -> tuple[Callable[[], float], list[float]]:
    """A segment that gives CPU milliseconds an image, and the losses it meets."""
    schema = Schema({"image": ImageSpec(3, size, size)}, {"image": "target"})
    game = build(StyleGAN, StyleGAN.Config.parse(settings), schema, 0).train()
    if not plain:
        game = game.to(memory_format=torch.channels_last)
    referee, draw = Referee(game), RandomBatches(schema, game.config.batch_size, size)  # type: ignore[arg-type]
    losses: list[float] = []

    def segment() -> float:
        with plainly(plain):
            torch.default_generator.manual_seed(len(losses))
            started, before = time.process_time(), draw.images
            for _ in range(ROUNDS):
                losses.extend(float(loss) for loss in referee.play_round(draw).losses.values())
            return 1000 * (time.process_time() - started) / (draw.images - before)

    return segment, losses


def compare(size: int, settings: dict[str, Any]) -> None:
    (ours, ours_losses), (plain, plain_losses) = side(size, False, settings), side(size, True, settings)
    times = [(ours(), plain()) for _ in range(SEGMENTS + 1)][1:]
    first = 4  # of two rounds: rounding errors grow in a game, and later ones are apart on any two machines
    apart = max(abs(a - b) for a, b in zip(ours_losses[:first], plain_losses[:first], strict=True))
    record = {"size": size, **settings, "ours_ms": round(statistics.median(a for a, _ in times), 2)}
    record["ratio"] = round(statistics.median(a / b for a, b in times), 3)
    print(json.dumps({**record, "losses_apart": float(f"{apart:.2g}")}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does; for both sides
    for size in [int(word) for word in sys.argv[1:]] or [32, 64]:
        compare(size, {})
