"""Kinds of data: how each is normalised, pictured and given networks. One file per kind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..data import ImageSpec, Spec, VectorSpec
from ..errors import DataError
from . import images, vectors
from .networks import NetworkConfig

_KINDS: dict[type, Any] = {ImageSpec: images, VectorSpec: vectors}


def kind_of(spec: Spec) -> Any:
    """The module that knows data of a spec: `kinds.images`, `kinds.vectors`.

    Raises
    ------
    DataError
        For data no model can generate, such as labels alone.
    """
    try:
        return _KINDS[type(spec)]
    except KeyError:
        raise DataError(f"{type(spec).__name__} cannot be a target; images and vectors can.") from None


def normalise(values: Tensor, spec: Spec) -> Tensor:
    """Stored values of any kind of data as networks see them."""
    return kind_of(spec).normalise(values, spec)


def on_device(values: Tensor, spec: Spec, device: torch.device | str) -> Tensor:
    """`normalise`, with the result on a device: codes travel before, being smaller, and float64 rows stay at home."""
    if isinstance(spec, ImageSpec):
        return normalise(values.to(device, non_blocking=True), spec)
    return normalise(values, spec).to(device, non_blocking=True)


__all__ = ["NetworkConfig", "kind_of", "normalise", "on_device"]
