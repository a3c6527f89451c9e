"""Mixed precision: matrix products inside networks in bfloat16, all else in float32.

A network holds no loss, so losses, penalties, likelihoods, optimizers and averages never see a rounded product, and a model
that is served computes in float32 however it was trained. A method of a network takes part by the decorator `mixed`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_products: ContextVar[torch.dtype] = ContextVar("products", default=torch.float32)


@contextmanager
def products_in(precision: torch.dtype) -> Iterator[None]:
    """Within, matrix products of `mixed` methods are in this precision."""
    token = _products.set(precision)
    try:
        yield
    finally:
        _products.reset(token)


def mixed(method: Callable[..., Any]) -> Callable[..., Any]:
    """A network's method whose matrix products may be in bfloat16; a tensor that it gives is float32.

    Hidden maps, which come as a list, stay as they are.
    """

    @functools.wraps(method)
    def call(self: nn.Module, *inputs: Any) -> Any:
        precision = _products.get()
        if precision is torch.float32:
            return method(self, *inputs)
        with torch.autocast(inputs[0].device.type, precision):
            output = method(self, *inputs)
        return output.float() if isinstance(output, Tensor) else output

    call.mixed = True  # type: ignore[attr-defined]
    return call


def unrounded(device: torch.device) -> AbstractContextManager[Any]:
    """The context of what has to be in float32 inside a `mixed` method."""
    return nullcontext() if _products.get() is torch.float32 else torch.autocast(device.type, enabled=False)


def is_mixed(network: nn.Module) -> bool:
    """Whether any method of a network, or of one within it, is `mixed`."""
    classes = {base for part in network.modules() for base in type(part).__mro__}
    return any(getattr(method, "mixed", False) for base in classes for method in vars(base).values())
