"""Real processes, killed with SIGKILL at random instants and inside a checkpoint's writing, then resumed.

``python benchmarks/kill.py`` is the long version, with 20 kills a model family.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from genarena import trainer

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import kill

    yield kill
    sys.modules.pop("kill")


@pytest.mark.parametrize("model", ["autoencoder", "vae", "dcgan", "vaegan"])
def test_a_killed_run_comes_out_as_if_nothing_had_happened(kill: Any, model: str, tmp_path: Path) -> None:
    count = kill.torture(model, kills=3, rounds=60, scratch=tmp_path, seed=0)
    assert count["kills"] == count["exact"] == 3
    assert count["while_writing"] >= 1


def test_the_comparison_sees_a_difference(kill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_SHARE", trainer.CHECKPOINT_SHARE)  # `train` sets it for its own process
    for name, rounds in (("one", 3), ("same", 3), ("other", 4)):
        kill.train("vae", str(tmp_path / name), rounds)
    assert kill.same(tmp_path / "one", tmp_path / "same")
    assert not kill.same(tmp_path / "one", tmp_path / "other")


def test_damage_is_detected(kill: Any, tmp_path: Path) -> None:
    assert kill.detected(20, tmp_path, seed=0) == {"truncations": 20, "flips": 20}
