"""Built-in data: scikit-learn's real handwritten digits, and generated sets whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_digits

from .fields import Field, VectorSpec
from .raw import Raw, consecutive
from .splits import make_splits

SHAPES = ("square", "ellipse", "heart")
FACTORS = ("shape", "scale", "rotation", "x", "y")

_SEED = 20260101


def mixture(name: str) -> tuple[np.ndarray, float]:
    """Return the centres ``(K, 2)`` and the standard deviation of ``ring8`` or ``grid25``.

    The ring has eight modes on the unit circle, sigma 0.02; the grid has modes at {-4, -2, 0, 2, 4}², sigma 0.05
    (Lin et al., "PacGAN", arXiv:1712.04086, section 4.1; their ring is wider).
    """
    if name == "ring8":
        angles = 2 * np.pi * np.arange(8) / 8
        return np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.02
    steps = np.arange(-4.0, 5.0, 2.0)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2), 0.05


def count_modes(samples: np.ndarray, centres: np.ndarray, sigma: float, threshold: int = 20) -> tuple[int, float]:
    """Count the modes that samples reach, and the share of samples near any mode.

    Parameters
    ----------
    samples : numpy.ndarray
        ``(N, 2)``, usually 2,500 of them.
    centres, sigma
        As `mixture` returns them.
    threshold : int
        A mode counts with at least this many samples within 3 sigma (Euclidean) of its centre.

    Returns
    -------
    modes : int
    share : float
        Of the samples within 3 sigma of their nearest centre; 0.989 for exact samples, since the mixture is in 2-D.
    """
    distances = np.linalg.norm(np.asarray(samples)[:, None] - centres[None], axis=2)
    nearest = distances.argmin(axis=1)
    close = distances.min(axis=1) <= 3 * sigma
    counts = np.bincount(nearest[close], minlength=len(centres))
    return int((counts >= threshold).sum()), float(close.mean())


def _mixture_samples(name: str) -> Raw:
    centres, sigma = mixture(name)
    generator = np.random.default_rng(_SEED)
    counts = {"train": 50_000, "val": 5_000, "test": 5_000}
    modes = generator.integers(len(centres), size=sum(counts.values()))
    values = centres[modes] + sigma * generator.standard_normal((len(modes), 2))
    classes = tuple(str(mode) for mode in range(len(centres)))
    return Raw(name, values.astype(np.float32).astype(np.float64), modes, classes, consecutive(counts))


def _digits() -> Raw:
    bundled = load_digits()
    images = bundled.images.astype(np.uint8)[:, None]  # counts of set pixels in 4 x 4 blocks: 0 .. 16
    return Raw("digits", images, bundled.target, tuple("0123456789"), levels=17)


def _stacked_digits() -> Raw:
    """Three digits as the channels of an RGB image, 1,000 classes; each split stacks digits of its own split only.

    After the stacked MNIST of Metz et al., "Unrolled GAN", arXiv:1611.02163, section 3.3.
    """
    digits = _digits()
    splits, _ = make_splits(digits.values, {})
    generator = np.random.default_rng(_SEED)
    counts = {"train": 20_000, "val": 2_000, "test": 4_000}
    picked = np.concatenate([generator.choice(splits[name], size=(count, 3)) for name, count in counts.items()])
    labels = digits.labels[picked] @ np.array([100, 10, 1])  # type: ignore[index]
    classes = tuple(f"{number:03d}" for number in range(1000))
    return Raw("stacked-digits", digits.values[picked][:, :, 0], labels, classes, consecutive(counts), levels=17)


def _shapes() -> Raw:
    """White shapes on black, 32 x 32, from five independent factors: a small relative of dSprites.

    Factors: shape (0 square, 1 ellipse, 2 heart), scale (half the size, pixels, 4 .. 8), rotation (radians,
    0 .. 2 pi; a square looks alike four times and an ellipse twice a turn), x and y (centre, pixels from the middle,
    -6 .. 6). After Matthey et al., "dSprites", 2017.
    """
    generator = np.random.default_rng(_SEED)
    counts = {"train": 9_000, "val": 1_000, "test": 2_000}
    total = sum(counts.values())
    shape = generator.integers(len(SHAPES), size=total)
    low, high = np.array([4.0, 0.0, -6.0, -6.0]), np.array([8.0, 2 * np.pi, 6.0, 6.0])
    factors = np.column_stack([shape, generator.uniform(low, high, size=(total, 4))]).astype(np.float32)
    images = render_shapes(factors)
    train = factors[: counts["train"]].astype(np.float64)
    spec = VectorSpec(len(FACTORS), tuple(train.mean(0).tolist()), tuple(train.std(0).tolist()), FACTORS)
    conditions = {"factors": Field(spec, "condition", factors)}
    return Raw("shapes", images, shape, SHAPES, consecutive(counts), conditions, levels=256)


def render_shapes(factors: np.ndarray) -> np.ndarray:
    """Draw shapes by their factors ``(N, 5)``, antialiased by 3 x 3 samples a pixel; uint8 ``(N, 1, 32, 32)``."""
    side, fine = 32, 3
    axis = ((np.arange(side * fine) + 0.5) / fine - side / 2).astype(np.float32)
    images = np.empty((len(factors), 1, side, side), dtype=np.uint8)
    for image, (shape, scale, rotation, x, y) in zip(images, factors.astype(np.float32), strict=True):
        # Each sample's place in the shape's own frame, where every shape has about the size of the unit square.
        across, down = (axis - x)[None, :] / scale, (axis - y)[:, None] / scale
        u = np.cos(rotation) * across + np.sin(rotation) * down
        v = np.cos(rotation) * down - np.sin(rotation) * across
        inside = _OUTLINES[int(shape)](u, v)
        cover = inside.reshape(side, fine, side, fine).sum(axis=(1, 3), dtype=np.uint8)
        image[0] = np.rint(cover * (255 / fine**2))
    return images


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    a, b = np.square(1.2 * u), -1.2 * v
    rest = a + b * b - 1
    return rest * rest * rest <= a * b * b * b


_OUTLINES = (
    lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.8,
    lambda u, v: u * u + 4 * v * v <= 1,
    _heart,
)


BUILTIN: dict[str, Callable[[], Raw]] = {
    "digits": _digits,
    "ring8": lambda: _mixture_samples("ring8"),
    "grid25": lambda: _mixture_samples("grid25"),
    "shapes": _shapes,
    "stacked-digits": _stacked_digits,
}
"""Each built-in set by name; reading one needs no network."""
