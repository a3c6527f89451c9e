"""What the machine offers, and what a process takes of it."""

from __future__ import annotations

import os

import pytest
import torch

from genarena.machine import MemoryMeter, cores, reproducible


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="this system does not let a process forget its peak"
)
def test_the_meter_sees_what_was_allocated_since_it_was_made() -> None:
    assert cores() >= 1
    held = torch.ones(8 * 2**20)  # 32 MB before
    meter = MemoryMeter(torch.device("cpu"))
    more = torch.ones(16 * 2**20)  # 64 MB after
    assert 50 < meter.peak() < 200
    assert held.sum() + more.sum() == 24 * 2**20


def test_a_gpu_is_asked_for_reproducible_kernels_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with reproducible(torch.device("cpu")):
        assert not torch.are_deterministic_algorithms_enabled()
    with reproducible(torch.device("cuda")):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
