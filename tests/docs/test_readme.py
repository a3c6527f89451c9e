"""The README tells the truth: its Python runs, its commands parse, its files exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from genarena.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    names: dict[str, object] = {}
    code = compile(example, "README.md", "exec")
    # Running the README is the test; nothing else here executes text.
    exec(code, names)
    assert (tmp_path / "arena" / "report.html").stat().st_size > 10_000
    assert names["codes"].shape[0] == 359  # type: ignore[attr-defined]


def commands() -> list[list[str]]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == ["genarena"]]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    command = typer.main.get_command(app)
    with command.make_context("genarena", list(words), resilient_parsing=False) as context:
        assert context.args or context.protected_args or context.invoked_subcommand is None
    assert CliRunner().invoke(app, [words[0], "--help"]).exit_code == 0


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
