"""Images: codes on disk, [-1, 1] in networks, grids for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..data import ImageSpec
from ..files import filling, replacing, write_arrays
from ..nets import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from ..nets.augment import AdaptiveAugment, DiffAugment
from .networks import NetworkConfig

SUFFIXES = (".png", ".npz")
WIDTH = 32  # channels next to the image
MLP_WIDTH = 256
LEGIBLE = 96  # pixels a side of an image in a picture that is saved for people


def normalise(values: Tensor, spec: ImageSpec) -> Tensor:
    """uint8 codes to float32 in [-1, 1]."""
    return values.float().mul_(2 / (spec.levels - 1)).sub_(1)


def denormalise(x: Tensor, spec: ImageSpec) -> np.ndarray:
    """[-1, 1] to the nearest uint8 code: fakes lie on the value grid of the real images."""
    codes = (x.detach().add(1).mul_((spec.levels - 1) / 2)).round_().clamp_(0, spec.levels - 1)
    return codes.to(torch.uint8).cpu().numpy()


def units(spec: ImageSpec) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset that take a network's values to grey levels from 0 to 255."""
    return np.array(127.5, np.float32), np.array(127.5, np.float32)


def squash(raw: Tensor) -> Tensor:
    """A generator's output layer: tanh (Radford et al. 2016)."""
    return raw.tanh()


def _is_mlp(network: NetworkConfig) -> bool:
    return network.architecture == "mlp"


def decoder(spec: ImageSpec, latent_dim: int, network: NetworkConfig, parameters_per_value: int = 1) -> nn.Module:
    shape = (spec.channels * parameters_per_value, spec.height, spec.width)
    norm, activation = network.decoder_norm, network.activation
    if _is_mlp(network):
        return MLPDecoder(latent_dim, shape, network.width or MLP_WIDTH, network.depth, norm, activation)
    return ConvDecoder(latent_dim, shape, network.width or WIDTH, norm, activation)


def encoder(spec: ImageSpec, outputs: int, network: NetworkConfig) -> nn.Module:
    norm, activation = network.encoder_norm, network.activation
    if _is_mlp(network):
        return MLPEncoder(spec.shape, outputs, network.width or MLP_WIDTH, network.depth, norm, activation)
    return ConvEncoder(spec.shape, outputs, network.width or WIDTH, norm, activation)  # type: ignore[arg-type]


def discriminator(spec: ImageSpec, network: NetworkConfig, outputs: int = 1, packing: int = 1) -> nn.Module:
    norm, minibatch = network.discriminator_norm, network.discriminator_minibatch
    shape = (packing * spec.channels, spec.height, spec.width)
    if _is_mlp(network):
        return MLPEncoder(shape, outputs, network.width or MLP_WIDTH, network.depth, norm, "leaky-relu", minibatch)
    return ConvEncoder(shape, outputs, network.width or WIDTH, norm, "leaky-relu", minibatch)


def augmentation(name: str) -> nn.Module:
    """What discriminators are shown instead of plain images: ``none``, ``diffaugment`` or ``ada``."""
    return {"none": nn.Identity, "diffaugment": DiffAugment, "ada": AdaptiveAugment}[name]()


def default_latent_dim(spec: ImageSpec) -> int:
    """16 for images below 32 pixels, 64 below 64, 128 above: near what published comparisons use for such data."""
    side = min(spec.height, spec.width)
    return 16 if side < 32 else 64 if side < 64 else 128


def picture(values: np.ndarray, spec: ImageSpec, columns: int = 8) -> np.ndarray:
    """A grid of images in reading order with a one-pixel gap, uint8 ``(H, W, 3)``.

    Parameters
    ----------
    values : numpy.ndarray
        uint8 codes ``(N, C, H, W)``.
    spec : ImageSpec
    columns : int
        Images in a row.
    """
    pixels = np.broadcast_to(_grey_levels(values, spec), (len(values), spec.height, spec.width, 3))
    rows = -(-len(pixels) // columns)
    grid = np.full((rows * (spec.height + 1) - 1, columns * (spec.width + 1) - 1, 3), 128, np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * (spec.height + 1), index % columns * (spec.width + 1)
        grid[top : top + spec.height, left : left + spec.width] = image
    return grid


def enlarged(picture: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """A picture of small images with every pixel a square, so that each image has about `LEGIBLE` pixels a side."""
    factor = max(1, round(LEGIBLE / max(spec.height, spec.width)))
    return picture.repeat(factor, 0).repeat(factor, 1)


def picture_count(spec: ImageSpec) -> int:
    """How many samples a picture shows."""
    return 64


def save(values: np.ndarray, spec: ImageSpec, path: Path, columns: int | None = None) -> None:
    """Write a grid as ``.png``, small images enlarged, or an ``.npz`` with ``images``, uint8 ``(N, H, W, C)`` from 0 to 255."""
    if path.suffix == ".png":
        columns = columns or max(1, min(8, len(values)) if len(values) <= 64 else int(len(values) ** 0.5))
        with replacing(path) as partial:
            Image.fromarray(enlarged(picture(values, spec, columns), spec)).save(partial)
        return
    write_arrays(path, images=_grey_levels(values, spec))


def save_each(values: np.ndarray, spec: ImageSpec, folder: Path, form: str) -> None:
    """Write every image as a file of its own, ``0000.png`` and on, in its own size; `form` is ``png`` or ``jpg``."""
    digits = max(4, len(str(len(values) - 1)))
    with filling(folder, "") as new:
        for index, image in enumerate(_grey_levels(values, spec)):
            pixels = Image.fromarray(image[..., 0] if spec.channels == 1 else image)
            pixels.save(new / f"{index:0{digits}d}.{form}", quality=95)  # of JPEG; PNG has none


def _grey_levels(values: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Codes ``(N, C, H, W)`` as uint8 ``(N, H, W, C)`` from 0 to 255."""
    return np.rint(values.astype(np.float32) * (255 / (spec.levels - 1))).astype(np.uint8).transpose(0, 2, 3, 1)


def to_tensor(values: np.ndarray) -> Tensor:
    """Stored codes as a uint8 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.uint8))
