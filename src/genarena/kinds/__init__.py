"""Kinds of data: how each is normalised, pictured and given networks. One file per kind."""

from __future__ import annotations

from typing import Any

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


__all__ = ["NetworkConfig", "kind_of", "normalise"]
