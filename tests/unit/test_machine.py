"""What the machine offers, and what a process takes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import genarena
from genarena.errors import UsageError
from genarena.machine import MemoryMeter, cores, own_generators, own_threads, reproducible, use_threads

ROWS = np.random.default_rng(0).normal(size=(120, 3))


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


def train(folder: Path, seed: int = 0) -> genarena.FittedModel:
    return genarena.train("vae", ROWS, folder, budget="4 epochs", seed=seed, threads=1)


@pytest.fixture
def _two_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_training_leaves_the_callers_generators_and_threads_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    drawn = [torch.rand(1)]
    fitted = train(tmp_path / "run")
    drawn.append(torch.rand(1))
    fitted.log_prob(ROWS[:3])
    drawn.append(torch.rand(1))
    with pytest.raises(genarena.GenarenaError):
        train(tmp_path / "run", seed=1)
    drawn.append(torch.rand(1))
    assert torch.equal(torch.cat(drawn), expected)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("_two_threads")
def test_what_fails_gives_everything_back() -> None:
    before = torch.get_rng_state()

    def work() -> None:
        with own_threads(1), own_generators(3):
            raise ZeroDivisionError(torch.rand(1))

    with pytest.raises(ZeroDivisionError):
        work()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 2


def test_trainings_in_threads_give_what_each_gives_alone(tmp_path: Path) -> None:
    alone = [train(tmp_path / f"alone{seed}", seed).sample(5) for seed in range(3)]
    together: dict[int, np.ndarray] = {}

    def work(seed: int) -> None:
        together[seed] = train(tmp_path / f"together{seed}", seed).sample(5)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(3):
        np.testing.assert_array_equal(together[seed], alone[seed])


FORK = """
import os, signal, sys, tempfile
import numpy as np, torch
import genarena
from genarena.errors import UsageError
rows = np.random.default_rng(0).normal(size=(120, 3))
def train(threads=None):
    with tempfile.TemporaryDirectory() as folder:
        genarena.train("vae", rows, folder + "/run", budget="1 epochs", threads=threads)
torch.set_num_threads(2)
torch.rand(1000, 1000).exp() @ torch.rand(1000, 1000)  # the parent's OpenMP has threads now
train()
child = os.fork()
if child == 0:
    signal.alarm(60)
    torch.rand(1000, 1000).exp() @ torch.rand(1000, 1000)
    train()
    try:
        train(threads=2)
    except UsageError as error:
        os._exit(0 if "spawn" in str(error) else 3)
    os._exit(4)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_trains_with_one_thread_instead_of_waiting_for_ever() -> None:
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr


def test_a_number_of_threads_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="threads=0"):
        use_threads(0)


ASKED = """
import sys, numpy as np
from sklearn.model_selection import GridSearchCV
from genarena import Detector
import genarena.trainer as trainer, os, signal
play = trainer.Trainer.step
def step(self):
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    return play(self)
trainer.Trainer.step = step
rows = np.random.default_rng(0).normal(size=(40, 3))
search = GridSearchCV(Detector(budget="2 epochs"), {"latent_dim": [1, 2]}, cv=2, error_score=0.0, scoring=lambda *_: 0.0)
try:
    search.fit(rows)
except Exception:
    sys.exit(9)
except KeyboardInterrupt:
    sys.exit(1)
sys.exit(8)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 1), ("SIGTERM", 128 + signal.SIGTERM)])
def test_a_grid_search_ends_when_it_is_told_to(name: str, code: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", ASKED, name]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == code
