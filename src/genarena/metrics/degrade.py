"""Real examples made worse in known ways: the evaluator's ceilings and the rungs of its self-test."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from ..data.fields import ImageSpec
from .spaces import TargetSpec


def mean_example(spec: TargetSpec, values: np.ndarray, n: int) -> np.ndarray:
    """The mean of ``values``, ``n`` times: what a model that ignores its latent and minimises squared error makes."""
    return np.repeat(stored(spec, values.mean(0, keepdims=True, dtype=np.float64)), n, axis=0)


def blur(spec: ImageSpec, values: np.ndarray, strength: float) -> np.ndarray:
    """Gaussian blur; the standard deviation is ``strength / 28`` of the shorter side, but ``strength / 2`` at least."""
    sigma = strength * max(0.5, min(spec.height, spec.width) / 28)
    return stored(spec, gaussian_filter(values.astype(np.float32), sigma, axes=(2, 3)))


def noise(spec: TargetSpec, values: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise of ``strength`` times the range of grey values, or times each column's scale."""
    unit = float(spec.levels - 1) if isinstance(spec, ImageSpec) else np.asarray(spec.scale, dtype=np.float64)
    return stored(spec, values + strength * unit * rng.standard_normal(values.shape))


def jpeg(spec: ImageSpec, values: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG and back, at a quality from 1 to 95."""
    pixels = np.rint(values * (255 / (spec.levels - 1))).astype(np.uint8).transpose(0, 2, 3, 1)
    restored = np.stack([_through_jpeg(image, quality) for image in pixels])
    return stored(spec, restored.transpose(0, 3, 1, 2) * ((spec.levels - 1) / 255))


def _through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    grey = pixels.shape[2] == 1
    Image.fromarray(pixels[..., 0] if grey else pixels).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(pixels.shape)


def bad_samples(
    spec: TargetSpec, train: np.ndarray, labels: np.ndarray | None, n: int, seed: int
) -> dict[str, np.ndarray]:
    """What stands for bad generators, up to ``n`` samples of each, by title."""
    if isinstance(spec, ImageSpec):
        bad = {"mean image": mean_example(spec, train, n), "blurred real": blur(spec, train[:n], 1.0)}
    else:
        noisy = noise(spec, train[:n], 0.5, np.random.default_rng(seed))
        bad = {"mean row": mean_example(spec, train, n), "noisy real": noisy}
    if labels is not None and len(np.unique(labels)) > 1:
        bad["class missing"] = train[labels != np.bincount(labels).argmax()][:n]
    return bad


def stored(spec: TargetSpec, values: np.ndarray) -> np.ndarray:
    """Values of any range and type, as data of `spec` are stored."""
    if isinstance(spec, ImageSpec):
        return np.clip(np.rint(values), 0, spec.levels - 1).astype(np.uint8)
    return values
