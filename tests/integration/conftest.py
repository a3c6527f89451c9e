"""Commands run in this process, which has torch loaded already; real processes only where a test is about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from genarena import cli
from genarena.comparison import cell as cells
from genarena.comparison import run as supervisor
from genarena.comparison.plan import Cell

MY_MODEL = '''
from genarena.models.gan import GAN


class MyGAN(GAN):
    title = "My GAN"
    summary = "a GAN of somebody's own"
'''
SMALL = ["--set", "latent_dim=4", "--set", "network.architecture=mlp", "--set", "network.width=16", "--threads", "1"]


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.splitlines()[-1]


@pytest.fixture
def genarena(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs the command line as `main` does."""

    def command(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["genarena", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        code = stop.value.code
        return Done(code if isinstance(code, int) else int(code is not None), out, err)

    return command


@dataclass
class Ended:
    """Stands in for the process of a cell that ran in this one."""

    returncode: int
    pid: int = field(default=-1)

    def poll(self) -> int:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode

    def communicate(self) -> None:
        pass


def run_here(folder: Path, cell: Cell, threads: int | None) -> supervisor.Worker:
    """What the supervisor starts, without a process of its own."""
    try:
        code = cells.main([str(folder), cell.id, str(threads or 0)])
    except Exception:
        code = 1
    return supervisor.Worker(cell, folder / "runs" / cell.id, Ended(code))  # type: ignore[arg-type]


@pytest.fixture
def cells_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_start", run_here)
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0)


@pytest.fixture(scope="session")
def workplace(bars: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data (``bars.npz`` with labels, ``plain.npy`` without) and a model of the user's own (``my.py``)."""
    folder = tmp_path_factory.mktemp("workplace")
    images, labels = bars
    np.savez(folder / "bars.npz", images=images, labels=labels)
    np.save(folder / "plain.npy", images)
    (folder / "my.py").write_text(MY_MODEL)
    return folder


@pytest.fixture(scope="module")
def arena(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished comparison of four models with two seeds, one of them the user's own."""
    folder = tmp_path_factory.mktemp("arena") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "_start", run_here)
        patch.setattr(supervisor, "POLL_SECONDS", 0)
        patch.setattr(sys, "argv", compare_command(workplace, folder))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code in (0, None)
    yield folder


def compare_command(workplace: Path, folder: Path) -> list[str]:
    models = f"pca,vae,gan,{workplace / 'my.py'}:MyGAN"
    what = ["genarena", "compare", str(workplace / "bars.npz"), "--models", models, "--seeds", "2"]
    return [*what, "--budget", "2k images", "--jobs", "2", "--quiet", "--out", str(folder), *SMALL]
