"""The tutorial's commands run, in order, on fewer pictures and a smaller budget."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from arena_fixture import SMALL, Done

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
SMALLER = {"1500": "150", "25k images": "300 images", "32": "16", "2": "1", "vae,gan": "gan"}


def test_the_tutorial_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, genarena: Callable[..., Done], cells_here: None
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for block in re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL) for line in block.splitlines()]
    commands = [[SMALLER.get(word, word) for word in shlex.split(line)] for line in lines]
    assert [words[1] for words in commands] == ["make_pictures.py", "inspect", "compare", "sample", "detect"]
    subprocess.run([sys.executable, ROOT / "examples" / commands[0][1], *commands[0][2:]], check=True)
    for words in commands[1:]:
        options = [*SMALL, "--jobs", "1", "--quiet"] if words[1] == "compare" else []
        done = genarena(*words[1:], *options)
        assert done.code == 0, done.err
    assert (tmp_path / "sky-arena" / "report.html").is_file() and (tmp_path / "new.png").is_file()
    assert len((tmp_path / "strange.csv").read_text().splitlines()) == 1 + 150
    (example,) = re.findall(r"```python\n(import genarena\n.*?)```", TUTORIAL, re.DOTALL)
    names: dict[str, object] = {}
    # Running the page is the test; nothing else here executes text.
    exec(compile(example, "tutorial.md", "exec"), names)
    assert names["pictures"].shape == (8, 3, 16, 16)  # type: ignore[attr-defined]
