"""Move latents and decode them: along a direction, to another class, one dimension at a time, between two styles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import CapabilityError, UsageError
from ..fitted import FittedModel
from ..metrics import Evaluator
from .space import Direction, LatentSpace, checked_amounts, normalised, require_decoder


def edit(fitted: FittedModel, codes: np.ndarray, direction: Direction, amounts: Sequence[float]) -> np.ndarray:
    """Decode latents moved along a direction by amounts in its standard deviations.

    Parameters
    ----------
    fitted : FittedModel
    codes : numpy.ndarray
        Latents ``(N, L)``, ``(N, L + K)`` or, of a StyleGAN, ``(N, layers, L)``.
    direction : Direction
    amounts : sequence of float
        A of them.

    Returns
    -------
    numpy.ndarray
        Stored values ``(N, A, *shape)``.
    """
    require_decoder(fitted)
    steps = checked_amounts(amounts).reshape(1, -1, *[1] * (codes.ndim - 1))
    moved = codes[:, None] + steps * direction.scale * direction.vector
    return _decode_grid(fitted, moved)


def _decode_grid(fitted: FittedModel, z: np.ndarray) -> np.ndarray:
    """Latents ``(A, B, ...)`` to stored values ``(A, B, *shape)``."""
    values = fitted.decode(z.reshape(-1, *z.shape[2:]))
    return values.reshape(*z.shape[:2], *values.shape[1:])


def relabel(fitted: FittedModel, codes: np.ndarray, label: str | int) -> np.ndarray:
    """Latents ``(N, L + K)`` with another class beside the same noise.

    Raises
    ------
    CapabilityError
        Where the model is not told classes.
    UsageError
        For a class that the data do not have.
    """
    return fitted.with_classes(codes, fitted.class_index(label))


def middle(fitted: FittedModel, space: LatentSpace, label: str | int | None = None) -> np.ndarray:
    """The mean latent ``(L,)``, or ``(L + K,)`` with a class beside it: the most frequent one where none is named."""
    if not space.classes:
        if label is not None:
            fitted.require("condition")
        return space.centre
    index = int(fitted.model.frequencies.argmax()) if label is None else fitted.class_index(label)
    return np.concatenate([space.centre, np.eye(space.classes, dtype=np.float32)[index]])


class Traversal(NamedTuple):
    """Directions walked one at a time, the one that changes most first.

    Attributes
    ----------
    order : numpy.ndarray
        Which direction each row is, ``(D,)``.
    change : numpy.ndarray
        Root mean square change of the normalised output along each row, ``(D,)``.
    values : numpy.ndarray
        Stored values ``(D, A, *shape)``.
    """

    order: np.ndarray
    change: np.ndarray
    values: np.ndarray


def traverse(
    fitted: FittedModel, start: np.ndarray, directions: Sequence[Direction], amounts: Sequence[float]
) -> Traversal:
    """Move one latent ``(L,)`` or ``(L + K,)`` along each direction, by amounts in its standard deviations."""
    require_decoder(fitted)
    steps = checked_amounts(amounts)
    moves = np.stack([direction.scale * direction.vector for direction in directions])
    values = _decode_grid(fitted, start + steps[:, None] * moves[:, None])
    origin = normalised(fitted, fitted.decode(start[None]))
    change = np.array([float((normalised(fitted, row) - origin).square().mean().sqrt()) for row in values])
    order = np.argsort(-change, kind="stable")
    return Traversal(order, change[order], values[order])


def mix_grid(fitted: FittedModel, coarse: np.ndarray, fine: np.ndarray, layer: int | None = None) -> np.ndarray:
    """Style mixing (Karras et al. 2019, section 3.1): coarse layers of the row's source, fine layers of the column's.

    Parameters
    ----------
    fitted : FittedModel
    coarse, fine : numpy.ndarray
        Styles ``(A, L)`` and ``(B, L)``.
    layer : int, optional
        The first that takes the fine source; half of them by default.

    Returns
    -------
    numpy.ndarray
        Stored values ``(A + 1, B + 1, *shape)``: the first column decodes the coarse sources, the first row the fine ones,
        and the corner is empty.

    Raises
    ------
    CapabilityError
        Where the model has no layers that take styles.
    UsageError
        For a layer it does not have.
    """
    model: Any = fitted.model
    if not callable(getattr(model, "mix", None)):
        raise CapabilityError(
            f"{fitted.name} cannot mix styles: its latents enter at one place, and no layer takes a style of its own."
        )
    layers = _mixed(fitted, coarse[:1], coarse[:1], 1).shape[1]
    layer = layers // 2 if layer is None else layer
    if not 0 < layer < layers:
        raise UsageError(f"layer={layer}: the generator has {layers} style inputs; mix from 1 to {layers - 1}.")
    rows, columns = len(coarse), len(fine)
    w = _mixed(fitted, np.repeat(coarse, columns, 0), np.tile(fine, (rows, 1)), layer)
    inner = fitted.decode(w)
    grid = np.zeros((rows + 1, columns + 1, *inner.shape[1:]), inner.dtype)
    grid[1:, 1:] = inner.reshape(rows, columns, *inner.shape[1:])
    grid[1:, 0], grid[0, 1:] = fitted.decode(coarse), fitted.decode(fine)
    return grid


def _mixed(fitted: FittedModel, coarse: np.ndarray, fine: np.ndarray, layer: int) -> np.ndarray:
    """Styles by layer, ``(N, layers, L)``."""
    model: Any = fitted.model
    pair = (torch.from_numpy(np.ascontiguousarray(w, np.float32)).to(fitted.device) for w in (coarse, fine))
    with torch.inference_mode():
        return model.mix(*pair, layer).cpu().numpy()


def truncation_curve(
    fitted: FittedModel, evaluator: Evaluator, amounts: Sequence[float | None], seed: int = 0
) -> list[dict[str, Any]]:
    """Precision, recall and Fréchet distance by truncation: how much variety each gain of realism costs.

    Parameters
    ----------
    fitted : FittedModel
    evaluator : Evaluator
    amounts : sequence of float or None
        As `FittedModel.latents` takes them; None is no truncation.
    seed : int

    Returns
    -------
    list of dict
        ``{"truncation": 0.5, "precision/pca": ..., "recall/pca": ..., "fd_inf/pca": ...}``, one an amount; None where a metric
        is undefined.
    """
    rows = []
    for amount in amounts:
        scores = evaluator.panel(fitted.sample(evaluator.n, seed, truncation=amount), seed=seed)
        keys = [f"{metric}/{space}" for space in evaluator.spaces for metric in ("precision", "recall", "fd_inf")]
        rows.append({"truncation": amount, **{key: scores[key].value for key in keys}})
    return rows
