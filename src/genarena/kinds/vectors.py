"""Rows of numbers: tables and points in the plane."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data import VectorSpec
from ..errors import UsageError
from ..files import write_arrays, write_atomic
from ..nets import MLPDecoder, MLPEncoder
from ..text import csv_text
from .networks import NetworkConfig

SUFFIXES = (".npz", ".csv")
WIDTH = 256  # units of a hidden layer


def normalise(values: Tensor, spec: VectorSpec) -> Tensor:
    """Data units, float64, to standardised columns, float32: only there do 24 bits hold what tells rows apart."""
    values = values.double()
    return ((values - values.new_tensor(spec.mean)) / values.new_tensor(spec.scale)).float()


def denormalise(x: Tensor, spec: VectorSpec) -> np.ndarray:
    """Standardised columns to data units, float64 ``(N, D)``."""
    x = x.cpu().double()  # some devices have no float64
    return (x * x.new_tensor(spec.scale) + x.new_tensor(spec.mean)).numpy()


def units(spec: VectorSpec) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset ``(D,)`` that take a network's values to those of the columns."""
    return np.array(spec.scale), np.array(spec.mean)


def squash(raw: Tensor) -> Tensor:
    """A generator's output layer: the identity, since columns have no bounds."""
    return raw


def _check(network: NetworkConfig) -> None:
    if network.architecture == "conv":
        raise UsageError("network.architecture='conv' needs images; these data are rows of numbers: use 'mlp'.")


def decoder(spec: VectorSpec, latent_dim: int, network: NetworkConfig, parameters_per_value: int = 1) -> nn.Module:
    _check(network)
    shape = (spec.dim * parameters_per_value,)
    width = network.width or WIDTH
    return MLPDecoder(latent_dim, shape, width, network.depth, network.decoder_norm, network.activation)


def encoder(spec: VectorSpec, outputs: int, network: NetworkConfig) -> nn.Module:
    _check(network)
    width = network.width or WIDTH
    return MLPEncoder(spec.shape, outputs, width, network.depth, network.encoder_norm, network.activation)


def discriminator(spec: VectorSpec, network: NetworkConfig, outputs: int = 1, packing: int = 1) -> nn.Module:
    _check(network)
    width = network.width or WIDTH
    norm, minibatch = network.discriminator_norm, network.discriminator_minibatch
    return MLPEncoder((packing * spec.dim,), outputs, width, network.depth, norm, "leaky-relu", minibatch)


def augmentation(name: str) -> nn.Module:
    """Rows are shown to discriminators as they are."""
    if name != "none":
        raise UsageError(f"augment='{name}' alters images; these data are rows of numbers: leave it out.")
    return nn.Identity()


def default_latent_dim(spec: VectorSpec) -> int:
    """As many as columns up to 16, never fewer than 2."""
    return min(max(spec.dim, 2), 16)


def picture(values: np.ndarray, spec: VectorSpec, columns: int = 8) -> np.ndarray:
    """A scatter plot of the first two columns (a histogram of a single one), uint8 ``(H, W, 3)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2, 3.2), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.13, 0.1, 0.84, 0.86))
    axes.tick_params(labelsize=7)
    if spec.dim == 1:
        axes.hist(values[:, 0], bins=60, color="#3b6ea8")
    else:
        axes.scatter(values[:, 0], values[:, 1], s=2, alpha=0.5, color="#3b6ea8", linewidths=0)
        spread = np.asarray(spec.scale[:2]) * 2.5
        centre = np.asarray(spec.mean[:2])
        axes.set_xlim(centre[0] - spread[0], centre[0] + spread[0])
        axes.set_ylim(centre[1] - spread[1], centre[1] + spread[1])
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def picture_count(spec: VectorSpec) -> int:
    """How many samples a picture shows."""
    return 2000


def save(values: np.ndarray, spec: VectorSpec, path: Path, columns: int | None = None) -> None:
    """Write rows, which no columns of a picture arrange, as ``.csv`` (with a header) or ``.npz`` (key ``data``)."""
    if path.suffix == ".csv":
        names = spec.names or tuple(f"x{i}" for i in range(spec.dim))
        rows = io.StringIO()
        np.savetxt(rows, values, delimiter=",")
        write_atomic(path, csv_text([names]) + rows.getvalue().encode())
    else:
        write_arrays(path, data=values)


def save_each(values: np.ndarray, spec: VectorSpec, folder: Path, form: str) -> None:
    """Rows belong into one file; raises `UsageError`."""
    raise UsageError(
        f"rows are written into one file, not a folder of {form} files: give --out a name with .csv or .npz."
    )


def to_tensor(values: np.ndarray) -> Tensor:
    """Stored values as a float64 tensor."""
    return torch.from_numpy(np.require(values, np.float64, ("C", "W")))
