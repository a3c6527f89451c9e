"""What tests of whole commands share."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from genarena import cli
from genarena.comparison import cell as cells
from genarena.comparison import run as supervisor
from genarena.comparison.plan import Cell

MY_MODEL = """
from genarena.models.gan import GAN


class MyGAN(GAN):
    title = "My GAN"
    summary = "a GAN of somebody's own"
"""
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


def run_command_here(arguments: list[str]) -> None:
    """A command that must end well, for fixtures that many tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "_start", run_here)
        patch.setattr(supervisor, "POLL_SECONDS", 0)
        patch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code in (0, None)


def compare_command(workplace: Path, folder: Path, seeds: int = 2) -> list[str]:
    models = f"pca,vae,gan,{workplace / 'my.py'}:MyGAN"
    what = ["genarena", "compare", str(workplace / "bars.npz"), "--models", models, "--seeds", str(seeds)]
    return [*what, "--budget", "2k images", "--jobs", "2", "--quiet", "--out", str(folder), *SMALL]
