"""Commands of a report: what a shell makes of them, whatever folders, data and classes are called."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from genarena.comparison.commands import more_seeds, use_command
from genarena.uses import USES

AWKWARD = ["my DATA", "it's; DIR.npz", "-x", "$HOME", "a\nb", "`id`", "ü*?"]


@pytest.mark.parametrize("name", AWKWARD)
def test_commands_run_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    command = use_command(USES["reconstruct"], Path(name), name)
    there = str(tmp_path / name)
    assert shlex.split(command) == [
        *("genarena", "reconstruct", there, there),
        *("--for", "reconstruct", "--out", "reconstructions.png"),
    ]
    said = subprocess.run(["sh", "-c", command.replace("genarena", "printf '%s|'", 1)], capture_output=True, check=True)
    assert said.stdout.decode().split("|")[1] == there


def test_the_name_of_a_data_set_goes_before_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert " digits --for" in use_command(USES["reduce"], Path("out"), "digits")
    assert f" {tmp_path}/digits --for" in use_command(USES["reduce"], Path("out"), "./digits")


def test_data_without_a_name_stay_to_be_filled_in() -> None:
    assert shlex.split(use_command(USES["detect"], Path("/out"), None))[2:4] == ["/out", "DATA"]


def test_a_class_is_named_where_one_has_to_be() -> None:
    command = use_command(USES["condition"], Path("/out"), "digits", ("T-shirt/top & co", "DIR"))
    assert shlex.split(command)[5:7] == ["--label", "T-shirt/top & co"]


@pytest.mark.parametrize(
    ("command", "seeds", "wanted"),
    [
        ("genarena compare digits", 3, "genarena compare --seeds 5 digits"),
        ("genarena compare --seeds 2 'my data'", 2, "genarena compare --seeds 5 'my data'"),
        ("genarena compare x --seeds=5 --out y", 5, "genarena compare --seeds 10 x --out y"),
        ("genarena compare -- -x", 1, "genarena compare --seeds 5 -- -x"),
    ],
)
def test_more_seeds_are_asked_for_where_the_comparison_began(
    command: str, seeds: int, wanted: str, tmp_path: Path
) -> None:
    begun = tmp_path / "a folder"
    words = wanted.split()
    assert more_seeds(command, seeds, begun) == (int(words[3]), f"cd '{begun}' && {wanted}")


def test_a_comparison_from_python_has_no_command_to_repeat() -> None:
    assert more_seeds("", 3) == (5, None)
