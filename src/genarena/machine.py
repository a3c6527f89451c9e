"""What this machine offers a process and what the process takes of it: cores, memory, and torch's global state.

torch's random generators, number of threads and choice of kernels belong to the whole process, hence to the caller. The
context managers here borrow them and give them back: nothing else in genarena may touch them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from .errors import UsageError, whole

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_BLOCK = 32 * 2**20  # the largest threshold glibc takes: blocks above it are mapped on their own
_KEPT = 1024 * 2**20


_generators = threading.RLock()  # torch's default generators are one a process, not one a thread
_kernels = threading.Lock()
_reproducing = 0
_before = (False, False, True)  # of `_deterministic`, while reproducing
_forked = False


def _after_fork() -> None:
    """A forked child has one thread: those of its parent's OpenMP are gone, and torch would wait for them for ever."""
    global _forked, _generators, _kernels
    _forked, _generators, _kernels = True, threading.RLock(), threading.Lock()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def cores() -> int:
    """Cores this process may use; one in a forked child, see `use_threads`."""
    if _forked:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let the heap keep what is freed, for the next step to use again.

    A training step frees and asks again for the same large blocks. glibc returns them to the system each time, which then
    has to clear every page anew: a tenth of a DCGAN's step. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def use_threads(number: int) -> None:
    """Compute with so many CPU threads from here on; within `own_threads`.

    Raises
    ------
    UsageError
        For fewer than one, and for several in a forked child.
    """
    number = whole(number, "threads", 1)
    if _forked and number > 1:
        raise UsageError(
            f"threads={number} in a forked process, where torch has one: use threads=1, or start the process by 'spawn'."
        )
    torch.set_num_threads(number)


@contextlib.contextmanager
def own_threads(number: int | None = None) -> Iterator[None]:
    """Within, the number of CPU threads may be set (to `number` at once); afterwards it is the caller's again.

    A number given binds the libraries of linear algebra too, which NumPy and scikit-learn compute with.
    """
    before = torch.get_num_threads()
    try:
        if number is None:
            yield
            return
        use_threads(number)
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def own_generators(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Within, torch's default generators are seeded and this thread's alone; afterwards they are where the caller had them.

    Other threads of genarena that need them wait, so that several trainings in one process give what each gives alone.

    Parameters
    ----------
    seed : int
        Its lowest 63 bits count.
    device : torch.device
        Whose generators are meant, beside the processor's.
    """
    device = torch.device(device)
    seed &= 2**63 - 1
    with _generators:
        indices = range(torch.cuda.device_count()) if device.type == "cuda" else ()
        apple = torch.mps.get_rng_state() if device.type == "mps" else None
        with torch.random.fork_rng(devices=indices):
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                torch.cuda.manual_seed_all(seed)
            elif device.type == "mps":
                torch.mps.manual_seed(seed)
            try:
                yield
            finally:
                if apple is not None:
                    torch.mps.set_rng_state(apple)


@contextlib.contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Within, a GPU's kernels are those that give the same bits each time, where there are any; a processor's do so anyway."""
    if device.type != "cuda":
        yield
        return
    global _reproducing, _before
    with _kernels:
        if _reproducing == 0:  # the first of several threads finds the caller's choice, the last restores it
            _before = _deterministic()
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            _set_deterministic(True, True, False)  # not filling: a debugging aid that clears every new tensor
        _reproducing += 1
    try:
        yield
    finally:
        with _kernels:
            _reproducing -= 1
            if _reproducing == 0:
                _set_deterministic(*_before)


def _deterministic() -> tuple[bool, bool, bool]:
    deterministic: Any = torch.utils.deterministic
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only, deterministic.fill_uninitialized_memory


def _set_deterministic(wanted: bool, warn_only: bool, fill: bool) -> None:
    deterministic: Any = torch.utils.deterministic
    torch.use_deterministic_algorithms(wanted, warn_only=warn_only)
    deterministic.fill_uninitialized_memory = fill


class MemoryMeter:
    """How far memory rose above what was resident when the meter was made, in megabytes."""

    def __init__(self, device: torch.device):
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with contextlib.suppress(OSError):  # Linux lets a process forget its own peak
            Path("/proc/self/clear_refs").write_text("5")
        self.start = _peak_resident_mb()

    def peak(self) -> float:
        """Of the device's allocator on a GPU, of the process elsewhere."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return max(0.0, _peak_resident_mb() - self.start)


def _peak_resident_mb() -> float:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
