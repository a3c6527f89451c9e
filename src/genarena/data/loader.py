"""Batches that are a pure function of (seed, index), whatever was drawn before and by however many processes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from .fields import Batch, Dataset, ImageSpec, LabelSpec, Spec, VectorSpec


class Loader:
    """Batches of a split by index, for as long as a training lasts.

    The epochs' permutations follow one another without end; batch ``i`` holds the positions from ``i * batch_size``
    to ``(i + 1) * batch_size``. Nothing is dropped or repeated where an epoch ends inside a batch, and a resumed run
    needs nothing but the index.

    Parameters
    ----------
    dataset : Dataset
    split : str
    batch_size : int
        Examples over all processes together.
    seed : int
        Non-negative; with the epoch it decides the order.
    device : str or torch.device
        Where the batches go; stored codes are sent there and normalised there, rows the other way round.
    normalise : callable
        ``(stored values, spec) -> tensor`` for every field but labels, which stay int64.
    mirror : bool
        Show half of the target's images, drawn anew each time, mirrored left to right.
    rank, world : int
        This process and the number of processes: each gets its contiguous slice of the global batch.

    Raises
    ------
    UsageError
        If a batch is larger than the split, or not divisible among the processes; or rows of numbers are to be mirrored.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str = "train",
        *,
        batch_size: int,
        seed: int,
        device: str | torch.device = "cpu",
        normalise: Callable[[Tensor, Spec], Tensor],
        mirror: bool = False,
        rank: int = 0,
        world: int = 1,
    ):
        self.rows = dataset.splits[split]
        if not 1 <= batch_size <= len(self.rows):
            raise UsageError(
                f"batch size {batch_size} does not fit the {len(self.rows)} examples of '{dataset.name}' ({split}): "
                f"give 1 to {len(self.rows)}."
            )
        if batch_size % world:
            raise UsageError(f"batch size {batch_size} cannot be shared equally by {world} processes.")
        self.schema = dataset.schema
        if mirror and not isinstance(self.schema.target, ImageSpec):
            raise UsageError("mirror=true turns images around; these data are rows of numbers: leave it out.")
        self.mirror = mirror
        self.batch_size, self.seed, self.device, self.normalise = batch_size, seed, torch.device(device), normalise
        self.rank, self.world = rank, world
        # Whole fields, indexed by global row, so that a memory-mapped one is never copied.
        self._stored = {name: _as_tensor(field.values) for name, field in dataset.fields.items()}
        self._orders: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """The number of examples in the split: one epoch."""
        return len(self.rows)

    def batch(self, index: int) -> Batch:
        """Return this process's part of the global batch ``index``, counted from 0 over the whole training."""
        share = self.batch_size // self.world
        start = index * self.batch_size + self.rank * share
        rows = self._positions(start, start + share)
        tensors = {name: self._gather(name, rows) for name in self._stored}
        if self.mirror:
            turned = self._uniform(index)[self.rank * share : (self.rank + 1) * share] < 0.5
            x = tensors[self.schema.target_name]
            tensors[self.schema.target_name] = torch.where(turned.to(x.device)[:, None, None, None], x.flip(3), x)
        return Batch(tensors, self.schema)

    def _uniform(self, index: int) -> Tensor:
        """A number in [0, 1) for each example of a global batch, of a stream beside that of the orders."""
        key = np.array([self.seed, 2**63 + index], dtype=np.uint64)
        return torch.from_numpy(np.random.Generator(np.random.Philox(key=key)).random(self.batch_size))

    def _gather(self, name: str, rows: Tensor) -> Tensor:
        values, spec = self._stored[name].index_select(0, rows), self.schema.specs[name]
        if isinstance(spec, VectorSpec):  # not every device has the float64 that rows are stored in
            return self.normalise(values, spec).to(self.device, non_blocking=True)
        values = values.to(self.device, non_blocking=True)
        return values if isinstance(spec, LabelSpec) else self.normalise(values, spec)

    def _positions(self, start: int, stop: int) -> Tensor:
        """The rows at positions ``start`` to ``stop`` of the endless order; they span two epochs at most."""
        epoch, offset = divmod(start, len(self))
        end = offset + stop - start
        rows = self._order(epoch)[offset:end]
        return rows if end <= len(self) else torch.cat([rows, self._order(epoch + 1)[: end - len(self)]])

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if abs(e - epoch) == 1}
            generator = np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)))
            self._orders[epoch] = torch.from_numpy(self.rows[generator.permutation(len(self))])
        return self._orders[epoch]


def _as_tensor(values: np.ndarray) -> Tensor:
    # torch warns about read-only memory; only such arrays are copied.
    return torch.from_numpy(np.require(values, requirements="W"))
