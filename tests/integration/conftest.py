"""Commands run in this process, which has torch loaded already; real processes only where a test is about them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from arena_fixture import MY_MODEL, Done, compare_command, run_command_here, run_here

from genarena import cli
from genarena.comparison import run as supervisor


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
def arena(workplace: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A finished comparison of four models, one of them the user's own, with two seeds or the module's ``SEEDS``."""
    folder = tmp_path_factory.mktemp("arena") / "out"
    run_command_here(compare_command(workplace, folder, getattr(request.module, "SEEDS", 2)))
    return folder
