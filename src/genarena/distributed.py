"""Several processes that train as one: the only file that knows `torch.distributed`.

Launched by torchrun, every process plays the same rounds on its slice of the same global batch. Losses, gradients and
batch statistics are averaged over processes, noise is drawn for the global batch and sliced, so that two processes
equal one. Started alone, every function here is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def init(device: torch.device) -> None:
    """Join the group torchrun announces in the environment; do nothing when started alone."""
    if "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(local_rank())
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def shutdown() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    """Number of processes training together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Index of this process on its machine: the GPU it uses."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """True in the one process that writes."""
    return rank() == 0


def mean_(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their mean over processes, in one flat all-reduce."""
    if world() == 1:
        return
    tensors = list(tensors)
    flat = torch.cat([t.detach().reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= world()
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


class _Sum(torch.autograd.Function):
    """Sum over processes. Each process's loss depends on every process's input, so the gradient is summed likewise."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


def mean(tensor: Tensor) -> Tensor:
    """Mean over processes that gradients (of any order) flow through."""
    return _Sum.apply(tensor) / world() if world() > 1 else tensor


def any_(flags: list[bool], device: torch.device) -> list[bool]:
    """Element-wise "is it true in any process"."""
    if world() == 1:
        return flags
    tensor = torch.tensor([float(f) for f in flags], device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return [bool(v) for v in tensor.tolist()]


def barrier() -> None:
    if world() > 1:
        dist.barrier()


def shard(global_batch: Tensor) -> Tensor:
    """This process's slice of a tensor drawn for the global batch."""
    if world() == 1:
        return global_batch
    return global_batch.chunk(world())[rank()]
