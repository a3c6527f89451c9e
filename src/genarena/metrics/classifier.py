"""The small classifier whose features are a space, trained on the train split alone."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.fields import ImageSpec
from ..machine import own_generators
from .spaces import NetRecord, TargetSpec, normalise

SKILL = 0.8  # an accuracy of 0.9 with two classes, 0.82 with ten; below it, what the features mean is in doubt
IMAGES = 150_000  # training images: about 25 s on one core at 28 x 28 pixels
WIDTH = 16
_EPOCHS = 60
_BATCH = 64
_LOOKS = 10
_HELD_OUT = 2000


def train_classifier(
    spec: TargetSpec,
    values: np.ndarray,
    labels: np.ndarray,
    classes: int,
    seed: int,
    *,
    width: int = WIDTH,
    images: int = IMAGES,
) -> tuple[NetRecord, nn.Module, float]:
    """Train on nine tenths of the train split and keep the best of ten looks at the last tenth.

    Adam with a linearly falling rate; images are shifted by up to a 28th of their side (no flips: a mirrored digit or
    letter is another one).

    Parameters
    ----------
    spec : ImageSpec or VectorSpec
    values, labels : numpy.ndarray
        Stored values ``(N, ...)`` and class indices ``(N,)`` of the train split.
    classes : int
    seed : int
        Everything is a function of it (on one machine and number of threads).
    width : int
        Channels of the first block; eight times as many units for rows of numbers.
    images : int
        Examples shown, again and again, at most.

    Returns
    -------
    record, net, accuracy : NetRecord, torch.nn.Module, float
        The accuracy is held out and balanced: the mean over classes, so that a frequent class cannot hide the others.
    """
    image = isinstance(spec, ImageSpec)
    settings = {"classes": classes, "width": width if image else 8 * width}
    record = NetRecord("conv-classifier" if image else "mlp-classifier", settings)
    order = np.random.default_rng(seed).permutation(len(values))
    held = order[: max(1, min(len(order) // 10, _HELD_OUT))]
    rows = order[len(held) :]
    with own_generators(seed):
        net = record.build(spec).train().requires_grad_(True)
        best, accuracy = _fit(net, spec, values, labels, rows, held, images)
    net.load_state_dict(best)
    return record, net.eval().requires_grad_(False), accuracy


def skill(accuracy: float, classes: int) -> float:
    """Share of the error of guessing that a balanced accuracy removes: 0 for guessing, 1 for no error."""
    return (accuracy - 1 / classes) / (1 - 1 / classes)


def _fit(
    net: nn.Module,
    spec: TargetSpec,
    values: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    held: np.ndarray,
    images: int,
) -> tuple[dict[str, Tensor], float]:
    steps = max(_LOOKS, min(_EPOCHS * len(rows), images) // _BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    looks = {round(steps * (i + 1) / _LOOKS) for i in range(_LOOKS)}
    best, accuracy = copy.deepcopy(net.state_dict()), -1.0
    for step in range(1, steps + 1):
        chosen = rows[torch.randint(len(rows), (_BATCH,)).numpy()]
        x = normalise(values[chosen], spec)
        loss = F.cross_entropy(net(_shifted(x) if isinstance(spec, ImageSpec) else x), torch.from_numpy(labels[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step in looks and (now := _balanced_accuracy(net, spec, values[held], labels[held])) > accuracy:
            best, accuracy = copy.deepcopy(net.state_dict()), now
    return best, accuracy


def _shifted(x: Tensor) -> Tensor:
    """The batch moved by one random whole-pixel step, its border repeated."""
    height, width = x.shape[2:]
    reach = max(1, min(height, width) // 28)
    top, left = torch.randint(2 * reach + 1, (2,)).tolist()
    return F.pad(x, (reach,) * 4, mode="replicate")[:, :, top : top + height, left : left + width]


def _balanced_accuracy(net: nn.Module, spec: TargetSpec, values: np.ndarray, labels: np.ndarray) -> float:
    with torch.inference_mode():
        right = np.concatenate(
            [
                net(normalise(values[i : i + 256], spec)).argmax(1).numpy() == labels[i : i + 256]
                for i in range(0, len(values), 256)
            ]
        )
    return float(np.mean([right[labels == c].mean() for c in np.unique(labels)]))
