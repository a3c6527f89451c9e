"""Sharpness of images: Laplacian energy, and the power spectrum that tells sharpness from noise.

Everything is on the [0, 1] scale of grey values, from stored codes ``(N, C, H, W)``.
"""

from __future__ import annotations

import numpy as np

from .score import Undefined, finite

# Power of 8-bit rounding: a spectrum is not told from zero below it, and its logarithm stays finite.
_FLOOR = (1 / 255) ** 2 / 12
_TOP_OCTAVE = 0.25  # cycles per pixel; the octave ends at the Nyquist frequency 0.5


def laplacian_energy(values: np.ndarray, levels: int) -> np.ndarray:
    """Mean squared 4-neighbour Laplacian of each image, ``(N,)``."""
    x = values.astype(np.float32) / (levels - 1)
    centre = x[:, :, 1:-1, 1:-1]
    laplacian = x[:, :, :-2, 1:-1] + x[:, :, 2:, 1:-1] + x[:, :, 1:-1, :-2] + x[:, :, 1:-1, 2:] - 4 * centre
    return np.square(laplacian).mean((1, 2, 3), dtype=np.float64)


def sharpness_ratio(real: np.ndarray, fake: np.ndarray) -> float:
    """Mean `laplacian_energy` of the samples over that of the real images.

    1 is as sharp as real, less is blurred; noise counts as sharp, so it is read beside `spectrum_error`.

    Raises
    ------
    Undefined
        Where the real images have no edges, or a set is empty.
    """
    if not len(real) or not len(fake):
        raise Undefined("no images")
    if real.mean() <= 0:
        raise Undefined("the real images have no edges")
    return finite(fake.mean() / real.mean())


def frequencies(height: int, width: int) -> np.ndarray:
    """Centres of the rings of `power_spectra`, in cycles per pixel: ``1/s, 2/s ... 1/2`` for the shorter side ``s``."""
    side = min(height, width)
    return np.arange(1, side // 2 + 1) / side


def power_spectra(values: np.ndarray, levels: int) -> np.ndarray:
    """Radially averaged power spectrum of each image's mean channel, ``(N, B)`` over the rings of `frequencies`."""
    height, width = values.shape[2:]
    side = min(height, width)
    grey = values.mean(1, dtype=np.float32) / (levels - 1)
    power = np.square(np.abs(np.fft.rfft2(grey - grey.mean((1, 2), keepdims=True)))) / (height * width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    ring = np.round(radius * side).astype(int).ravel()
    # a half-plane transform holds one of each pair of conjugate frequencies, save in its first (and last) column
    columns = np.full(width // 2 + 1, 2.0)
    columns[0] = 1
    if width % 2 == 0:
        columns[-1] = 1
    weight = np.tile(columns, height)
    rings = np.stack([(ring == r) * weight / weight[ring == r].sum() for r in range(1, side // 2 + 1)])
    return power.reshape(len(values), -1).astype(np.float64) @ rings.T


def log_spectrum(power: np.ndarray) -> np.ndarray:
    """Mean over images of ``(N, B)`` spectra in decibels, ``(B,)``."""
    return 10 * np.log10(power.mean(0) + _FLOOR)


def spectrum_error(frequency: np.ndarray, real: np.ndarray, fake: np.ndarray) -> float:
    """Mean absolute difference of the log spectra in the top octave, in decibels.

    Missing power there is blur, excess is noise or upsampling artefacts (the radial average as in Durall et al.
    2020, "Watch your up-convolution").

    Raises
    ------
    Undefined
        Where a set is empty.
    """
    if not len(real) or not len(fake):
        raise Undefined("no images")
    top = frequency >= _TOP_OCTAVE
    return finite(np.abs(log_spectrum(fake) - log_spectrum(real))[top].mean())
